"""What a user's project gets from the pytest plugin. Each test runs pytest in a project of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

REPOSITORY = Path(__file__).parents[2]
SERVER_LIBRARIES = (
    "aio_pika",
    "cryptography",
    "fastapi",
    "httpx",
    "joserfc",
    "sqlalchemy",
    "starlette",
    "uvicorn",
)
CHATTY = f"""
import sys, dispenser.testing.plugin
print([name for name in {SERVER_LIBRARIES} if name in sys.modules])
"""
EMULATOR_TEST = """
import urllib.request

def test_the_provider_answers(oauth_emulator):
    url = oauth_emulator.issuer + "/.well-known/oauth-authorization-server"
    assert urllib.request.urlopen(url).status == 200
"""
VAULT_TEST = """
import asyncio
import os
import shared
from dispenser import Vault

async def ask(service):
    async with Vault() as vault:
        return (await vault.token(service)).value

def test_an_agent_gets_a_token(vault_server):
    assert asyncio.run(ask(vault_server.services[0]))

def test_the_environment_is_the_tests_own(vault_url, vault_agent_token):
    assert (os.environ["VAULT_URL"], os.environ["VAULT_AGENT_TOKEN"]) == (vault_url, vault_agent_token)

def test_and_nobody_elses():
    assert "VAULT_URL" not in os.environ
    assert shared.ours
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with packages named as two of ours."""
    for name in ("shared", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("ours = True\n")
    return tmp_path


def environment() -> Mapping[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "VAULT_"))}
    return kept | {"PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def outcome(project: Path, test: str) -> str:
    """What pytest says of a test in the project; a warning is an error."""
    (project / "test_agent.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "dispenser.testing.plugin"]
    done = subprocess.run(
        command, cwd=project, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_project_that_uses_nothing_loads_nothing() -> None:
    command = [sys.executable, "-W", "error", "-c", CHATTY]
    assert subprocess.check_output(command, env=environment(), text=True).strip() == "[]"


def test_the_emulator_is_a_fixture_in_a_project_with_a_shared_package(project: Path) -> None:
    assert "1 passed" in outcome(project, EMULATOR_TEST)


def test_the_vault_is_a_fixture_in_a_project_with_a_shared_package(project: Path) -> None:
    assert "3 passed" in outcome(project, VAULT_TEST)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_emulator_runs_as_a_process_until_it_is_told_to_end(how: signal.Signals) -> None:
    behaviour = json.dumps({"access_token_seconds": 5})
    command = [sys.executable, "-m", "dispenser.testing", "--port", "0", "--json", "--behaviour", behaviour]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        form = {"grant_type": "client_credentials"}
        client = (said["client_id"], said["client_secret"])
        assert httpx.post(said["token_url"], data=form, auth=client).json()["expires_in"] == 5
        assert httpx.get(f"{said['issuer']}/_emulator/requests").json()["token_calls"] == 1
        process.send_signal(how)
        assert process.wait(20) == 0
