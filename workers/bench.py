from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Self

from shared.connect_address import connect_address
from shared.keyring import Keyring
from shared.model import Owner, ServiceName
from shared.ports import AuditJournal, Bus, Cache, Clock, ProviderHttp, Store
from shared.secret import Secret
from shared.token_fingerprint import fingerprint
from workers.announcements import Announcements
from workers.audit_trail import AuditTrail
from workers.claims import Claims
from workers.incidents import Incidents
from workers.providers import Providers
from workers.spool import Spool
from workers.token_endpoint import TokenEndpoint
from workers.token_shelf import TokenShelf


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a refresher works with: whoever rotates or enrols takes its tools from here."""

    store: Store
    keys: Keyring
    clock: Clock
    #: Uniform in [0, 1).
    entropy: Callable[[], float]
    #: Of this refresher, in leases and in the audit.
    name: str
    claims: Claims
    providers: Providers
    endpoint: TokenEndpoint
    shelf: TokenShelf
    announcements: Announcements
    audit: AuditTrail
    incidents: Incidents
    #: Where an owner consents anew: told in events, and so without a ticket to do it.
    connect_url: Callable[[ServiceName, Owner], str]

    def token_fingerprint(self, access_token: Secret) -> str:
        """How the audit names a token. Empty where this process holds no key for that."""
        return fingerprint(self.keys, access_token.reveal()) if self.keys.audit else ""

    @classmethod
    def equipped(
        cls,
        *,
        store: Store,
        bus: Bus,
        cache: Cache,
        http: ProviderHttp,
        keys: Keyring,
        spool: Spool,
        clock: Clock,
        entropy: Callable[[], float],
        name: str,
        public_url: str,
        journal: AuditJournal | None,
    ) -> Self:
        """A bench on these ports."""
        announcements = Announcements(store.outbox, bus)
        audit = AuditTrail(store.audit, clock, name, journal)
        return cls(
            store=store,
            keys=keys,
            clock=clock,
            entropy=entropy,
            name=name,
            claims=Claims(store.rotations, clock, name),
            providers=Providers(store.catalogue, keys, clock),
            endpoint=TokenEndpoint(http, spool, keys, clock),
            shelf=TokenShelf(cache, clock),
            announcements=announcements,
            audit=audit,
            incidents=Incidents(cache, announcements, audit, clock),
            connect_url=partial(connect_address, public_url),
        )
