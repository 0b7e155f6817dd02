"""The certified provider of `oidc/server.mjs` as a server of the tests' own."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from services import debian
from services.process import Process
from services.server import Address, ServerFailed, free_port

_SOURCE = Path(__file__).parent / "oidc"
_FILES = ("package.json", "server.mjs")
_PROGRAMS = {"node": "nodejs", "npm": "npm"}  # by Debian's package


class OidcServer(Process):
    """One client is registered: a confidential one with HTTP Basic, PKCE required. Its state dies with it."""

    def __init__(
        self,
        folder: Path,
        *,
        redirect_uris: Sequence[str] = ("http://127.0.0.1/callback", "http://127.0.0.1/v1/oauth/callback"),
        scopes: Sequence[str] = ("tasks:write", "chat:write"),
        access_token_seconds: int = 3600,
    ) -> None:
        """Loopback `redirect_uris` match at every port."""
        super().__init__(folder)
        self._port = free_port()
        self._installed = installed()
        self.address = Address(url=f"http://127.0.0.1:{self._port}")
        self.client_id = "acceptance"
        # Characters that only a client which encodes them gets across (RFC 6749 §2.3.1).
        self.client_secret = "a+b/c:d%e=f"
        self.redirect_uris = redirect_uris
        self.scopes = scopes
        self.access_token_seconds = access_token_seconds
        #: The discovery document, once it runs.
        self.metadata: dict[str, str] = {}

    def command(self) -> list[str]:
        return [
            _program("node"),
            str(self._installed / "server.mjs"),
            f"--port={self._port}",
            f"--client-id={self.client_id}",
            f"--client-secret={self.client_secret}",
            f"--access-token-seconds={self.access_token_seconds}",
            *(f"--redirect-uri={uri}" for uri in self.redirect_uris),
            *(f"--scope={scope}" for scope in self.scopes),
        ]

    def ready(self) -> bool:
        url = f"{self.address.url}/.well-known/openid-configuration"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                self.metadata = json.load(answer)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

    @property
    def issuer(self) -> str:
        return self.metadata["issuer"]

    @property
    def authorization_url(self) -> str:
        return self.metadata["authorization_endpoint"]

    @property
    def token_url(self) -> str:
        return self.metadata["token_endpoint"]

    @property
    def revocation_url(self) -> str:
        return self.metadata["revocation_endpoint"]

    @property
    def introspection_url(self) -> str:
        return self.metadata["introspection_endpoint"]

    @property
    def userinfo_url(self) -> str:
        """The API of this provider: it answers to a live access token that has the scope `openid`."""
        return self.metadata["userinfo_endpoint"]


def available() -> bool:
    """Whether Node and npm are here or may be installed."""
    return debian.can_install() or all(shutil.which(program) for program in _PROGRAMS)


def installed() -> Path:
    """The folder with the server and its packages, filled once per version. Raises: ServerFailed."""
    folder = (
        _cache() / hashlib.sha256(b"".join((_SOURCE / name).read_bytes() for name in _FILES)).hexdigest()[:16]
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            _install(folder)
            (folder / "complete").touch()
    return folder


def _install(folder: Path) -> None:
    for name in _FILES:
        shutil.copy(_SOURCE / name, folder)
    command = [_program("npm"), "install", "--no-package-lock", "--no-audit", "--no-fund", "--omit=dev"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFailed(f"npm install failed in {folder}: {done.stdout}{done.stderr}")


def _program(name: str) -> str:
    """Where the program is, from Debian's package if need be. Raises: ServerFailed."""
    if shutil.which(name) is None and debian.can_install():
        debian.install(_PROGRAMS[name])
    path = shutil.which(name)
    if path is None:
        raise ServerFailed(f"{name} is missing: install Node.js 18 or later, with npm.")
    return path


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dispenser-tests" / "oidc"
