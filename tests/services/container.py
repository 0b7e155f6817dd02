"""A server that runs in a container, where a Docker engine answers."""

import io
import os
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from services.server import Address, Server, ServerFailed, wait_until

_PING_SECONDS = 3
_SOCKETS = (Path("/var/run/docker.sock"), Path.home() / ".docker/run/docker.sock")


def engine_answers() -> bool:
    """Whether a Docker engine answers: a client alone is common, and cannot start anything."""
    if "DOCKER_HOST" not in os.environ and not any(path.exists() for path in _SOCKETS):
        return False
    import docker  # noqa: PLC0415 - slow to import, and mostly not needed

    try:
        client = docker.from_env(timeout=_PING_SECONDS)
        try:
            return bool(client.ping())
        finally:
            client.close()
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is not an engine to rely on
        return False


class Container(Server):
    """One container on fixed ports of this machine. Testcontainers' reaper removes it if we cannot."""

    def __init__(
        self,
        image: str,
        address: Address,
        answers: Callable[[Address], bool],
        *,
        ports: Mapping[int, int],
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        files: Mapping[str, str] | None = None,
    ) -> None:
        from testcontainers.core.container import DockerContainer  # noqa: PLC0415 - needs an engine

        self.address = address
        self._answers = answers
        self._container = DockerContainer(image)
        if command:
            self._container.with_command(list(command))
        self._container.with_envs(**(environment or {}))
        for inside, outside in ports.items():
            self._container.with_bind_ports(inside, outside)
        for path, text in (files or {}).items():
            self._container.with_copy_into_container(text.encode(), path)
        self._created = False

    def start(self) -> None:
        if self._created:
            self._engine_container.start()
        else:
            self._container.start()
            self._created = True
        if not wait_until(lambda: self._answers(self.address)):
            raise ServerFailed(f"{self._container.image} did not answer. It said last:\n{self._log_tail()}")

    def stop(self) -> None:
        self._engine_container.stop()

    def kill(self) -> None:
        self._engine_container.kill()

    def close(self) -> None:
        if self._created:
            self._container.stop(force=True)

    @property
    def _engine_container(self) -> Any:
        return self._container.get_wrapped_container()

    def put(self, path: str, text: str) -> None:
        """Write a file inside."""
        content = text.encode()
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size = len(content)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(entry, io.BytesIO(content))
        self._engine_container.put_archive("/", archive.getvalue())

    def run(self, *command: str) -> str:
        """What a command inside says. Raises: ServerFailed."""
        code, said = self._engine_container.exec_run(list(command))
        if code:
            raise ServerFailed(said.decode(errors="replace"))
        return str(said.decode())

    def _log_tail(self) -> str:
        return str(self._engine_container.logs(tail=40).decode(errors="replace"))
