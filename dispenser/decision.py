"""Can the agent have a token now? Plain functions of what was found, what is wanted, and the time."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dispenser.protocol import Code
from shared.expiry import remaining_seconds
from shared.model import REFRESHABLE, AccessToken, Grant, GrantState

#: Where an agent states no `min_ttl`: this fraction of the token's life, at most so many seconds.
DEFAULT_MIN_TTL_FRACTION: Final = 0.2
DEFAULT_MIN_TTL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What an agent asks of a token."""

    #: Seconds it must still live; None: not stated.
    min_ttl_seconds: float | None = None
    #: Scopes it must have; None: whatever there is.
    scopes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """Hand out this token."""

    token: AccessToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """Ask for a refresh of this grant and wait. `meanwhile` may be handed out when none comes in time."""

    grant: Grant
    meanwhile: AccessToken | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """No token."""

    code: Code
    #: For people.
    reason: str
    missing_scopes: tuple[str, ...] = ()
    retry_after_seconds: float | None = None


def usable(token: AccessToken | None, want: Want, now: datetime) -> bool:
    """The token has the life and the scopes that are wanted: nothing else needs to be asked."""
    return token is not None and lives_long_enough(token, want, now) and not _missing(token, want)


def lives_long_enough(token: AccessToken, want: Want, now: datetime) -> bool:
    """Enough seconds are left, as stated by the agent or else by the token's own length of life."""
    return remaining_seconds(token.expires_at, now) >= _wanted_seconds(token, want)


def decide(
    grant: Grant | None, token: AccessToken | None, want: Want, now: datetime
) -> Hand | Refresh | Refuse:
    """The verdict, once the grant's row is known. `token` is the newest that was found for it."""
    if grant is None:
        return Refuse(code=Code.REAUTH_REQUIRED, reason="The owner has not connected this service yet.")
    if grant.state is GrantState.REVOKED:
        return Refuse(
            code=Code.REAUTH_REQUIRED, reason="The grant was revoked: its owner has to connect anew."
        )
    if token is not None and (missing := _missing(token, want)):
        return Refuse(
            code=Code.INSUFFICIENT_SCOPE,
            reason="The owner has not granted every scope that is asked for.",
            missing_scopes=missing,
        )
    if token is not None and lives_long_enough(token, want, now):
        return Hand(token=token)
    return _without_token(grant, token, want, now)


def _without_token(
    grant: Grant, token: AccessToken | None, want: Want, now: datetime
) -> Hand | Refresh | Refuse:
    meanwhile = token if _still_good(token, want, now) else None
    if token is not None and _never_lives_so_long(token, want):
        return Refuse(
            code=Code.TTL_UNAVAILABLE,
            reason=f"The provider's tokens live {_life(token):.0f} s: ask for a shorter min_ttl.",
        )
    if grant.state not in REFRESHABLE:
        return Hand(token=meanwhile) if meanwhile else _reauthorization(grant)
    if nothing_renews(grant):
        return Hand(token=meanwhile) if meanwhile else _used_up(token, now)
    if grant.failures and grant.refresh_at is not None and grant.refresh_at > now:
        # The provider has just failed: asking it again for every agent would only make it worse.
        return Hand(token=meanwhile) if meanwhile else provider_down(grant.refresh_at, now)
    return Refresh(grant=grant, meanwhile=meanwhile)


def nothing_renews(grant: Grant) -> bool:
    """The token is all the owner gave: it is due when it ends, and not before as those that are renewed."""
    return not grant.failures and grant.refresh_at == grant.token_expires_at


def _used_up(token: AccessToken | None, now: datetime) -> Refuse:
    """`token` is None where an API has rejected it: there is no refresh to wait for."""
    left = 0.0 if token is None else remaining_seconds(token.expires_at, now)
    if left > 0:
        reason = f"Nothing renews this token, and it lives {left:.0f} s more: ask for a shorter min_ttl."
        return Refuse(code=Code.TTL_UNAVAILABLE, reason=reason)
    return Refuse(
        code=Code.REAUTH_REQUIRED,
        reason="Nothing renews this token: once it has ended or is rejected, its owner has to connect anew.",
    )


def _reauthorization(grant: Grant) -> Refuse:
    why = f" ({grant.last_error})" if grant.last_error else ""
    return Refuse(code=Code.REAUTH_REQUIRED, reason=f"The provider wants the owner's consent anew{why}.")


def provider_down(until: datetime, now: datetime) -> Refuse:
    """The provider is not asked before then."""
    return Refuse(
        code=Code.PROVIDER_DOWN,
        reason="The provider does not issue a token at the moment; the vault goes on trying.",
        retry_after_seconds=max(0.0, (until - now).total_seconds()),
    )


def _still_good(token: AccessToken | None, want: Want, now: datetime) -> bool:
    """Better than nothing, for an agent that stated no `min_ttl`."""
    return token is not None and want.min_ttl_seconds is None and remaining_seconds(token.expires_at, now) > 0


def _missing(token: AccessToken, want: Want) -> tuple[str, ...]:
    return () if want.scopes is None else tuple(sorted(want.scopes - set(token.scopes)))


def _wanted_seconds(token: AccessToken, want: Want) -> float:
    if want.min_ttl_seconds is not None:
        return want.min_ttl_seconds
    return min(DEFAULT_MIN_TTL_SECONDS, DEFAULT_MIN_TTL_FRACTION * _life(token))


def _never_lives_so_long(token: AccessToken, want: Want) -> bool:
    return want.min_ttl_seconds is not None and _life(token) <= want.min_ttl_seconds


def _life(token: AccessToken) -> float:
    return remaining_seconds(token.expires_at, token.issued_at)
