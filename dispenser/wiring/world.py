"""Which adapter stands behind which port."""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dispenser import connect_ticket
from dispenser.bounded_journal import bounded
from dispenser.catalogue_view import CatalogueView
from dispenser.dispense import Dispenser
from dispenser.limits import Limits
from dispenser.metrics import Metrics
from dispenser.polling import polled
from dispenser.revocation_view import RevocationView
from dispenser.wiring.keyring_source import KeyringSource
from dispenser.wiring.keyring_view import KeyringView, followed
from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.audit_journal import FileAuditJournal
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.memory_cache import MemoryCache
from shared.adapters.provider_http import HttpxProviderHttp
from shared.adapters.redis_cache import RedisCache
from shared.adapters.sql.store import SqlStore
from shared.keyring import Keyring
from shared.model import Owner, ServiceName
from shared.ports import AuditJournal, Bus, Cache, Clock, Store
from shared.settings import MEMORY_URL, Settings


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a process is connected to."""

    settings: Settings
    keys: Keyring
    store: Store
    bus: Bus
    cache: Cache
    clock: Clock
    #: This process, among all: in logs, leases and journals.
    name: str


@asynccontextmanager
async def world(settings: Settings, role: str) -> AsyncIterator[World]:
    """Open every adapter; none connects before its first use.

    Raises: KeyMissing, KeyProviderFailed, ConfigurationError.
    """
    keyring = KeyringView(KeyringSource(settings), utc_now)
    name = process_name(role)
    store = SqlStore.open(settings.database_url)
    cache = _cache(settings)
    bus = _bus(settings, name)
    try:
        async with followed(keyring) as keys:
            yield World(
                settings=settings,
                keys=keys,
                store=store,
                bus=bus,
                cache=cache,
                clock=utc_now,
                name=name,
            )
    finally:
        await bus.close()
        await cache.close()
        await store.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a door needs to answer agents."""

    dispenser: Dispenser
    catalogue: CatalogueView
    journal: AuditJournal
    #: Of every door of this process.
    metrics: Metrics


@asynccontextmanager
async def desk(world: World) -> AsyncIterator[Desk]:
    """A request path with its catalogue and its audit journal. Raises: StoreUnavailable, AuditUnavailable."""
    catalogue = CatalogueView(world.store.catalogue)
    revocations = RevocationView(world.store.revocations, world.clock)
    async with (
        polled(catalogue.look, "catalogue"),
        polled(revocations.look, "revocations"),
        FileAuditJournal(journal_folder(world.settings), world.name) as file,
        bounded(file) as journal,
    ):
        dispenser = Dispenser(
            store=world.store,
            cache=world.cache,
            bus=world.bus,
            keys=world.keys,
            catalogue=catalogue,
            revocations=revocations,
            journal=journal,
            clock=world.clock,
            vault=world.settings.vault_name,
            connect_url=connect_url(world),
            new_id=new_id,
            limits=Limits(
                max_requests_per_second=world.settings.max_requests_per_second,
                max_concurrency=world.settings.max_concurrency,
            ),
        )
        yield Desk(dispenser=dispenser, catalogue=catalogue, journal=journal, metrics=Metrics())


def provider_http(settings: Settings) -> HttpxProviderHttp:
    """The way to providers and issuers, as the operator allows it. Whoever has it closes it."""
    return HttpxProviderHttp(settings.private_networks, ca_file=settings.provider_ca_file)


def connect_url(world: World) -> Callable[[ServiceName, Owner], str]:
    """Makes the addresses at which owners give consent."""

    def address(service: ServiceName, owner: Owner) -> str:
        expires_at = world.clock() + timedelta(seconds=connect_ticket.LIFETIME_SECONDS)
        ticket = connect_ticket.mint(world.keys, service, owner, expires_at=expires_at)
        return connect_ticket.connect_url(world.settings.public_url, service, owner, ticket)

    return address


def journal_folder(settings: Settings) -> Path:
    """Where dispensers write their audit journals, for shipping."""
    return settings.home / "audit"


def checkpoint_folder(settings: Settings) -> Path:
    """Where the audit's signed checkpoints are kept, for witnesses to fetch."""
    return settings.home / "checkpoints"


def process_name(role: str) -> str:
    """A name no other process has had."""
    return f"{role}-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"


def new_id() -> str:
    """An identifier that cannot be guessed: 128 bits, in hex."""
    return secrets.token_hex(16)


def _bus(settings: Settings, name: str) -> Bus:
    return MemoryBus() if settings.broker_url == MEMORY_URL else AmqpBus(settings.broker_url, name=name)


def _cache(settings: Settings) -> Cache:
    return MemoryCache(utc_now) if settings.cache_url == MEMORY_URL else RedisCache.open(settings.cache_url)
