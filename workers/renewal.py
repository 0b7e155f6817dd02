"""What a grant holds after a provider has issued: credential, token, and the next refresh."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared import expiry
from shared.envelope import fingerprint, seal_credential, seal_token
from shared.keyring import Keyring
from shared.model import (
    AccessToken,
    Client,
    ClientItself,
    Credential,
    Grant,
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

#: Seconds by which a provider's word on one and the same end may differ from answer to answer.
SAME_END_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """When a credential ends, and when its owner is to be told; both None where there is nothing to tell."""

    at: datetime | None = None
    warn_at: datetime | None = None


NEVER: Final = Ends()


def ends(
    issued: Issued, provider: Provider, credential: Credential, before: Grant | None, sent_at: datetime
) -> Ends:
    """The end of a credential: by the provider's word, or as it was. `before` is None for a fresh consent,
    with which a life begins."""
    if not isinstance(credential, RefreshToken):
        return NEVER
    life = issued.refresh_token_expires_in_seconds
    if life is None and before is None:
        life = provider.refresh_token_life_seconds
    known = NEVER if before is None else Ends(at=before.credential_expires_at, warn_at=before.warn_at)
    if life is None:
        return known
    at = sent_at + timedelta(seconds=life)
    if known.at is not None and abs((at - known.at).total_seconds()) < SAME_END_SECONDS:
        return known
    return Ends(at=at, warn_at=expiry.warning_at(sent_at, at))


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
    provider: Provider,
    credential: Credential,
    token: AccessToken,
    ending: Ends,
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
        refresh_at=_refresh_at(provider, credential, token, ending, entropy),
        credential_expires_at=ending.at,
        warn_at=ending.warn_at,
    )


def fresh_credential(issued: Issued, provider: Provider, client: Client | None) -> RefreshToken | None:
    """The refresh token that this client's answer brought. None: the old one stays (RFC 6749 §6)."""
    if issued.refresh_token is None or provider.grant is not GrantKind.AUTHORIZATION_CODE:
        return None
    return RefreshToken(value=issued.refresh_token, client=client)


def _expires_at(
    issued: Issued, provider: Provider, credential: Credential, sent_at: datetime
) -> datetime | None:
    life = issued.expires_in_seconds
    if life is None and isinstance(credential, StaticToken):
        return None
    life = min(life or provider.default_expires_in_seconds, provider.max_expires_in_seconds or math.inf)
    return expiry.expires_at(sent_at, life)


def _refresh_at(
    provider: Provider, credential: Credential, token: AccessToken, ending: Ends, entropy: float
) -> datetime | None:
    # A token that nothing renews is looked at once more when it ends, to tell its owner.
    if isinstance(credential, StaticToken):
        return token.expires_at
    idle = provider.refresh_token_idle_seconds if isinstance(credential, RefreshToken) else None
    moments = [
        expiry.refresh_at(token.issued_at, token.expires_at, entropy),
        expiry.keep_alive_at(token.issued_at, idle, entropy) if idle else None,
        ending.warn_at,
    ]
    return min((moment for moment in moments if moment is not None), default=None)
