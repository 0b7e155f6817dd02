"""The request path: check, policy, one look into the cache, decide, audit, reply.

Both doors call it; it never calls a provider.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from dispenser import policy, revocation
from dispenser.catalogue_view import CatalogueView
from dispenser.decision import Hand, Refresh, Refuse, Want, decide, usable
from dispenser.joining import Joining
from dispenser.policy import Allowed, Denied, Query
from dispenser.protocol import Call, Code, RejectedCall, RenewCall, Reply, TokenCall
from dispenser.refresh_wait import RefreshWait
from dispenser.vault_token import DEFAULT_TTL_SECONDS, Identity, InvalidVaultToken, mint, verify
from shared import envelope
from shared.cache_keys import TOMBSTONE, token_key
from shared.errors import (
    AuditUnavailable,
    BusUnavailable,
    CacheUnavailable,
    KeyMissing,
    QueueFull,
    SealBroken,
    StoreUnavailable,
    Unroutable,
)
from shared.expiry import remaining_seconds
from shared.keyring import Keyring
from shared.messages import Reason
from shared.model import AccessToken, AgentName, AuditRecord, Grant, Owner, Revocation, Service, ServiceName
from shared.ports import AuditJournal, Bus, Cache, Clock, Store

#: Vault tokens older than this are over by themselves, so older revocations need not be known.
REVOCATION_HORIZON: Final = timedelta(days=1)
RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call, with what it was resolved to."""

    identity: Identity
    call: TokenCall | RejectedCall
    service: ServiceName
    owner: Owner
    request_id: str
    door: str
    deadline: datetime
    catalogue_version: int
    #: The policy that allowed it, and for how many seconds at most.
    policy: str
    max_ttl_seconds: int | None


class Dispenser:
    """Answers agents' calls. One per process; safe to call concurrently."""

    def __init__(
        self,
        *,
        store: Store,
        cache: Cache,
        bus: Bus,
        keys: Keyring,
        catalogue: CatalogueView,
        journal: AuditJournal,
        clock: Clock,
        vault: str,
        connect_url: Callable[[ServiceName, Owner], str],
        new_id: Callable[[], str],
    ) -> None:
        self._store = store
        self._cache = cache
        self._keys = keys
        self._catalogue = catalogue
        self._journal = journal
        self._clock = clock
        self._vault = vault
        self._connect_url = connect_url
        self._new_id = new_id
        self._verified: dict[str, Identity] = {}
        self._wait = RefreshWait(bus, cache, store.grants)
        self._find = Joining(self._find_grant)
        self._revocations = Joining(self._read_revocations)
