"""The servers of one test session: one of each for all its workers, more where a test wants to break one."""

import fcntl
import json
import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from services import debian, keeper, postgresql, rabbitmq, redis
from services.container import engine_answers
from services.origin import NAMES, VARIABLES, Name, Origin
from services.server import Address, Server, ServerFailed

#: Tells xdist's workers the folder in which the first process keeps the session's servers.
FOLDER_VARIABLE = "DISPENSER_TEST_FOLDER"


class _Kind(Protocol):
    """What the module of one kind of server offers."""

    DEBIAN_PACKAGE: str
    binary: Callable[[], str | None]
    private: Callable[..., Server]
    contained: Callable[..., Server]


_KINDS: Mapping[Name, _Kind] = {"rabbitmq": rabbitmq, "redis": redis, "postgresql": postgresql}


class Pool:
    """Starts servers when they are first asked for; `close` leaves nothing of them."""

    def __init__(self, folder: Path, holder: subprocess.Popen[bytes] | None) -> None:
        self._folder = folder
        self._keeper = holder
        self._opened: list[Server] = []
        self._threads = ThreadPoolExecutor(len(NAMES))
        docker = engine_answers()
        self.origins: Mapping[Name, Origin] = {name: _origin(name, docker=docker) for name in NAMES}

    def shared(self, name: Name) -> Address:
        """The session's server, started by whichever worker asks first. Raises: ServerFailed."""
        with self.locked(name):
            record = self._folder / f"{name}.json"
            if not record.exists():
                record.write_text(json.dumps(self._found(name)))
            found = json.loads(record.read_text())
        if "failed" in found:
            raise ServerFailed(found["failed"])
        return Address(**found)

    def prepare(self, names: Iterable[Name]) -> None:
        """Start these beside each other in the background: their users come to wait for what is left."""
        for name in names:
            self._threads.submit(self.shared, name)

    def private(self, name: Name, **options: Any) -> Server:
        """A new server that is the caller's, to kill and to close. Raises: ServerFailed."""
        failures = []
        for server in self._candidates(name, options):
            try:
                server.start()
            except Exception as failure:  # noqa: BLE001 - an engine without the image has many; try the next
                failures.append(str(failure))
                server.close()
            else:
                return server
        raise ServerFailed(f"{name}: {' '.join(failures) or self.origins[name].remedy()}")

    def folder(self, name: Name) -> Path:
        """A new folder for servers that have to be processes of this machine. Raises: ServerFailed."""
        kind, origin = _KINDS[name], self.origins[name]
        if origin.package and kind.binary() is None:
            debian.install(origin.package)
        if kind.binary() is None:
            raise ServerFailed(f"{name}: {origin.remedy()}")
        folder = self._folder / f"{name}-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        return folder

    def close(self) -> None:
        """End what this process started; the first process ends the rest."""
        self._threads.shutdown(cancel_futures=True)
        if self._keeper is None:
            return
        for server in self._opened:
            server.close()
        self._keeper.communicate()

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold what only one worker at a time may use."""
        with (self._folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _found(self, name: Name) -> dict[str, str]:
        given = self.origins[name].given
        if given is not None:
            return asdict(_given(name, given))
        try:
            server = self.private(name)
        except ServerFailed as failure:
            return {"failed": str(failure)}
        self._opened.append(server)
        return asdict(server.address)

    def _candidates(self, name: Name, options: Mapping[str, Any]) -> Iterator[Server]:
        kind, origin = _KINDS[name], self.origins[name]
        if origin.docker:
            yield kind.contained(**options)
        if origin.package and kind.binary() is None:
            debian.install(origin.package)
        if kind.binary() is not None:
            yield kind.private(self._folder / f"{name}-{uuid.uuid4().hex[:8]}", **options)


def open_pool() -> Pool:
    """The session's pool: made by its first process, joined by xdist's workers."""
    inherited = os.environ.get(FOLDER_VARIABLE)
    if inherited is not None:
        return Pool(Path(inherited), None)
    folder = Path(tempfile.mkdtemp(prefix="dispenser-test-"))
    folder.chmod(0o711)  # PostgreSQL's user has to reach its own folder inside
    os.environ[FOLDER_VARIABLE] = str(folder)
    command = [sys.executable, keeper.__file__, str(folder)]
    return Pool(folder, subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True))


def _origin(name: Name, *, docker: bool) -> Origin:
    kind = _KINDS[name]
    binary = kind.binary()
    return Origin(
        name=name,
        given=os.environ.get(VARIABLES[name]),
        docker=docker,
        binary=binary,
        package=kind.DEBIAN_PACKAGE if binary is None and debian.can_install() else None,
    )


def _given(name: Name, url: str) -> Address:
    """Somebody's server. RabbitMQ's HTTP API is looked for at its usual port, with the same user."""
    if name != "rabbitmq":
        return Address(url=url)
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0] or "guest:guest"
    management_url = f"http://{user}@{parts.hostname}:15672"
    return Address(url=url, management_url=management_url if rabbitmq.manages(management_url) else "")
