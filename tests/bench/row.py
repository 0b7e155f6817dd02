"""One line of the report: what was measured of ours, what of theirs beside it, and whether the goal holds."""

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """`theirs` None: nothing to compare with. `goal` bounds the ratio, or our figure where it is alone."""

    name: str
    ours: float
    theirs: float | None = None
    unit: str
    goal: float | None = None
    #: Whether the goal is the least that will do, or the most.
    better: Literal["higher", "lower"] = "higher"

    @property
    def ratio(self) -> float | None:
        return None if not self.theirs else self.ours / self.theirs

    @property
    def holds(self) -> bool | None:
        """None: there is no goal."""
        if self.goal is None:
            return None
        judged = self.ours if self.ratio is None else self.ratio
        return judged >= self.goal if self.better == "higher" else judged <= self.goal

    def document(self) -> dict[str, Any]:
        """As in `build/bench.json`."""
        return asdict(self) | {"ratio": self.ratio, "holds": self.holds}
