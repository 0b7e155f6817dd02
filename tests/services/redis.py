"""Redis: a private server, and databases handed out empty."""

import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.exceptions import RedisError

from services.accounts import redis_file
from services.container import Container
from services.process import Process
from services.server import Address, Server, free_port

IMAGE = "redis:7"
DEBIAN_PACKAGE = "redis-server"
_DATABASES = 1024


def binary() -> str | None:
    return shutil.which("redis-server")


def private(folder: Path) -> Server:
    return RedisProcess(folder)


def contained() -> Server:
    port = free_port()
    address = Address(url=f"redis://127.0.0.1:{port}/0")
    command = ["redis-server", "--save", "", "--databases", str(_DATABASES), "--aclfile", "/users.acl"]
    files = {"/users.acl": redis_file()}
    return Container(IMAGE, address, answers, ports={6379: port}, command=command, files=files)


class RedisProcess(Process):
    """A Redis that keeps nothing on disk: after a restart it is empty, as a lost cache is."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._port = free_port()
        self.address = Address(url=f"redis://127.0.0.1:{self._port}/0")
        (folder / "users.acl").write_text(redis_file())

    def command(self) -> list[str]:
        program = binary() or "redis-server"
        network = ["--bind", "127.0.0.1", "--port", str(self._port)]
        users = ["--aclfile", str(self.folder / "users.acl")]
        return [program, *network, *users, "--save", "", "--appendonly", "no", "--databases", str(_DATABASES)]

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
