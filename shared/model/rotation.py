from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.model.names import GrantId, HandbackId, IntentId, Owner, ServiceName


class RefusalKind(StrEnum):
    """What a provider's refusal calls for."""

    DEAD = "dead"  # only the owner can help
    CLIENT_CONFIG = "client_config"  # our registration is refused: no grant is to blame
    RATE_LIMITED = "rate_limited"
    TRANSIENT = "transient"  # not carried out: the same request may do later
    AMBIGUOUS = "ambiguous"  # may have been carried out: a refresh token may be spent


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The journal's line "about to redeem this credential": written before the provider is asked."""

    id: IntentId
    grant_id: GrantId
    #: The grant's generation before the rotation.
    generation: int
    #: Which credential is redeemed: the parent in the lineage.
    fingerprint: bytes
    #: The refresher that holds it.
    holder: str
    opened_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Handback:
    """A revoked grant's credential on its way back to the provider (RFC 7009), opened by a refresher only."""

    id: HandbackId
    grant_id: GrantId
    service: ServiceName
    owner: Owner
    #: Which the credential is sealed for: the grant's before it was revoked, or what would have followed.
    generation: int
    sealed_credential: bytes
    created_at: datetime
