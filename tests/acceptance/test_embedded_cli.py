"""A vault on a laptop, by the command line alone: nothing set but a home."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from acceptance.installation import COMMAND
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from services.server import free_port, wait_until

from dispenser.testing.emulator import Emulator

DECLARED = """
providers:
  refreshing: {{authorization_url: {authorize}, token_url: {token}, client_id: {client},
    client_secret: {{env: SECRET}}, insecure_local: true}}
  own: {{grant: client_credentials, token_url: {token}, client_id: {client},
    client_secret: {{env: SECRET}}, insecure_local: true}}
  account: {{grant: jwt_bearer, token_url: {token}, private_key: {{file: key.pem}}, assertion_issuer: robot,
    insecure_local: true}}
  personal: {{grant: static}}
services:
  time-tracker: {{provider: refreshing, scopes: ["tasks:write"]}}
  weather: {{provider: own, scopes: ["forecast:read"]}}
  calendar-read: {{provider: account, scopes: ["calendar:read"]}}
  code-host: {{provider: personal}}
agents:
  tracker: {{}}
policies:
  - {{name: all, effect: allow, agents: ["*"], services: ["*"], owners: ["*"]}}
"""


class Laptop:
    def __init__(self, folder: Path, provider: Emulator) -> None:
        self.port = free_port()
        self.provider = provider
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DISPENSER_", "VAULT_"))}
        self.environment = kept | {
            "DISPENSER_HOME": str(folder / "home"),
            "SECRET": provider.client_secret,
            "VAULT_URL": f"http://127.0.0.1:{self.port}",
        }
        (folder / "key.pem").write_text(self._key(provider))
        self.file = folder / "declared.yaml"
        self.file.write_text(
            DECLARED.format(
                authorize=provider.authorization_url, token=provider.token_url, client=provider.client_id
            )
        )

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        ended = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.strip()

    @staticmethod
    def _key(provider: Emulator) -> str:
        key = generate_private_key(65537, 2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        provider.register_service_account("robot", public.decode())
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


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

    gateway = subprocess.Popen(
        [*COMMAND, "gateway", "--port", str(laptop.port)],
        env=laptop.environment,
        stderr=subprocess.DEVNULL,
    )
    try:
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
    finally:
        gateway.terminate()
        assert gateway.wait() == 0
    audited = json.loads(laptop("audit", "--json", "--agent", "tracker"))
    assert sum(record["action"] == "token.dispensed" for record in audited) >= 5


def _refused(laptop: Laptop, token: str) -> bool:
    ended = subprocess.run(
        [*COMMAND, "token", "code-host"],
        env=laptop.environment | {"VAULT_AGENT_TOKEN": token},
        capture_output=True,
        check=False,
    )
    return ended.returncode == 3
