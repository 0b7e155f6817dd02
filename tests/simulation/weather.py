import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Final


class Fate(Enum):
    """What becomes of one call to the world."""

    FINE = "fine"
    REFUSED = "refused"  # told at once, and nothing happened
    LOST_THERE = "lost there"  # nothing happened, told when patience ends
    LOST_BACK = "lost back"  # it happened, and its confirmation is lost
    LATE = "late"  # it happens after the caller was told that it failed


_FAULTS: Final = (Fate.REFUSED, Fate.LOST_THERE, Fate.LOST_BACK, Fate.LATE)
PORTS: Final = ("store", "bus", "cache", "journal")
#: Seconds, longest of most calls and of the slow ones.
_QUICK: Final = 0.008
_SLOW: Final = 4.0


@dataclass
class Weather:
    """How the world treats calls, by the seed: rates of faults and slowness, and outages."""

    chance: random.Random
    #: Share of calls to a port that go wrong.
    rates: dict[str, float] = field(default_factory=dict)
    slow_rate: float = 0.0
    disk_rate: float = 0.0
    #: Ports that are down.
    down: set[str] = field(default_factory=set)
    #: Told of every fault: port, process, what, fate.
    told: Callable[[str, str, str, str], None] = lambda *_: None

    def clear_up(self) -> None:
        """From now on nothing goes wrong."""
        self.rates, self.slow_rate, self.disk_rate = {}, 0.0, 0.0
        self.down.clear()

    def fate(self, port: str, process: str, what: str) -> Fate:
        """What becomes of a call."""
        fate = self._fate(port)
        if fate is not Fate.FINE:
            self.told(port, process, what, fate.value)
        return fate

    def seconds(self) -> float:
        """How long one way takes."""
        longest = _SLOW if self.slow_rate and self.chance.random() < self.slow_rate else _QUICK
        return self.chance.random() * longest

    def disk_fails(self) -> bool:
        """A write to disk goes wrong."""
        return self.disk_rate > 0 and self.chance.random() < self.disk_rate

    def _fate(self, port: str) -> Fate:
        if port in self.down:
            return Fate.REFUSED
        rate = self.rates.get(port, 0.0)
        if rate and self.chance.random() < rate:
            return self.chance.choice(_FAULTS)
        return Fate.FINE
