"""A refresher at work on a SQLite file, a memory bus and cache, and a provider on a real port."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dispenser.enrol import outcome, present
from dispenser.testing import Emulator
from shared import keyring
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.memory_cache import MemoryCache
from shared.adapters.provider_http import HttpxProviderHttp
from shared.adapters.sql.store import SqlStore, migrate
from shared.audit_filter import AuditFilter
from shared.cache_keys import token_key
from shared.envelope import open_token, seal_provider_secrets
from shared.errors import StoreUnavailable
from shared.keyring import Keyring
from shared.messages import ExpiryEvent, Reason, encode
from shared.model import (
    AccessToken,
    Enrolment,
    Grant,
    GrantId,
    GrantKind,
    Intent,
    Owner,
    Presented,
    Provider,
    ProviderName,
    ProviderSecrets,
    RefreshToken,
    Rotation,
    Service,
    ServiceName,
)
from shared.ports import (
    AuditJournal,
    Cache,
    Claim,
    Declared,
    Delivery,
    Failure,
    Outgoing,
    Renewal,
    Unclaimed,
)
from shared.secret import Secret
from shared.topology import REFRESH_EXCHANGE, URGENT_KEY
from workers import spool_file
from workers.refresher import Refresher
from workers.spool import Spool
from workers.spool_entry import Pending

SERVICE = ServiceName("time-tracker")
OWNER = Owner("ann")
PROVIDER = ProviderName("tracker-co")


class Clock:
    """Real time, moved forward at will."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def advance(self, seconds: float) -> None:
        self._ahead += timedelta(seconds=seconds)


class FailingRotations:
    """The store's rotations, whose commits fail as long as they are told to."""

    def __init__(self, rotations: Any) -> None:
        self._rotations = rotations
        self.commits_fail = False
        self.commits_lose_their_answer = False
        self.claims_lose_their_answer = False
        self.failures_lose_their_answer = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rotations, name)

    async def claim(self, grant_id: GrantId, generation: int, **named: Any) -> Claim | Unclaimed:
        claim: Claim | Unclaimed = await self._rotations.claim(grant_id, generation, **named)
        if self.claims_lose_their_answer:
            raise StoreUnavailable("Claimed, and made to look as if not.")
        return claim

    async def commit(self, intent: Intent, *, renewal: Renewal, **named: Any) -> Grant | None:
        if self.commits_fail:
            raise StoreUnavailable("Made to fail.")
        stored: Grant | None = await self._rotations.commit(intent, renewal=renewal, **named)
        if self.commits_lose_their_answer:
            raise StoreUnavailable("Committed, and made to look as if not.")
        return stored

    async def fail(self, intent: Intent, failure: Failure, **named: Any) -> Grant | None:
        stored: Grant | None = await self._rotations.fail(intent, failure, **named)
        if self.failures_lose_their_answer:
            raise StoreUnavailable("Recorded, and made to look as if not.")
        return stored


