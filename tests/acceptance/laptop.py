"""A vault on a laptop: one gateway on a SQLite file, and commands beside it, each a process of its own."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from acceptance.installation import COMMAND
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from services.server import free_port

from dispenser.testing.emulator import Emulator

DECLARED = """
providers:
  refreshing: {{authorization_url: {authorize}, token_url: {token}, revocation_url: {revoke},
    client_id: {client}, client_secret: {{env: SECRET}}, insecure_local: true}}
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
    """A home with nothing set, and an emulated provider to declare."""

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
                authorize=provider.authorization_url,
                token=provider.token_url,
                revoke=provider.revocation_url,
                client=provider.client_id,
            )
        )

    def __call__(self, *arguments: str, stdin: str = "", **environment: str) -> str:
        """What a command prints that has to succeed."""
        ended = self.ended(*arguments, stdin=stdin, **environment)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout.strip()

    def ended(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """A command, run to its end, whatever comes of it."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def gateway(self) -> Iterator[None]:
        """The whole vault, running."""
        arguments = ["gateway", "--port", str(self.port)]
        gateway = subprocess.Popen([*COMMAND, *arguments], env=self.environment, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            gateway.terminate()
            assert gateway.wait() == 0

    @staticmethod
    def _key(provider: Emulator) -> str:
        key = generate_private_key(65537, 2048)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        provider.register_service_account("robot", public.decode())
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
