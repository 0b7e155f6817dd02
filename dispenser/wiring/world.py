"""Which adapter stands behind which port."""

import os
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dispenser.wiring.keyring_source import KeyringSource
from dispenser.wiring.keyring_view import KeyringView, followed
from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.memory_bus import MemoryBus
from shared.adapters.memory_cache import MemoryCache
from shared.adapters.redis_cache import RedisCache
from shared.adapters.sql.store import SqlStore
from shared.keyring import Keyring
from shared.ports import Bus, Cache, Clock, Store
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
