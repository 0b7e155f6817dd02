"""A request path with everything behind it that it needs, and a refresher's part played by the test."""

import asyncio
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from builders import KEYS, VAULT, a_policy, a_provider, a_service, an_agent, an_identity

from dispenser.catalogue_view import CatalogueView
from dispenser.dispense import Dispenser
from dispenser.door_amqp import AmqpDoor
from dispenser.metrics import Metrics
from dispenser.place import vhost_of
from dispenser.protocol import Call, Reply, TokenCall
from dispenser.revocation_view import RevocationView
from dispenser.sessions import Sessions
from dispenser.transport_view import TransportView
from dispenser.vault_token import Identity
from shared import envelope
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.memory_cache import MemoryCache
from shared.adapters.sql.store import SqlStore, migrate
from shared.cache_keys import token_key
from shared.errors import AuditUnavailable
from shared.keyring import Keyring
from shared.messages import ExpiryEvent, decode
from shared.model import (
    AccessToken,
    AuditRecord,
    ClientItself,
    EnrolmentId,
    Grant,
    GrantId,
    GrantState,
    Owner,
    ServiceName,
)
from shared.ports import Ack, Bus, Claim, Declared, Delivery, Failure, Renewal, Settlement
from shared.secret import Secret
from shared.topology import RPC_QUEUE, URGENT_QUEUE

PLACE = (ServiceName("time-tracker"), Owner("ada"))
LIFE_SECONDS = 3600.0


class Journal:
    """Keeps records in memory, or refuses."""

    def __init__(self) -> None:
        self.records: list[AuditRecord] = []
        self.broken = False

    async def append(self, *records: AuditRecord) -> None:
        await asyncio.sleep(0)  # others go on meanwhile, as they do while a disk is waited for
        if self.broken:
            raise AuditUnavailable("No space left on device.")
        self.records += records


class Watched:
    """Counts what is asked of a port."""

    def __init__(self, port: Any) -> None:
        self._port = port
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        return getattr(self._port, name)


