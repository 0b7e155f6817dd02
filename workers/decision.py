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
#: Of a grace window, the part in which a repetition is begun: it has to arrive inside.
GRACE_FRACTION: Final = 0.8


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


def tells(grant: Grant, intent: Intent, failure: Failure) -> bool:
    """The grant as it is stored says that this intent failed so."""
    told = grant.state is failure.state and grant.last_error == failure.error
    return told and grant.generation == intent.generation


def resend_is_harmless(provider: Provider) -> bool:
    """A credential that may have been redeemed can be redeemed again: it was not spent, or not at once."""
    return not spends(provider) or provider.rotation.grace_seconds > 0


def spends(provider: Provider) -> bool:
    """A refresh uses its credential up, at once or after a grace."""
    return provider.grant is GrantKind.AUTHORIZATION_CODE and provider.rotation.rotates


def grace_is_shorter(provider: Provider, seconds: float) -> bool:
    """A repetition that is to arrive inside the grace cannot wait so long."""
    return spends(provider) and 0 < provider.rotation.grace_seconds < seconds


def must_wait(grant: Grant, provider: Provider, now: datetime) -> bool:
    """The credential may be spent and its grace is over: it is tried when its token is about to end."""
    if _may_repeat(grant.unsure_since, provider, now):
        return False
    return grant.token_expires_at is not None and now < grant.token_expires_at - timedelta(
        seconds=LATE_SECONDS
    )


def failure(
    refused: Refused,
    grant: Grant,
    provider: Provider,
    *,
    now: datetime,
    entropy: float,
    asked_at: datetime | None = None,
) -> Failure | None:
    """What a refusal does to the grant. None: nothing, the client is to blame.

    `asked_at`: when the credential was sent, at the earliest. Left out: now.
    """
    match refused.kind:
        case RefusalKind.CLIENT_CONFIG:
            return None
        case RefusalKind.DEAD:
            return Failure(state=GrantState.REAUTH_REQUIRED, error=refused.code, refresh_at=None)
        case _:
            doubt = grant.unsure_since
            if refused.kind is RefusalKind.AMBIGUOUS and spends(provider):
                doubt = doubt or asked_at or now
            return _repeated(refused, grant, provider, doubt, now=now, entropy=entropy)


def _repeated(
    refused: Refused,
    grant: Grant,
    provider: Provider,
    unsure_since: datetime | None,
    *,
    now: datetime,
    entropy: float,
) -> Failure:
    soon = now + timedelta(seconds=_wait_seconds(refused, grant, provider, unsure_since, entropy))
    safe = _may_repeat(unsure_since, provider, soon)
    return Failure(
        state=_state_after_failure(grant, now) if safe else GrantState.UNKNOWN,
        error=refused.code,
        refresh_at=soon if safe else max(soon, _late(grant, now)),
        unsure_since=unsure_since,
    )


def _wait_seconds(
    refused: Refused, grant: Grant, provider: Provider, unsure_since: datetime | None, entropy: float
) -> float:
    wait = backoff_seconds(grant.failures + 1, entropy)
    if unsure_since is not None and provider.rotation.grace_seconds:
        wait = min(wait, provider.rotation.grace_seconds / 3)
    return max(wait, refused.retry_after_seconds or 0.0)


def _may_repeat(unsure_since: datetime | None, provider: Provider, moment: datetime) -> bool:
    """A credential that was not spent, or is still in its grace, may be sent at this moment."""
    if unsure_since is None or not spends(provider):
        return True
    return (moment - unsure_since).total_seconds() <= GRACE_FRACTION * provider.rotation.grace_seconds


def _late(grant: Grant, now: datetime) -> datetime:
    """Was it not carried out, then waiting costs nothing; was it, then the repetition may kill the family,
    and with it the access token that is still valid."""
    return (grant.token_expires_at or now) - timedelta(seconds=LATE_SECONDS)


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
