"""Whether a key may go for good."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.key_record import KeyRecord, KeyState

#: Every process has followed a change of its keyring within so long, and seals with the new key.
FOLLOWED: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Things that need a key: as long as there are any, it stays."""

    what: str
    #: None: nobody counts them.
    count: int | None
    #: How there come to be none.
    remedy: str
    #: They are not lost with the key: they may be given up.
    given_up: bool = False

    def __str__(self) -> str:
        """What there is, as a part of a sentence."""
        return self.what if self.count is None else f"{self.count} {self.what}"


def hindrances(
    record: KeyRecord, references: Sequence[Reference], now: datetime, *, at_once: bool = False
) -> list[str]:
    """Why a key cannot be retired, a sentence each. Empty: it can.

    `at_once`: what can be given up is, and is refused from then on.
    """
    if record.state is KeyState.RETIRED:
        return ["It is retired already."]
    if record.superseded_at is None or record.state is not KeyState.DECRYPT_ONLY:
        return [
            f"It is {record.state.value}: `dispenser keys rotate {record.use}` puts another in its place."
        ]
    followed = record.superseded_at + FOLLOWED
    if now < followed:
        return [f"Processes may seal with it until {followed.isoformat(timespec='seconds')}."]
    return [f"{found}: {found.remedy}" for found in references if not (at_once and found.given_up)]
