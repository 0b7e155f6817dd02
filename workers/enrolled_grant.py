"""The grant that comes of an enrolment: what of the presented is kept, and under which id and generation."""

from datetime import datetime

from shared.keyring import Keyring
from shared.model import (
    AccessToken,
    AuthorizationCode,
    Client,
    Credential,
    Enrolment,
    Grant,
    GrantId,
    GrantState,
    Presented,
    Provider,
    RefreshToken,
    Service,
    StaticToken,
)
from workers import renewal
from workers.answer import Answer
from workers.outcome import Issued
from workers.renewal import Ends


def connected(
    keys: Keyring,
    enrolment: Enrolment,
    before: Grant | None,
    *,
    provider: Provider,
    credential: Credential,
    token: AccessToken,
    ending: Ends,
    now: datetime,
    entropy: float,
) -> Grant:
    """The grant's row, whole. It keeps the id and outgrows the generation of the one it replaces."""
    columns = renewal.renewal(
        keys,
        service=enrolment.service,
        owner=enrolment.owner,
        provider=provider,
        credential=credential,
        token=token,
        ending=ending,
        entropy=entropy,
    )
    return Grant(
        id=token.grant_id,
        service=enrolment.service,
        owner=enrolment.owner,
        state=GrantState.ACTIVE,
        generation=token.generation,
        scopes=columns.scopes,
        sealed_credential=columns.sealed_credential,
        credential_fingerprint=columns.credential_fingerprint,
        sealed_token=columns.sealed_token,
        token_expires_at=columns.token_expires_at,
        refresh_at=columns.refresh_at,
        failures=0,
        last_error=None,
        created_at=before.created_at if before else now,
        updated_at=now,
        credential_expires_at=columns.credential_expires_at,
        warn_at=columns.warn_at,
    )


def kept(
    presented: Presented | None, issued: Issued, provider: Provider, client: Client | None
) -> Credential:
    """The credential to keep. `client`: whose the answer is.

    None is presented where the enrolment ended before its answer was read.
    A code that brought no refresh token leaves a token that nothing renews (GitHub's OAuth apps).
    """
    fresh = renewal.fresh_credential(issued, provider, client)
    if fresh is not None:
        return fresh
    if presented is None or isinstance(presented, AuthorizationCode):
        return StaticToken(value=issued.access_token)
    return presented


def issued_token(
    enrolment: Enrolment,
    before: Grant | None,
    credential: Credential,
    issued: Issued,
    provider: Provider,
    *,
    answer: Answer,
    scopes: tuple[str, ...],
    outgrown: int,
) -> AccessToken:
    """The token of an answer.

    `scopes`: those it has where the provider does not say. `outgrown`: the highest generation that the audit
    knows; a database may have been restored since.
    """
    grant_id, generation = _place(enrolment, before, outgrown)
    return renewal.access_token(
        issued,
        provider,
        credential,
        grant_id=grant_id,
        generation=generation,
        sent_at=answer.sent_at,
        scopes=scopes,
    )


def static_token(
    enrolment: Enrolment,
    before: Grant | None,
    presented: StaticToken,
    service: Service,
    *,
    now: datetime,
    outgrown: int,
) -> AccessToken:
    """A token that was brought as it is, and does not expire. `outgrown`: see `issued_token`."""
    grant_id, generation = _place(enrolment, before, outgrown)
    return AccessToken(
        value=presented.value,
        token_type="Bearer",  # noqa: S106 - the scheme's name (RFC 6750 §2.1)
        scopes=service.scopes,
        issued_at=now,
        expires_at=None,
        generation=generation,
        grant_id=grant_id,
    )


def asked_scopes(presented: Presented | None, before: Grant | None, service: Service) -> tuple[str, ...]:
    """What a token may be taken to have where the provider does not say (RFC 6749 §5.1)."""
    if isinstance(presented, AuthorizationCode):
        return presented.scopes
    if isinstance(presented, RefreshToken) and before is not None:
        return before.scopes or service.scopes
    return service.scopes


def _place(enrolment: Enrolment, before: Grant | None, outgrown: int) -> tuple[GrantId, int]:
    if before is None:
        return GrantId(enrolment.id), outgrown + 1
    return before.id, max(before.generation, outgrown) + 1
