"""Redis: a private server, and databases handed out empty."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.exceptions import RedisError

from services.accounts import redis_file
from services.authority import Certificate
from services.container import Container
from services.process import Process
from services.server import Address, Server, free_port

IMAGE = "redis:7"
DEBIAN_PACKAGE = "redis-server"
_DATABASES = 1024


def binary() -> str | None:
    return shutil.which("redis-server")


def private(folder: Path, *, tls: Certificate | None = None) -> Server:
    return RedisProcess(folder, tls=tls)


def contained(*, tls: Certificate | None = None) -> Server:
    port, tls_port = free_port(), free_port()
    address = _address(port, tls_port if tls else None)
    command = ["redis-server", "--save", "", "--databases", str(_DATABASES), "--aclfile", "/users.acl"]
    files = {"/users.acl": redis_file()} | {f"/{name}": text for name, text in _tls_files(tls).items()}
    command += _tls_arguments(6380, Path("/"), tls)
    ports = {6379: port, 6380: tls_port}
    return Container(IMAGE, address, answers, ports=ports, command=command, files=files)


def _address(port: int, tls_port: int | None) -> Address:
    tls_url = f"rediss://localhost:{tls_port}/0" if tls_port else ""
    return Address(url=f"redis://127.0.0.1:{port}/0", tls_url=tls_url)


def _tls_files(tls: Certificate | None) -> dict[str, str]:
    if tls is None:
        return {}
    return {"ca-cert.pem": tls.authority, "cert.pem": tls.certificate, "key.pem": tls.key}


def _tls_arguments(port: int | None, folder: Path, tls: Certificate | None) -> list[str]:
    arguments = [] if tls is None else ["--tls-port", str(port), "--tls-auth-clients", "no"]
    for name in _tls_files(tls):
        arguments += [f"--tls-{name.removesuffix('.pem')}-file", str(folder / name)]
    return arguments


class RedisProcess(Process):
    """A Redis that keeps nothing on disk: after a restart it is empty, as a lost cache is."""

    def __init__(self, folder: Path, *, tls: Certificate | None = None) -> None:
        super().__init__(folder)
        self.port, self._tls = free_port(), tls
        self._tls_port = free_port() if tls else None
        self.address = _address(self.port, self._tls_port)
        (folder / "users.acl").write_text(redis_file())
        for name, text in _tls_files(tls).items():
            (folder / name).write_text(text)

    def command(self) -> list[str]:
        network = ["--bind", "127.0.0.1", "--port", str(self.port)]
        network += _tls_arguments(self._tls_port, self.folder, self._tls)
        users = ["--aclfile", str(self.folder / "users.acl")]
        kept = ["--save", "", "--appendonly", "no", "--databases", str(_DATABASES)]
        return [binary() or "redis-server", *network, *users, *kept]

    def ready(self) -> bool:
        return answers(self.address)


def answers(address: Address) -> bool:
    with Redis.from_url(address.url, socket_timeout=2) as client:
        try:
            return bool(client.ping())
        except RedisError:
            return False


def empty_database(address: Address, turn: int, *, worker: int, workers: int) -> str:
    """The URL of a logical database, emptied. Each worker goes round in its own."""
    with Redis.from_url(address.url) as client:
        count = int(client.config_get("databases")["databases"])
    # Number 0 is everybody's: whoever holds the server's own URL writes there.
    own = range(1 + worker, count, workers)
    url = urlunsplit(urlsplit(address.url)._replace(path=f"/{own[turn % len(own)]}"))
    with Redis.from_url(url) as client:
        client.flushdb()
    return url
