"""What an agent is told. Plain functions from verdicts to replies."""

from datetime import datetime

from dispenser.decision import Refuse
from dispenser.protocol import Code, Reply
from dispenser.vault_token import Identity, token_type
from shared.expiry import remaining_seconds
from shared.model import AccessToken, ServiceName

#: One text for all that an agent has no right to know apart.
DENIED_REASON = "Denied: no policy allows this agent to have this service for this owner."
UNAUDITED = "The vault cannot write its audit journal, and no token leaves unaudited."
REVOKED = "The vault token was revoked."
RETRY_SECONDS = 1.0


def handed(service: ServiceName, token: AccessToken, max_ttl_seconds: int | None, now: datetime) -> Reply:
    """A token. A policy's `max_ttl_seconds` shortens how long the agent may keep it."""
    expires_in = _usable_seconds(token, max_ttl_seconds, now)
    return Reply(
        code=Code.OK,
        service=service,
        access_token=token.value.reveal(),
        token_type=token.token_type,
        expires_in=expires_in,
        expires_at=None if expires_in is None else now.timestamp() + expires_in,
        scopes=token.scopes,
        generation=token.generation,
    )


def vault_token(text: str, identity: Identity, now: datetime) -> Reply:
    """A new vault token in place of an access token."""
    return Reply(
        code=Code.OK,
        access_token=text,
        token_type=token_type(identity),
        expires_in=(identity.expires_at - now).total_seconds(),
        expires_at=identity.expires_at.timestamp(),
    )


def refused(service: ServiceName, refusal: Refuse, connect_url: str) -> Reply:
    """A refusal, with the connect address where consent is what helps."""
    consent_helps = refusal.code in (Code.REAUTH_REQUIRED, Code.INSUFFICIENT_SCOPE)
    return Reply(
        code=refusal.code,
        service=service,
        reason=refusal.reason,
        missing_scopes=refusal.missing_scopes,
        retry_after=refusal.retry_after_seconds,
        connect_url=connect_url if consent_helps else None,
    )


def denied(service: str) -> Reply:
    """The same for whatever an agent may not have, so that it cannot tell what exists."""
    return Reply(code=Code.DENIED, service=service, reason=DENIED_REASON)


def not_found(service: str) -> Reply:
    """For an agent whose policies would allow it."""
    return Reply(
        code=Code.NOT_FOUND,
        service=service,
        reason=f"There is no service {service!r}: `dispenser service list` shows those there are.",
    )


def unauthenticated(reason: str) -> Reply:
    """The vault token is not good."""
    return Reply(code=Code.UNAUTHENTICATED, reason=reason)


def deadline_exceeded(service: str) -> Reply:
    """The refresh did not come in time; it goes on."""
    return Reply(
        code=Code.DEADLINE_EXCEEDED,
        service=service,
        reason="The refresh has not come in time and goes on: ask again.",
        retry_after=RETRY_SECONDS,
    )


def overloaded(service: str, reason: str) -> Reply:
    """The vault cannot answer at the moment."""
    return Reply(code=Code.OVERLOADED, service=service, reason=reason, retry_after=RETRY_SECONDS)


def rate_limited(seconds: float) -> Reply:
    """The sender asks too often. Nothing was done for it."""
    return Reply(
        code=Code.RATE_LIMITED,
        reason="Asked more often than the vault answers one agent: ask again later, and keep tokens longer.",
        retry_after=seconds,
    )


def _usable_seconds(token: AccessToken, max_ttl_seconds: int | None, now: datetime) -> float | None:
    if token.expires_at is None:
        return None if max_ttl_seconds is None else float(max_ttl_seconds)
    left = max(0.0, remaining_seconds(token.expires_at, now))
    return left if max_ttl_seconds is None else min(left, float(max_ttl_seconds))
