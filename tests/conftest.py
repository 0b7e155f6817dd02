"""Real servers for the tests that want them, and a clean corner of one for each test.

| fixture | what a test gets |
|---|---|
| `rabbitmq_url`, `redis_url`, `postgresql_url` | the session's servers, shared by all tests and workers |
| `vhost`, `redis_database`, `database_url` | the URL of an empty place of the test's own on them |
| `broker`, `redis_server`, `postgresql_server` | this worker's, for the test to kill, stop and start |
| `private_broker`, `private_redis`, `private_postgresql` | start a server with settings of the test's own |
| `watched_redis` | a primary, its replica and a Sentinel |
| `start_server` | the same for a module, by name |
"""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Never

import pytest
from services import postgresql, rabbitmq, redis, shared_vhost
from services.origin import Name
from services.pool import Pool, open_pool
from services.sentinel import WatchedRedis
from services.server import Server, ServerFailed

_SHARED: dict[str, Name] = {"rabbitmq_url": "rabbitmq", "redis_url": "redis", "postgresql_url": "postgresql"}
_POOL = pytest.StashKey[Pool]()
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def pytest_configure(config: pytest.Config) -> None:
    pool = config.stash[_POOL] = open_pool()
    missing = [origin for origin in pool.origins.values() if origin.missing]
    if missing and _in_ci():
        pool.close()
        lines = [f"{origin.name} is missing: {origin.remedy()}." for origin in missing]
        pytest.exit("\n".join(["CI=true, so no test may be skipped.", *lines]), returncode=1)


def pytest_unconfigure(config: pytest.Config) -> None:
    if _POOL in config.stash:
        config.stash[_POOL].close()


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [origin.describe() for origin in config.stash[_POOL].origins.values()]


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    asked = {fixture for item in session.items for fixture in getattr(item, "fixturenames", ())}
    session.config.stash[_POOL].prepare(name for fixture, name in _SHARED.items() if fixture in asked)


@pytest.fixture(scope="session", autouse=True)
def _quit_is_heard() -> Iterator[None]:
    """A shell that runs the tests in its background makes them, and whatever they start, deaf to SIGQUIT."""
    before = signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGQUIT, before)


@pytest.fixture(scope="session")
def server_pool(pytestconfig: pytest.Config) -> Pool:
    return pytestconfig.stash[_POOL]


@pytest.fixture(scope="session")
def rabbitmq_url(server_pool: Pool) -> str:
    _skip_without(server_pool, "rabbitmq")
    return server_pool.shared("rabbitmq").url


@pytest.fixture(scope="session")
def redis_url(server_pool: Pool) -> str:
    _skip_without(server_pool, "redis")
    return server_pool.shared("redis").url


@pytest.fixture(scope="session")
def postgresql_url(server_pool: Pool) -> str:
    _skip_without(server_pool, "postgresql")
    return server_pool.shared("postgresql").url


@pytest.fixture
def vhost(server_pool: Pool, rabbitmq_url: str) -> Iterator[str]:
    """A RabbitMQ URL with an empty virtual host: its only one, in turns, where there is no HTTP API."""
    address = server_pool.shared("rabbitmq")
    if not address.management_url:
        with server_pool.locked("vhost"):
            shared_vhost.clear(rabbitmq_url)
            yield rabbitmq_url
            shared_vhost.clear(rabbitmq_url)
        return
    url = rabbitmq.create_vhost(address)
    yield url
    rabbitmq.delete_vhost(address, url)


_databases_taken = itertools.count()


@pytest.fixture
def redis_database(server_pool: Pool, redis_url: str) -> str:
    """A Redis URL with an empty logical database. Channels and FLUSHALL reach across: use `redis_server`."""
    return redis.empty_database(
        server_pool.shared("redis"), next(_databases_taken), worker=_WORKER, workers=_WORKERS
    )


@pytest.fixture
def database_url(server_pool: Pool, postgresql_url: str) -> Iterator[str]:
    """A PostgreSQL URL with an empty database."""
    address = server_pool.shared("postgresql")
    url = postgresql.create_database(address)
    yield url
    postgresql.drop_database(address, url)


@pytest.fixture(scope="session")
def _own(server_pool: Pool) -> Iterator[Callable[[Name], Server]]:
    """This worker's servers to break: started once, and again whenever a test left one broken."""
    started: dict[Name, Server] = {}

    def own(name: Name) -> Server:
        if name not in started:
            started[name] = _start_private(server_pool, name)
        started[name].start()
        return started[name]

    yield own
    for server in started.values():
        server.close()


@pytest.fixture
def broker(_own: Callable[[Name], Server]) -> Server:
    return _own("rabbitmq")


@pytest.fixture
def redis_server(_own: Callable[[Name], Server]) -> Server:
    return _own("redis")


@pytest.fixture
def postgresql_server(_own: Callable[[Name], Server]) -> Server:
    return _own("postgresql")


@pytest.fixture
def private_broker(server_pool: Pool) -> Iterator[Callable[..., Server]]:
    """Starts a broker of the test's own, with `plugins=[...]`, `conf="lines of rabbitmq.conf"` and, in
    /etc/rabbitmq, `files={path: text}`. It takes `give(files, conf)` for its next start, and `control(...)`.

    The user `guest` of the internal backend must stay: it asks the HTTP API whether the broker is up.
    """
    yield from _starts(server_pool, "rabbitmq")


@pytest.fixture
def private_redis(server_pool: Pool) -> Iterator[Callable[..., Server]]:
    yield from _starts(server_pool, "redis")


@pytest.fixture
def watched_redis(server_pool: Pool) -> Iterator[WatchedRedis]:
    try:
        watched = WatchedRedis(server_pool.folder("redis"))
    except ServerFailed as failure:
        _skip(str(failure))
    watched.start()
    yield watched
    watched.close()


@pytest.fixture
def private_postgresql(server_pool: Pool) -> Iterator[Callable[..., Server]]:
    yield from _starts(server_pool, "postgresql")


@pytest.fixture(scope="module")
def start_server(server_pool: Pool) -> Iterator[Callable[..., Server]]:
    """Starts a server of a module's own, by its kind and with settings as the `private_…` take them."""
    with ExitStack() as started:

        def start(name: Name, **options: object) -> Server:
            server = _start_private(server_pool, name, **options)
            started.callback(server.close)
            return server

        yield start


def _starts(server_pool: Pool, name: Name) -> Iterator[Callable[..., Server]]:
    with ExitStack() as started:

        def start(**options: object) -> Server:
            server = _start_private(server_pool, name, **options)
            started.callback(server.close)
            return server

        yield start


def _start_private(server_pool: Pool, name: Name, **options: object) -> Server:
    if not server_pool.origins[name].can_start:
        _skip(f"{name}: a test wants to stop it, and there is none to start; install {name}-server")
    return server_pool.private(name, **options)


def _skip_without(server_pool: Pool, name: Name) -> None:
    if server_pool.origins[name].missing:
        _skip(server_pool.origins[name].describe())


def _skip(reason: str) -> Never:
    if _in_ci():
        raise ServerFailed(reason)
    pytest.skip(reason)


def _in_ci() -> bool:
    return os.environ.get("CI") == "true"
