"""What to do with a grant: before a rotation, after a refusal, after a lost compare-and-swap."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.expiry import backoff_seconds
from shared.model import REFRESHABLE, Grant, GrantKind, GrantState, Intent, Provider, RefusalKind
from shared.ports import Failure
from workers import refusal_code
from workers.outcome import Refused

#: Seconds a lease runs: longer than everything that happens while it is held.
LEASE_SECONDS: Final = 120.0
#: Seconds a lease must still run when a request is sent: connect, read, and the spool's fsync.
SEND_BUDGET_SECONDS: Final = 80.0
#: Transient failures in a row after which a grant says so.
FAILURES_UNTIL_FAILING: Final = 3
#: Seconds before a token's end at which a strict provider is asked again after an ambiguous answer.
LATE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Apply:
    """Commit the answer at this generation: the grant still has the credential that was redeemed."""

    generation: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """Nothing to do: the grant has this answer already, or a later one."""


@dataclass(frozen=True, slots=True)
class Park:
    """The answer brought a credential that is no child of the grant's: keep it for people to look at."""


def hindrance(grant: Grant | None, generation: int, now: datetime) -> str | None:
    """Why an event needs no rotation now. None: it does.

    Urgent events wait for a failing grant's next turn too: agents that ask do not outrun the provider's
    Retry-After, nor the late retry of a strict one.
    """
    if grant is None:
        return "missing"
    if grant.generation != generation:
        return "stale"
    if grant.state not in REFRESHABLE:
        return "state"
    if grant.failures and grant.refresh_at is not None and grant.refresh_at > now:
        return "waiting"
    return None


def may_send(lease_until: datetime, now: datetime) -> bool:
    """The lease outlives the longest a request may take: nobody else will send meanwhile."""
    return (lease_until - now).total_seconds() >= SEND_BUDGET_SECONDS


def lineage(intent: Intent, child_fingerprint: bytes, stored: Grant | None) -> Apply | Superseded | Park:
    """The lineage rule: an answer is the child of the credential that was redeemed, whatever has moved since.

    `child_fingerprint` equals the intent's where the answer brought no new credential.
    """
    if stored is None or stored.state is GrantState.REVOKED:
        return Superseded()
    moved = stored.generation > intent.generation
    if moved and stored.credential_fingerprint == child_fingerprint:
        return Superseded()
    if stored.credential_fingerprint == intent.fingerprint:
        return Apply(stored.generation)
    brought_nothing_new = child_fingerprint == intent.fingerprint
    return Superseded() if brought_nothing_new else Park()


def resend_is_harmless(provider: Provider) -> bool:
    """A credential that may have been redeemed can be redeemed again: it was not spent, or not at once."""
    spends = provider.grant is GrantKind.AUTHORIZATION_CODE and provider.rotation.rotates
    return not spends or provider.rotation.grace_seconds > 0


def failure(
    refused: Refused, grant: Grant, provider: Provider, *, now: datetime, entropy: float
) -> Failure | None:
    """What a refusal does to the grant. None: nothing, the client is to blame."""
    match refused.kind:
        case RefusalKind.CLIENT_CONFIG:
            return None
        case RefusalKind.DEAD:
            return Failure(state=GrantState.REAUTH_REQUIRED, error=refused.code, refresh_at=None)
        case RefusalKind.AMBIGUOUS if not resend_is_harmless(provider):
            return _unknown(refused, grant, now=now, entropy=entropy)
        case _:
            return _delayed(refused, grant, provider, now=now, entropy=entropy)


def _unknown(refused: Refused, grant: Grant, *, now: datetime, entropy: float) -> Failure:
    """Late: was it not carried out, then waiting costs nothing; was it, then the repetition may kill the
    family, and with it the access token that is still valid."""
    soonest = now + timedelta(seconds=backoff_seconds(grant.failures + 1, entropy))
    ends = grant.token_expires_at or now
    late = ends - timedelta(seconds=LATE_SECONDS)
    return Failure(state=GrantState.UNKNOWN, error=refused.code, refresh_at=max(soonest, late))


def _delayed(refused: Refused, grant: Grant, provider: Provider, *, now: datetime, entropy: float) -> Failure:
    wait = backoff_seconds(grant.failures + 1, entropy)
    if (
        refused.kind is RefusalKind.AMBIGUOUS
        and provider.rotation.rotates
        and provider.rotation.grace_seconds
    ):
        wait = min(wait, provider.rotation.grace_seconds / 3)
    wait = max(wait, refused.retry_after_seconds or 0.0)
    return Failure(
        state=_state_after_failure(grant, now), error=refused.code, refresh_at=now + timedelta(seconds=wait)
    )


def _state_after_failure(grant: Grant, now: datetime) -> GrantState:
    if grant.state is GrantState.UNKNOWN:
        return GrantState.UNKNOWN
    expired = grant.token_expires_at is not None and grant.token_expires_at <= now
    failing = expired or grant.failures + 1 >= FAILURES_UNTIL_FAILING
    return GrantState.REFRESH_FAILING if failing else grant.state


def ends_enrolment(refused: Refused) -> bool:
    """The owner is better told now: no repetition of the request would do."""
    final = refused.kind in (RefusalKind.DEAD, RefusalKind.CLIENT_CONFIG)
    return final or refused.code in refusal_code.DECLARATION
