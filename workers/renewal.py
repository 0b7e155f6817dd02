"""What a grant holds after a provider has issued: credential, token, and the next refresh."""

import math
from datetime import datetime

from shared import expiry
from shared.envelope import fingerprint, seal_credential, seal_token
from shared.keyring import Keyring
from shared.model import (
    AccessToken,
    ClientItself,
    Credential,
    GrantId,
    GrantKind,
    Owner,
    Provider,
    RefreshToken,
    ServiceName,
    StaticToken,
)
from shared.ports import Renewal
from workers.outcome import Issued


def access_token(
    issued: Issued,
    provider: Provider,
    credential: Credential,
    *,
    grant_id: GrantId,
    generation: int,
    sent_at: datetime,
    scopes: tuple[str, ...],
) -> AccessToken:
    """The token as agents get it. `scopes`: those it has where the provider does not say (RFC 6749 §5.1)."""
    return AccessToken(
        value=issued.access_token,
        token_type=issued.token_type,
        scopes=scopes if issued.scopes is None else issued.scopes,
        issued_at=sent_at,
        expires_at=_expires_at(issued, provider, credential, sent_at),
        generation=generation,
        grant_id=grant_id,
    )


def renewal(
    keys: Keyring,
    *,
    service: ServiceName,
    owner: Owner,
    credential: Credential,
    token: AccessToken,
    entropy: float,
) -> Renewal:
    """The grant's columns, sealed for the token's grant and generation."""
    kept = not isinstance(credential, ClientItself)
    sealed = seal_credential(keys, token.grant_id, owner, token.generation, credential) if kept else None
    return Renewal(
        sealed_credential=sealed,
        credential_fingerprint=fingerprint(token.grant_id, credential),
        sealed_token=seal_token(keys, service, owner, token),
        scopes=token.scopes,
        token_expires_at=token.expires_at,
        refresh_at=_refresh_at(credential, token, entropy),
    )


def fresh_credential(issued: Issued, provider: Provider) -> RefreshToken | None:
    """The refresh token that an answer brought. None: the old credential stays (RFC 6749 §6)."""
    if issued.refresh_token is None or provider.grant is not GrantKind.AUTHORIZATION_CODE:
        return None
    return RefreshToken(value=issued.refresh_token)


def _expires_at(
    issued: Issued, provider: Provider, credential: Credential, sent_at: datetime
) -> datetime | None:
    life = issued.expires_in_seconds
    if life is None and isinstance(credential, StaticToken):
        return None
    life = min(life or provider.default_expires_in_seconds, provider.max_expires_in_seconds or math.inf)
    return expiry.expires_at(sent_at, life)


def _refresh_at(credential: Credential, token: AccessToken, entropy: float) -> datetime | None:
    # A token that nothing renews is looked at once more when it ends, to tell its owner.
    if isinstance(credential, StaticToken):
        return token.expires_at
    return expiry.refresh_at(token.issued_at, token.expires_at, entropy)
