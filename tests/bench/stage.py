"""What the measurements run on: private servers, a vault of real processes on them, an emulated provider."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from acceptance.declared import declared
from acceptance.installation import COMMAND, Installation, Process, admit
from bench.load import Ask
from bench.program import family
from bench.vault_caller import vault_caller
from services import postgresql, rabbitmq, redis
from services.pool import Pool, open_pool

from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator

AGENT, OWNER = "tracker", "ada"
SERVICE, SCOPE = "time-tracker", "tasks:write"
DatabaseKind = Literal["sqlite", "postgresql"]


@dataclass(slots=True, kw_only=True)
class Stage:
    """One vault. Its provider runs in a thread of the measuring process, whose CPU time nobody counts."""

    installation: Installation
    admin_token: str
    provider: Emulator
    pool: Pool
    #: Of a measurement.
    seconds: float
    #: What share of the full counts is used.
    scale: float
    _running: dict[tuple[str, ...], Process] = field(default_factory=dict)

    @property
    def broker_url(self) -> str:
        return self.installation.broker

    @property
    def cache_url(self) -> str:
        return self.installation.cache

    @property
    def database_url(self) -> str:
        return self.installation.database

    def count(self, full: int) -> int:
        """A full count, or what a quick run makes of it."""
        return max(1, int(full * self.scale))

    def callers(self, full: int) -> int:
        """As many at once, or as a quick run takes."""
        return min(full, self.count(10 * full))

    def running(self, *arguments: str, command: tuple[str, ...] | None = None) -> Process:
        """One of the vault's processes, started when it is first asked for."""
        if arguments not in self._running:
            self._running[arguments] = self.installation.start(*arguments, command=command or COMMAND)
        return self._running[arguments]

    def ended(self, *arguments: str) -> None:
        self._running.pop(arguments).stop()

    def pids(self, *arguments: str, command: tuple[str, ...] | None = None) -> list[int]:
        """Of such a process, started when it is first asked for, and of those it started."""
        return family(self.running(*arguments, command=command).pid)

    def caller(self, service: str = SERVICE) -> Callable[[], AbstractAsyncContextManager[Ask]]:
        """Opens an agent's connection."""
        return partial(vault_caller, self.broker_url, self.installation.agent_token(AGENT, OWNER), service)

    def connect(self, service: str, scope: str) -> None:
        """Bring the owner's grant in, by one refresh."""
        credential = self.provider.issue_refresh_token(OWNER, (scope,))
        self.installation.done("grant", "import", service, "--owner", OWNER, stdin=credential)

    def another(self, database: DatabaseKind) -> "AbstractContextManager[Stage]":
        """A vault of its own, set up and connected in the same way."""
        return _set_up(self.pool, database, self.seconds, self.scale)


@contextmanager
def open_stage(*, quick: bool) -> Iterator[Stage]:
    """Servers, and a vault on PostgreSQL with one grant connected, whose token lives an hour."""
    pool = open_pool()
    try:
        with _set_up(pool, "postgresql", 0.3 if quick else 6.0, 0.01 if quick else 1.0) as stage:
            yield stage
    finally:
        pool.close()


@contextmanager
def _set_up(pool: Pool, database: DatabaseKind, seconds: float, scale: float) -> Iterator[Stage]:
    with ExitStack() as closing:
        home = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="dispenser-bench-")))
        provider = closing.enter_context(Emulator(Behaviour(access_token_seconds=3600)))
        broker, cache, opened = _vhost(pool), _cache(pool), _database(pool, database, home)
        admit(pool.shared("rabbitmq"), broker=broker, cache=cache, database=opened)
        installation = Installation(home, broker=broker, cache=cache, database=opened)
        closing.callback(installation.close)
        admin_token = installation.shown("init")["admin_token"]
        installation.declare(
            declared(
                authorization_url=provider.authorization_url,
                token_url=provider.token_url,
                client_id=provider.client_id,
            ),
            PROVIDER_SECRET=provider.client_secret,
        )
        stage = Stage(
            installation=installation,
            admin_token=admin_token,
            provider=provider,
            pool=pool,
            seconds=seconds,
            scale=scale,
        )
        stage.running("work", "refresher")
        stage.connect(SERVICE, SCOPE)
        yield stage


def _vhost(pool: Pool) -> str:
    address = pool.shared("rabbitmq")
    return rabbitmq.create_vhost(address) if address.management_url else address.url


def _cache(pool: Pool) -> str:
    return redis.empty_database(pool.shared("redis"), 0, worker=0, workers=1)


def _database(pool: Pool, database: DatabaseKind, home: Path) -> str:
    if database == "sqlite":
        return f"sqlite:///{home / 'vault.db'}"
    return postgresql.create_database(pool.shared("postgresql"))
