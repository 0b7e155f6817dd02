from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.messages import LifecycleEvent
from shared.model import Grant, GrantId, GrantState, Handback, Intent, IntentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to refresh a grant until the lease ends."""

    grant: Grant
    intent: Intent
    #: The highest generation that the audit knew of the grant before its row was read; 0: it knew none.
    audited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """Why not: `stale` (the generation moved on), `busy` (another refresher, or an open intent), `state`
    (not refreshable), `missing`."""

    why: str
    grant: Grant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A grant's new columns after a rotation, sealed for `generation` = the expected one + 1."""

    #: None with an empty fingerprint: the grant keeps no credential.
    sealed_credential: bytes | None
    credential_fingerprint: bytes
    sealed_token: bytes
    scopes: tuple[str, ...]
    token_expires_at: datetime | None
    refresh_at: datetime | None
    credential_expires_at: datetime | None = None
    warn_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a refresh that brought no token does to its grant."""

    state: GrantState
    error: str
    refresh_at: datetime | None
    unsure_since: datetime | None = None


class RotationStore(Protocol):
    """The journal of rotations and the writes that end one."""

    async def claim(
        self, grant_id: GrantId, generation: int, *, holder: str, now: datetime, lease_until: datetime
    ) -> Claim | Unclaimed:
        """Take the lease and write the intent, in one transaction: its commit proves that the database
        writes. Refused while another's lease runs or any intent on the grant is open."""

    async def commit(
        self,
        intent: Intent,
        *,
        expected_generation: int,
        expected_fingerprint: bytes,
        renewal: Renewal,
        now: datetime,
        events: Sequence[LifecycleEvent],
        expected_state: GrantState | None = None,
    ) -> Grant | None:
        """Compare-and-swap on generation and fingerprint, and on the state where the events tell of it.

        Generation + 1, state `active`, failures 0, no doubt left, intent closed as `done`, lease ended,
        events into the outbox. None: the grant is not as expected, and nothing was written.
        """

    async def fail(
        self, intent: Intent, failure: Failure, *, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """Close the intent with the error; where the grant still is at the intent's generation: failures + 1,
        the failure's columns, lease ended, events into the outbox. Returns the grant as it now is. None: the
        intent was closed before, by whoever took it over, or there is no such grant; nothing was written."""

    async def release(self, intent: Intent, why: str, now: datetime) -> None:
        """Close the intent and end the lease without touching the grant: nothing was sent."""

    async def park(self, intent: Intent, sealed: bytes, now: datetime) -> bool:
        """Keep an answer whose lineage is not the grant's, for people to look at, and close the intent.

        False: it was committed before, and the grant has gone on from there.
        """

    async def hand_back(self, intent: Intent, handback: Handback, now: datetime) -> None:
        """Put a credential that came for a revoked grant among the handbacks, unless it is there, and close
        the intent."""

    async def open_intents(self, *, holder: str | None = None) -> list[Intent]:
        """Intents without an outcome."""

    async def intent(self, intent_id: IntentId) -> tuple[Intent, str | None] | None:
        """An intent and its outcome. None for that: it is still open."""
