"""What the measurements run on: private servers, a vault of real processes on them, an emulated provider."""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from pathlib import Path
from typing import Literal

from acceptance.declared import declared
from acceptance.installation import COMMAND, Installation, Process, admit
from bench import commands
from bench.load import Ask
from bench.program import family
from bench.vault_caller import vault_caller
from services import postgresql, rabbitmq, redis
from services.origin import NAMES
from services.pool import Pool, open_pool

from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from shared import keyring
from shared.keyring import Keyring

AGENT, OWNER = "tracker", "ada"
SERVICE, SCOPE = "time-tracker", "tasks:write"
DatabaseKind = Literal["sqlite", "postgresql"]
#: What the vault's processes are started with; the gateway takes a port too.
Arguments = tuple[str, ...]
SERVE: Arguments = ("serve",)
REFRESHER: Arguments = ("work", "refresher")
SCHEDULER: Arguments = ("work", "scheduler")
JANITOR: Arguments = ("work", "janitor")


#: Of whom an agent may speak for, beside its session's own.
MANY_OWNERS = "team-*"
PLATFORM = f"""
  - {{name: platform, effect: allow, agents: [{AGENT}], services: ["*"], owners: ["{MANY_OWNERS}"]}}
"""
#: Of the one agent that asks here for all: what hundreds may ask together.
MOST_PER_SECOND = 1_000_000
#: A number for each vault that is set up: its logical database in Redis.
_NUMBERS = count()


class Vault(Installation):
    """Its commands set the stage up, and so need not start as the programs that its processes are."""

    def cli(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        return commands.run(arguments, self.environment | environment, stdin)


@dataclass(kw_only=True)
class Stage:
    """One vault. Its provider runs in a thread of the measuring process, whose CPU time nobody counts."""

    vault: Vault
    provider: Emulator
    pool: Pool
    #: Of a measurement.
    seconds: float
    #: What share of the full counts is used.
    scale: float
    _running: dict[Arguments, Process] = field(default_factory=dict)

    @cached_property
    def keys(self) -> Keyring:
        """All of the vault's."""
        return keyring.parse((self.vault.home / "vault" / "keys.json").read_text())

    @property
    def gateway(self) -> Arguments:
        return ("gateway", "--port", str(self.vault.gateway_port))

    @property
    def broker_url(self) -> str:
        return self.vault.broker

    @property
    def cache_url(self) -> str:
        return self.vault.cache

    @property
    def database_url(self) -> str:
        return self.vault.database

    def count(self, full: int) -> int:
        """A full count, or what a quick run makes of it."""
        return max(1, int(full * self.scale))

    def callers(self, full: int) -> int:
        """As many at once, or as a quick run takes."""
        return min(full, self.count(10 * full))

    def start(self, *wanted: Arguments) -> None:
        """Those of the vault's processes that do not run yet, beside each other: most of it is loading."""
        missing = [arguments for arguments in wanted if arguments not in self._running]
        with ThreadPoolExecutor() as threads:
            started = threads.map(lambda arguments: self.vault.start(*arguments), missing)
            self._running |= zip(missing, started, strict=True)

    def restart(self, arguments: Arguments, command: tuple[str, ...] = COMMAND) -> None:
        """A process in the place of one that runs, by another command perhaps."""
        self._running.pop(arguments).stop()
        self._running[arguments] = self.vault.start(*arguments, command=command)

    @contextmanager
    def killed(self, arguments: Arguments) -> Iterator[None]:
        """One of the processes dies at once, and is started again afterwards."""
        process = self._running[arguments]
        process.kill()
        try:
            yield
        finally:
            process.start()

    def pids(self, arguments: Arguments) -> list[int]:
        """Of a process, started when it is first asked for, and of those it started."""
        self.start(arguments)
        return family(self._running[arguments].pid)

    def log(self, arguments: Arguments) -> str:
        """What a running process said."""
        return self._running[arguments].log

    def caller(
        self, service: str = SERVICE, owners: Sequence[str] = (OWNER,)
    ) -> Callable[[], AbstractAsyncContextManager[Ask]]:
        """Opens an agent's connection. It asks for each of these owners in turn."""
        return partial(vault_caller, self.broker_url, self.vault.agent_token(AGENT, OWNER), service, owners)

    def connect(self, service: str, scope: str) -> None:
        """Bring the owner's grant in, by one refresh."""
        credential = self.provider.issue_refresh_token(OWNER, (scope,))
        self.vault.done("grant", "import", service, "--owner", OWNER, stdin=credential)

    def another(self, database: DatabaseKind) -> "AbstractContextManager[Stage]":
        """A vault of its own, set up and connected in the same way."""
        return _set_up(self.pool, database, self.seconds, self.scale)


@contextmanager
def open_stage(*, quick: bool) -> Iterator[Stage]:
    """Servers, and a vault on PostgreSQL with one grant connected, whose token lives an hour."""
    commands.load()
    pool = open_pool()
    try:
        pool.prepare(NAMES)
        with _set_up(pool, "postgresql", 0.2 if quick else 6.0, 0.01 if quick else 1.0) as stage:
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
        vault = Vault(home, broker=broker, cache=cache, database=opened)
        vault.environment["DISPENSER_MAX_REQUESTS_PER_SECOND"] = str(MOST_PER_SECOND)
        closing.callback(vault.close)
        vault.done("init")
        stage = Stage(
            vault=vault,
            provider=provider,
            pool=pool,
            seconds=seconds,
            scale=scale,
        )
        _declare(stage)
        stage.start(SERVE, REFRESHER)
        stage.connect(SERVICE, SCOPE)
        yield stage


def _declare(stage: Stage) -> None:
    provider, file = stage.provider, stage.vault.home / "declared.yaml"
    file.write_text(
        declared(
            authorization_url=provider.authorization_url,
            token_url=provider.token_url,
            client_id=provider.client_id,
        )
        + PLATFORM
    )
    stage.vault.done("apply", str(file), PROVIDER_SECRET=provider.client_secret)


def _vhost(pool: Pool) -> str:
    address = pool.shared("rabbitmq")
    return rabbitmq.create_vhost(address) if address.management_url else address.url


def _cache(pool: Pool) -> str:
    # Of its own: two vaults that are up beside each other must not find each other's tokens.
    return redis.empty_database(pool.shared("redis"), next(_NUMBERS), worker=0, workers=1)


def _database(pool: Pool, database: DatabaseKind, home: Path) -> str:
    if database == "sqlite":
        return f"sqlite:///{home / 'vault.db'}"
    return postgresql.create_database(pool.shared("postgresql"))
