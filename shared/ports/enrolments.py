from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.messages import LifecycleEvent
from shared.model import Enrolment, EnrolmentId, Grant, Owner, ServiceName


class EnrolmentStore(Protocol):
    """Credentials on their way in."""

    async def add(self, enrolment: Enrolment) -> None: ...
    async def get(self, enrolment_id: EnrolmentId) -> Enrolment | None: ...

    async def take(
        self,
        enrolment_id: EnrolmentId,
        *,
        holder: str,
        now: datetime,
        until: datetime,
        over: datetime | None = None,
    ) -> Enrolment | None:
        """The enrolment, leased to one refresher. None: ended, expired, or another's.

        A lease that has run out is still its holder's, who may have an answer to it. `over`: one that ran
        until then is nobody's any more.
        """

    async def pending(self, now: datetime, limit: int) -> list[EnrolmentId]:
        """Those without a lease, or whose lease has run out, oldest first."""

    async def lapsed(self, now: datetime) -> Mapping[EnrolmentId, datetime]:
        """Those whose lease has run out, and until when it ran."""

    async def succeed(
        self, enrolment_id: EnrolmentId, grant: Grant, now: datetime, events: Sequence[LifecycleEvent]
    ) -> bool:
        """Insert or replace the grant row whole, wipe what was presented, state `done`; one transaction.
        False: the grant of this service and owner has another id, or is at this generation or a later one,
        and nothing was written."""

    async def fail(self, enrolment_id: EnrolmentId, error: str, now: datetime) -> None:
        """Wipe what was presented, state `failed`. An existing grant stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A consent that an owner has begun in a browser (state of RFC 6749 §4.1.1), kept until its callback."""

    #: SHA-256 of `state`, so that a read of the database does not finish a consent.
    state_hash: bytes
    service: ServiceName
    owner: Owner
    #: The PKCE verifier, sealed under the cache key by the gateway that made it.
    sealed_verifier: bytes
    redirect_uri: str
    #: SHA-256 of the cookie of the browser that began it (RFC 9700 §4.7).
    browser_hash: bytes
    expires_at: datetime


class ConsentStore(Protocol):
    """Consents under way at gateways: any of them may get the callback."""

    async def add(self, consent: Consent) -> None: ...

    async def take(self, state_hash: bytes, now: datetime) -> Consent | None:
        """Remove and return it: a `state` works once. None: unknown or expired."""
