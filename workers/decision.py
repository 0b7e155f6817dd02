"""What to do with a grant: before a rotation, after a refusal, after a lost compare-and-swap."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

from shared.errors import OtherClient
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
#: Seconds after which a request without an answer is not carried out any more: longer than any may take.
AMBIGUITY_SECONDS: Final = LEASE_SECONDS
#: Codes of requests that the provider may carry out yet. A gateway's 504 is no word of the provider's.
UNANSWERED: Final = frozenset({"no_answer", "holder_gone", "http_504"})
#: Seconds between repetitions at least, however little is left of a grace.
SHORTEST_WAIT_SECONDS: Final = 1.0


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


@dataclass(frozen=True, slots=True)
class HandBack:
    """The grant was revoked meanwhile: the credential that the answer brought goes back to its provider."""


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


def lineage(
    intent: Intent, child_fingerprint: bytes, stored: Grant | None
) -> Apply | Superseded | Park | HandBack:
    """The lineage rule: an answer is the child of the credential that was redeemed, whatever has moved since.

    `child_fingerprint` equals the intent's where the answer brought no new credential.
    """
    brought_nothing_new = child_fingerprint == intent.fingerprint
    if stored is None:
        return Superseded()
    if stored.state is GrantState.REVOKED:
        return Superseded() if brought_nothing_new else HandBack()
    moved = stored.generation > intent.generation
    if moved and stored.credential_fingerprint == child_fingerprint:
        return Superseded()
    if stored.credential_fingerprint == intent.fingerprint:
        return Apply(stored.generation)
    return Superseded() if brought_nothing_new else Park()


def tells(grant: Grant, intent: Intent, outcome: str) -> bool:
    """The grant as it is stored says that this intent failed, with this outcome."""
    failed = grant.state is not GrantState.REVOKED and grant.last_error == outcome
    return failed and grant.generation == intent.generation


def resend_is_harmless(provider: Provider) -> bool:
    """A credential that may have been redeemed can be redeemed again: it was not spent, or not at once."""
    return not spends(provider) or provider.rotation.grace_seconds > 0


def spends(provider: Provider) -> bool:
    """A refresh uses its credential up, at once or after a grace."""
    return provider.grant is GrantKind.AUTHORIZATION_CODE and provider.rotation.rotates


def is_restored(grant: Grant, provider: Provider, audited_generation: int) -> bool:
    """The row was put back from a backup, for the audit knows of a later generation: its credential is spent.

    Sent again, it could cost the family its life where the provider revokes on reuse (RFC 9700 §4.14).
    """
    return spends(provider) and audited_generation > grant.generation


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
            # Sent by a clock that is ahead of this one, it was sent now.
            asked_at, doubt = min(asked_at or now, now), grant.unsure_since
            if refused.kind is RefusalKind.AMBIGUOUS and spends(provider):
                doubt = doubt or asked_at
            wait = _wait_seconds(refused, grant, provider, doubt, now, entropy)
            soon = max(now + timedelta(seconds=wait), _over_at(refused, provider, asked_at))
            safe = _may_repeat(doubt, provider, soon)
            return Failure(
                state=_state_after_failure(grant, now) if safe else GrantState.UNKNOWN,
                error=refused.code,
                refresh_at=soon if safe else max(soon, _late(grant, now)),
                unsure_since=doubt,
            )


def other_client(grant: Grant, now: datetime, entropy: float) -> Failure:
    """What becomes of a grant of another client than is declared: it waits, and nothing of it is to blame.

    Its owner is not sent to consent anew, for that would be with whom the declaration names: an address that
    was mistyped, or altered by a thief, would have every owner's consent on top.
    """
    wait = timedelta(seconds=backoff_seconds(grant.failures + 1, entropy))
    return Failure(
        state=grant.state, error=OtherClient.code, refresh_at=now + wait, unsure_since=grant.unsure_since
    )


def _wait_seconds(  # noqa: PLR0917
    refused: Refused, grant: Grant, provider: Provider, doubt: datetime | None, now: datetime, entropy: float
) -> float:
    wait = backoff_seconds(grant.failures + 1, entropy)
    if doubt is not None and provider.rotation.grace_seconds:
        # Half of what is left of the grace, so that one more fits.
        left = _grace_ends(doubt, provider) - now
        wait = min(wait, max(left.total_seconds() / 2, SHORTEST_WAIT_SECONDS))
    return max(wait, refused.retry_after_seconds or 0.0)


def _over_at(refused: Refused, provider: Provider, asked_at: datetime) -> datetime:
    """When a request is over for good: carried out after its own repetition, it may cost the whole family."""
    pending = refused.code in UNANSWERED and not resend_is_harmless(provider)
    return asked_at + timedelta(seconds=AMBIGUITY_SECONDS) if pending else asked_at


def _may_repeat(unsure_since: datetime | None, provider: Provider, moment: datetime) -> bool:
    """A credential that was not spent, or is still in its grace, may be sent at this moment."""
    if unsure_since is None or not spends(provider):
        return True
    return moment <= _grace_ends(unsure_since, provider)


def _grace_ends(unsure_since: datetime, provider: Provider) -> datetime:
    return unsure_since + timedelta(seconds=GRACE_FRACTION * provider.rotation.grace_seconds)


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


#: Statuses from here on are the provider's own trouble.
BROKEN: Final = 500


def told(status: int | None) -> bool:
    """A revocation request (RFC 7009 §2.2) has come to its end. None: there was no answer.

    An unknown token is a 200 too; a 503 says that it still exists, and to try again (§2.2.1).
    """
    return status is not None and status != HTTPStatus.TOO_MANY_REQUESTS and status < BROKEN
