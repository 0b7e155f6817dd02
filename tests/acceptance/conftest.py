"""What acceptance tests run against.

`oidc_provider`: a certified OAuth provider. `start_oidc_provider`: one with options of the test's own.
`installation`: a vault of real processes on the session's servers. `breakable`: one on servers to break.
`secured`: one on servers of its own with TLS, where vault tokens are passwords.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from acceptance.installation import Installation, admit
from acceptance.oidc_server import OidcServer, available
from acceptance.secured import Secured, secured_vault
from services import postgresql
from services.origin import Name
from services.pool import FOLDER_VARIABLE, Pool
from services.server import Server, ServerFailed


@pytest.fixture
def start_oidc_provider() -> Iterator[Callable[..., OidcServer]]:
    if not available():
        _skip("oidc-provider: a test wants Node.js and npm; install Node.js 18 or later")
    with ExitStack() as started:

        def start(**options: object) -> OidcServer:
            server = OidcServer(_folder(), **options)
            started.callback(server.close)
            server.start()
            return server

        yield start


@pytest.fixture
def oidc_provider(start_oidc_provider: Callable[..., OidcServer]) -> OidcServer:
    return start_oidc_provider()


@pytest.fixture
def installation(
    tmp_path: Path, server_pool: Pool, vhost: str, redis_database: str, database_url: str
) -> Iterator[Installation]:
    admit(server_pool.shared("rabbitmq"), broker=vhost, cache=redis_database, database=database_url)
    vault = Installation(tmp_path, broker=vhost, cache=redis_database, database=database_url)
    yield vault
    vault.close()


@pytest.fixture(scope="module")
def breakable(
    tmp_path_factory: pytest.TempPathFactory, _own: Callable[[Name], Server]
) -> Iterator[Installation]:
    postgres = _own("postgresql")
    database = postgresql.create_database(postgres.address)
    broker, cache = _own("rabbitmq"), _own("redis").url
    admit(broker.address, broker=broker.url, cache=cache, database=database)
    vault = Installation(tmp_path_factory.mktemp("vault"), broker=broker.url, cache=cache, database=database)
    yield vault
    vault.close()
    postgres.start()
    postgresql.drop_database(postgres.address, database)


@pytest.fixture(scope="module")
def secured(
    start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Secured]:
    with secured_vault(start_server, tmp_path_factory.mktemp("vault")) as vault:
        yield vault


def _folder() -> Path:
    """In the session's folder: whatever happens to the tests, its keeper ends the server."""
    return Path(os.environ[FOLDER_VARIABLE]) / f"oidc-{uuid.uuid4().hex[:8]}"


def _skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        raise ServerFailed(reason)
    pytest.skip(reason)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not available():
        terminalreporter.write_line("oidc-provider: NO NODE OR NPM, ITS TESTS WERE SKIPPED", red=True)
