"""A grant that is due, sealed as a refresher seals it: to bring thousands in by the gateway takes minutes."""

from datetime import datetime, timedelta

from dispenser.testing import Emulator
from shared.envelope import fingerprint, seal_credential, seal_token
from shared.keyring import Keyring
from shared.model import AccessToken, Client, Grant, GrantId, GrantState, Owner, RefreshToken, ServiceName
from shared.secret import Secret

#: What is left of its token's hour.
_LEFT = timedelta(minutes=15)


def due_grant(
    keys: Keyring,
    now: datetime,
    *,
    service: ServiceName,
    owner: Owner,
    scope: str,
    refresh_token: str,
    provider: Emulator,
) -> Grant:
    """The owner's first generation."""
    client = Client(client_id=provider.client_id, token_url=provider.token_url)
    grant_id, credential = GrantId(f"due-{owner}"), RefreshToken(value=Secret(refresh_token), client=client)
    ends = now + _LEFT
    token = AccessToken(
        value=Secret(f"token-of-{owner}"),
        token_type="Bearer",
        scopes=(scope,),
        issued_at=ends - timedelta(hours=1),
        expires_at=ends,
        generation=1,
        grant_id=grant_id,
    )
    return Grant(
        id=grant_id,
        service=service,
        owner=owner,
        state=GrantState.ACTIVE,
        generation=token.generation,
        scopes=token.scopes,
        sealed_credential=seal_credential(keys, grant_id, owner, token.generation, credential),
        credential_fingerprint=fingerprint(grant_id, credential),
        sealed_token=seal_token(keys, service, owner, token),
        token_expires_at=ends,
        refresh_at=now,
        failures=0,
        last_error=None,
        created_at=token.issued_at,
        updated_at=token.issued_at,
    )
