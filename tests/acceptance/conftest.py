"""`oidc_provider`: a certified OAuth provider. `start_oidc_provider`: one with options of the test's own."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from acceptance.oidc_server import OidcServer, available
from services.pool import FOLDER_VARIABLE
from services.server import ServerFailed


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


def _folder() -> Path:
    """In the session's folder: whatever happens to the tests, its keeper ends the server."""
    return Path(os.environ[FOLDER_VARIABLE]) / f"oidc-{uuid.uuid4().hex[:8]}"


def _skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        raise ServerFailed(reason)
    pytest.skip(reason)