class Vault:
    """What a test drives."""

    def __init__(self, folder: Path, emulator: Emulator, keys: Keyring | None = None) -> None:
        self.folder = folder
        self.emulator = emulator
        self.clock = Clock()
        self.keys = keys or keyring.parse(json.dumps(keyring.generate()))
        self.store = SqlStore.open(f"sqlite:///{folder / 'vault.db'}")
        self.rotations = FailingRotations(self.store.rotations)
        self.store.rotations = self.rotations  # type: ignore[assignment]
        self.bus = MemoryBus()
        self.cache: Cache = MemoryCache(self.clock)
        self.events: list[str] = []
        self.bus.subscribe("credential.*", self._hear)
        self._https: list[HttpxProviderHttp] = []
        self.refreshers: list[Refresher] = []

    def _hear(self, delivery: Delivery) -> None:
        self.events.append(delivery.routing_key)

    async def open(self) -> None:
        await asyncio.to_thread(migrate, f"sqlite:///{self.folder / 'vault.db'}")
        await self.bus.start()

    async def close(self) -> None:
        await self.bus.drain()
        for refresher in self.refreshers:
            await refresher.drain()
        for http in self._https:
            await http.close()
        await self.bus.close()
        await self.store.close()

    async def refresher(
        self, name: str = "refresher-1", *, spool: str = "spool", journal: AuditJournal | None = None
    ) -> Refresher:
        """A new refresher process, started."""
        http = HttpxProviderHttp()
        self._https.append(http)
        refresher = Refresher(
            store=self.store,
            bus=self.bus,
            cache=self.cache,
            http=http,
            keys=self.keys,
            spool=Spool(self.folder / spool),
            clock=self.clock,
            entropy=random.Random(7).random,
            name=name,
            journal=journal,
        )
        self.refreshers.append(refresher)
        await refresher.start()
        return refresher

    async def declare(
        self,
        rotation: Rotation | None = None,
        *,
        grant: GrantKind = GrantKind.AUTHORIZATION_CODE,
        secrets: ProviderSecrets | None = None,
        scopes: Sequence[str] = (),
        **fields: Any,
    ) -> Provider:
        provider = Provider(
            name=PROVIDER,
            client_id=self.emulator.client_id,
            token_url=self.emulator.token_url,
            insecure_local=True,
            rotation=rotation or Rotation(),
            grant=grant,
        )
        provider = replace(provider, **fields)
        opened = secrets or ProviderSecrets(client_secrets=(Secret(self.emulator.client_secret),))
        service = Service(name=SERVICE, provider=PROVIDER, scopes=tuple(scopes))
        sealed = seal_provider_secrets(self.keys, provider, opened)
        await self.store.catalogue.apply(
            Declared(providers=[(provider, sealed)], services=[service]), self.clock()
        )
        return provider

    async def connect(
        self, presented: Presented | None = None, *, owner: Owner = OWNER, service: ServiceName = SERVICE
    ) -> Enrolment:
        """Present a credential, and what became of it."""
        presented = presented or RefreshToken(value=Secret(self.emulator.issue_refresh_token(owner)))
        catalogue = await self.store.catalogue.load()
        enrolment_id = await present(
            self.store,
            self.bus,
            self.keys,
            self.clock,
            service=service,
            owner=owner,
            presented=presented,
            client=catalogue.providers[catalogue.services[service].provider].client,
        )
        enrolment = await outcome(self.store, enrolment_id)
        assert enrolment is not None
        await self.settled()
        return enrolment

    async def ask(
        self,
        generation: int,
        *,
        times: int = 1,
        reason: Reason = Reason.MISS,
        owner: Owner = OWNER,
        service: ServiceName = SERVICE,
    ) -> None:
        """Publish expiry events, and return once they are settled or wait in a retry queue."""
        grant = await self.grant(owner, service)
        event = ExpiryEvent(grant_id=grant.id, generation=generation, reason=reason)
        message = Outgoing(exchange=REFRESH_EXCHANGE, routing_key=URGENT_KEY, body=encode(event))
        await asyncio.gather(*(self.bus.publish(message) for _ in range(times)))
        await self.settled()

    async def settled(self) -> None:
        """Nothing is in flight in any refresher."""
        for _ in range(3):
            await asyncio.sleep(0)
        while flying := [t for r in self.refreshers for t in r._flights._flying.values()]:
            await asyncio.wait(flying)
            await asyncio.sleep(0)

    async def grant(self, owner: Owner = OWNER, service: ServiceName = SERVICE) -> Grant:
        grant = await self.store.grants.find(service, owner)
        assert grant is not None
        return grant

    async def token(self) -> AccessToken:
        """What the cache serves."""
        [sealed] = await self.cache.get_many([token_key(SERVICE, OWNER)])
        assert sealed is not None
        return open_token(self.keys, SERVICE, OWNER, sealed)

    async def actions(self) -> list[str]:
        """What the audit says happened, oldest first."""
        return [
            record.action for record in reversed(await self.store.audit.query(AuditFilter(service=SERVICE)))
        ]

    def spooled(self) -> list[Pending]:
        """What waits in the spools."""
        return [found for path in self.spool_files() for found in spool_file.entries(path)]

    def spool_files(self) -> list[Path]:
        return sorted(self.folder.glob("*/*.spool"))

    def waiting(self) -> Mapping[str, int]:
        """Messages no consumer has in hand, by queue."""
        return {name: len(queue) for name, queue in self.bus.broker.queues.items() if len(queue)}

    def database_files(self) -> list[Path]:
        return sorted(self.folder.glob("vault.db*"))
