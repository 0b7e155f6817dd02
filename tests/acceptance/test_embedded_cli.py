"""A vault on a laptop, by the command line alone: nothing set but a home."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.laptop import Laptop
from services.server import wait_until

from dispenser.testing.emulator import Emulator


@pytest.fixture
def laptop(tmp_path: Path) -> Iterator[Laptop]:
    with Emulator() as provider:
        yield Laptop(tmp_path, provider)


def test_grants_of_all_four_kinds_come_in_and_tokens_go_out(laptop: Laptop) -> None:
    laptop("init")
    laptop("apply", str(laptop.file))
    refresh_token = laptop.provider.issue_refresh_token("ada", ("tasks:write",))
    laptop("grant", "import", "time-tracker", "--owner", "ada", stdin=refresh_token)
    laptop("grant", "import", "code-host", "--owner", "ada", stdin="personal-access-token")
    laptop("connect", "weather", "--owner", "shared")
    laptop("connect", "calendar-read", "--owner", "shared")
    laptop("provider", "test", "refreshing")

    with laptop.gateway():
        token = laptop("agent", "token", "tracker", "--owner", "ada")
        for service, owner in (
            ("time-tracker", "ada"),
            ("code-host", "ada"),
            ("weather", "shared"),
            ("calendar-read", "shared"),
        ):
            shown = json.loads(laptop("token", service, "--owner", owner, "--json", VAULT_AGENT_TOKEN=token))
            assert (shown["service"], shown["generation"]) == (service, 1)
        assert laptop("token", "code-host", VAULT_AGENT_TOKEN=token) == "personal-access-token"
        laptop("grant", "revoke", "code-host", "--owner", "ada")
        assert wait_until(lambda: _refused(laptop, token))
    audited = json.loads(laptop("audit", "--json", "--agent", "tracker"))
    assert sum(record["action"] == "token.dispensed" for record in audited) >= 5


def _refused(laptop: Laptop, token: str) -> bool:
    return laptop.ended("token", "code-host", VAULT_AGENT_TOKEN=token).returncode == 3
