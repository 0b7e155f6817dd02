from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.model.names import GrantId, Owner, ServiceName
from shared.secret import Secret


class GrantState(StrEnum):
    """What the vault knows of a grant."""

    ACTIVE = "active"
    REFRESH_FAILING = "refresh_failing"  # transient; a token still valid is still served
    REAUTH_REQUIRED = "reauth_required"  # only the owner can help
    UNKNOWN = "unknown"  # a rotation's outcome is open
    REVOKED = "revoked"


#: States in which a refresh is worth trying.
REFRESHABLE = frozenset({GrantState.ACTIVE, GrantState.REFRESH_FAILING, GrantState.UNKNOWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What an owner gave for a service. One per service and owner."""

    id: GrantId
    service: ServiceName
    owner: Owner
    state: GrantState
    #: +1 with every rotation; 0 before the first token.
    generation: int
    #: The scopes really granted, which may be fewer than asked for.
    scopes: tuple[str, ...]
    #: Refresh token or service-account key, sealed to the refreshers' key; None where the client's own
    #: credentials are the grant.
    sealed_credential: bytes | None
    #: Names the credential without telling it: the lineage of a rotation.
    credential_fingerprint: bytes
    #: The current generation's access token under the cache key, as it lies in the cache.
    sealed_token: bytes | None
    #: None: the token does not expire.
    token_expires_at: datetime | None
    #: None: nothing to refresh.
    refresh_at: datetime | None
    #: Refreshes that failed in a row.
    failures: int
    #: The last failure's code, such as `invalid_grant`. Never a response body.
    last_error: str | None
    created_at: datetime
    updated_at: datetime
    #: When the credential ends, used or not. None: nobody has said.
    credential_expires_at: datetime | None = None
    #: When its owner is to be told of that. None: told, or nothing to tell.
    warn_at: datetime | None = None
    #: When the credential was first sent without an answer that tells what became of it: it may be spent.
    unsure_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a provider issued. Exists unsealed only in a refresher and on its way to an agent."""

    value: Secret
    token_type: str
    scopes: tuple[str, ...]
    issued_at: datetime
    #: None: it does not expire.
    expires_at: datetime | None
    generation: int
    grant_id: GrantId