class Desk:
    """A dispenser over SQLite, memory bus and memory cache; `time` moves when told."""

    def __init__(self, folder: Path, keys: Keyring = KEYS) -> None:
        self.keys = keys
        self._url = f"sqlite:///{folder / 'vault.db'}"
        self.time = datetime.now(UTC)
        self.journal = Journal()
        self.metrics = Metrics()
        self.urgent: list[ExpiryEvent] = []
        #: Which its door is on, where it has one on a broker.
        self.agents_bus: Bus
        #: What the refresher does with an urgent event.
        self.refresher: Callable[[ExpiryEvent], Any] | None = None

    def clock(self) -> datetime:
        return self.time

    async def open(self) -> None:
        migrate(self._url)
        self.store = SqlStore.open(self._url)
        self.cache = MemoryCache(self.clock)
        self.bus = MemoryBus()
        await self.bus.start()
        await self.bus.declare()
        await self.bus.consume(URGENT_QUEUE, self._refresh, prefetch=100)
        await self.declare()
        self.catalogue = CatalogueView(self.store.catalogue)
        self.revocations = RevocationView(self.store.revocations, self.clock)
        await self.look()
        self.grants = Watched(self.store.grants)
        self.lookups = Watched(self.cache)
        self.dispenser = Dispenser(
            store=_StoreWith(self.store, self.grants),
            cache=self.lookups,
            bus=self.bus,
            keys=self.keys,
            catalogue=self.catalogue,
            revocations=self.revocations,
            journal=self.journal,
            clock=self.clock,
            vault=VAULT,
            connect_url=lambda service, owner: f"https://vault.example/connect/{service}/{owner}",
            new_id=lambda: "new-id",
        )
        self.transport, self.sessions = await self.process()

    async def process(self) -> tuple[TransportView, Sessions]:
        """What each dispenser process has of sessions by itself."""
        transport = TransportView(self.store.transport_keys, self.keys, self.clock, os.urandom)
        await transport.look()
        return transport, Sessions(transport, self.keys, self.clock, os.urandom)

    def door(
        self, bus: Bus, url: str, sessions: Sessions | None = None, *, queue: str = RPC_QUEUE
    ) -> AmqpDoor:
        """An AMQP door to it; agents' clocks are not moved with the desk's."""
        return AmqpDoor(
            bus,
            self.dispenser,
            sessions or self.sessions,
            metrics=self.metrics,
            clock=lambda: datetime.now(UTC),
            vhost=vhost_of(url),
            queue=queue,
        )

    async def withdraw_transport_keys(self) -> None:
        """No dispenser knows what was sealed before any more, once it has looked."""
        await self.store.purge(self.time + timedelta(days=9))

    async def close(self) -> None:
        await self.bus.close()
        await self.store.close()

    async def declare(self, **changes: Any) -> None:
        declared = {
            "providers": [(a_provider(), None)],
            "services": [a_service()],
            "agents": [an_agent("tracker"), an_agent("intern")],
            "policies": [a_policy()],
        }
        await self.store.catalogue.apply(Declared(**declared | changes), self.time)

    async def look(self) -> None:
        """What the polling does every half second."""
        await self.catalogue.look()
        await self.revocations.look()

    def identity(self, **changes: Any) -> Identity:
        lives = {"issued_at": self.time, "expires_at": self.time + timedelta(minutes=15)}
        return an_identity(**lives | changes)

    async def ask(
        self, call: Call | None = None, *, identity: Identity | None = None, seconds: float = 5.0
    ) -> Reply:
        return await self.dispenser.answer(
            identity or self.identity(),
            call or TokenCall(service="time-tracker"),
            request_id="request-1",
            door="test",
            deadline_seconds=seconds,
        )

    async def grant(self, *, left: float = LIFE_SECONDS, cached: bool = True, **changes: Any) -> Grant:
        """A connected grant whose token has so many seconds left."""
        token = self.token(1, left)
        values = {
            "id": GrantId("grant-1"),
            "service": PLACE[0],
            "owner": PLACE[1],
            "state": GrantState.ACTIVE,
            "generation": 1,
            "scopes": token.scopes,
            "sealed_credential": None,
            "credential_fingerprint": b"",
            "sealed_token": envelope.seal_token(self.keys, *PLACE, token),
            "token_expires_at": token.expires_at,
            "refresh_at": self.time + timedelta(seconds=0.7 * LIFE_SECONDS),
            "failures": 0,
            "last_error": None,
            "created_at": self.time,
            "updated_at": self.time,
        }
        grant = Grant(**values | changes)
        assert await self.store.enrolments.succeed(EnrolmentId("none"), grant, self.time, ())
        if cached:
            await self.put(token)
        return grant

    def token(self, generation: int, left: float = LIFE_SECONDS, scopes: Sequence[str] = ()) -> AccessToken:
        expires_at = self.time + timedelta(seconds=left)
        return AccessToken(
            value=Secret(f"token-{generation}"),
            token_type="Bearer",
            scopes=tuple(scopes) or ("tasks:write",),
            issued_at=expires_at - timedelta(seconds=LIFE_SECONDS),
            expires_at=expires_at,
            generation=generation,
            grant_id=GrantId("grant-1"),
        )

    async def put(self, token: AccessToken) -> None:
        sealed = envelope.seal_token(self.keys, *PLACE, token)
        await self.cache.put_if_newer(token_key(*PLACE), token.generation, sealed, None)

    async def rotate(self, event: ExpiryEvent) -> None:
        """What a refresher does when all goes well."""
        claim = await self._claim(event)
        if claim is None:
            return
        token = self.token(event.generation + 1)
        renewal = Renewal(
            sealed_credential=None,
            credential_fingerprint=envelope.fingerprint(claim.grant.id, ClientItself()),
            sealed_token=envelope.seal_token(self.keys, *PLACE, token),
            scopes=token.scopes,
            token_expires_at=token.expires_at,
            refresh_at=None,
        )
        await self.store.rotations.commit(
            claim.intent,
            expected_generation=event.generation,
            expected_fingerprint=b"",
            renewal=renewal,
            now=self.time,
            events=(),
        )
        await self.put(token)

    async def fail(self, event: ExpiryEvent) -> None:
        """What a refresher does when the provider is down."""
        claim = await self._claim(event)
        if claim is not None:
            failure = Failure(
                state=GrantState.REFRESH_FAILING,
                error="http_503",
                refresh_at=self.time + timedelta(seconds=30),
            )
            await self.store.rotations.fail(claim.intent, failure, now=self.time, events=())

    async def _claim(self, event: ExpiryEvent) -> Claim | None:
        until = self.time + timedelta(seconds=120)
        claim = await self.store.rotations.claim(
            event.grant_id, event.generation, holder="r", now=self.time, lease_until=until
        )
        return claim if isinstance(claim, Claim) else None

    async def _refresh(self, delivery: Delivery) -> Settlement:
        event = decode(delivery.body)
        assert isinstance(event, ExpiryEvent)
        self.urgent.append(event)
        if self.refresher is not None:
            await asyncio.ensure_future(self.refresher(event))
        return Ack()


class _StoreWith:
    """The store, its grants watched."""

    def __init__(self, store: SqlStore, grants: Any) -> None:
        self._store = store
        self.grants = grants

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)
