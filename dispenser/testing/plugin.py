"""pytest fixtures for the tests of agents. Nothing is loaded or started before a test asks for it.

An agent that finds its vault by `VAULT_URL` and `VAULT_AGENT_TOKEN` is tested as it is:

```python
@pytest.mark.usefixtures("vault_server")
async def test_my_agent_logs_its_work():
    async with Vault() as vault:
        token = await vault.token("time-tracker")
    ...
```

A client's bad days come from `oauth_emulator`:

```python
def test_my_client_waits(oauth_emulator):
    oauth_emulator.faults.next(RateLimited(retry_after=1))
    ...
```

Both need the `[server]` extra.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dispenser.testing.emulator import Emulator
    from dispenser.testing.vault_process import VaultServer


@pytest.fixture
def oauth_emulator() -> "Iterator[Emulator]":
    """An OAuth provider on a port of its own, as strict as they come; `.behaviour` changes its habits."""
    from dispenser.testing.emulator import Emulator  # noqa: PLC0415 - only where a test asks for it

    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="session")
def vault_process(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[VaultServer]":
    """One vault for all the tests of a session; `vault_server` is what a test asks for."""
    from dispenser.testing.vault_process import vault_process  # noqa: PLC0415 - only where a test asks for it

    with vault_process(tmp_path_factory.mktemp("vault")) as server:
        yield server


@pytest.fixture
def vault_server(vault_process: "VaultServer", monkeypatch: pytest.MonkeyPatch) -> "VaultServer":
    """The session's vault, with `VAULT_URL` and `VAULT_AGENT_TOKEN` set for this test."""
    monkeypatch.setenv("VAULT_URL", vault_process.vault_url)
    monkeypatch.setenv("VAULT_AGENT_TOKEN", vault_process.agent_token)
    return vault_process


@pytest.fixture
def vault_url(vault_server: "VaultServer") -> str:
    """What `VAULT_URL` is in this test."""
    return vault_server.vault_url


@pytest.fixture
def vault_agent_token(vault_server: "VaultServer") -> str:
    """What `VAULT_AGENT_TOKEN` is in this test."""
    return vault_server.agent_token
