"""RabbitMQ: a private node with its own port mapper, and virtual hosts over its HTTP API."""

import shutil
import socket
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from services.authority import Certificate
from services.container import Container
from services.process import Process
from services.server import Address, Server, ServerFailed, free_port, wait_until

IMAGE = "rabbitmq:4-management"
DEBIAN_PACKAGE = "rabbitmq-server"
MANAGEMENT = "rabbitmq_management"
# Debian's command on the path insists on its own user and folders; the one behind it does not.
_DEBIAN = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
#: The folder that a broker's files are given in.
_ETC = "/etc/rabbitmq"
_CONTAINED_CONF = "/etc/rabbitmq/conf.d/90-tests.conf"
_HTTP_SECONDS = 10.0
_SETTLE_SECONDS = 10.0


def binary() -> str | None:
    program = str(_DEBIAN) if _DEBIAN.exists() else shutil.which("rabbitmq-server")
    return program if shutil.which("epmd") else None


def private(
    folder: Path,
    *,
    plugins: Sequence[str] = (),
    conf: str = "",
    files: Mapping[str, str] | None = None,
    tls: Certificate | None = None,
) -> Server:
    return RabbitMQProcess(folder, plugins=plugins, conf=conf, files=files, tls=tls)


def contained(
    *,
    plugins: Sequence[str] = (),
    conf: str = "",
    files: Mapping[str, str] | None = None,
    tls: Certificate | None = None,
) -> Server:
    port, management_port, tls_port = free_port(), free_port(), free_port()
    files = {
        **(files or {}),
        **_tls_files(tls),
        "/etc/rabbitmq/enabled_plugins": _enabled_plugins(plugins),
        _CONTAINED_CONF: f"loopback_users = none\n{_tls_conf('5671', tls)}{conf}\n",
    }
    return RabbitMQContainer(
        IMAGE,
        _address(port, management_port, tls_port if tls else None),
        answers,
        ports={5672: port, 15672: management_port, 5671: tls_port},
        files=files,
    )


class RabbitMQContainer(Container):
    """A node in a container, with its files where they are said to be."""

    def give(self, files: Mapping[str, str], conf: str) -> None:
        """Files, and a configuration for its next start."""
        for path, text in (*files.items(), (_CONTAINED_CONF, f"loopback_users = none\n{conf}\n")):
            self.put(path, text)

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says. Raises: ServerFailed."""
        return self.run("rabbitmqctl", *arguments)


class _PortMapper(Process):
    """An `epmd` of our own, in the foreground: a node would use the machine's, or start one that stays."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.port = free_port()

    def command(self) -> list[str]:
        return [shutil.which("epmd") or "epmd", "-address", "127.0.0.1", "-port", str(self.port)]

    def ready(self) -> bool:
        return _listening(self.port)


class RabbitMQProcess(Process):
    """A node with its own name, cookie, ports and port mapper: it never meets the machine's own."""

    def __init__(
        self,
        folder: Path,
        *,
        plugins: Sequence[str] = (),
        conf: str = "",
        files: Mapping[str, str] | None = None,
        tls: Certificate | None = None,
    ) -> None:
        """`files`: by their paths on a machine of the broker's own, which lie in its folder here."""
        super().__init__(folder)
        self._port_mapper = _PortMapper(folder / "epmd")
        self._name = f"test-{uuid.uuid4().hex[:12]}@localhost"
        port, management_port, self._distribution_port = free_port(), free_port(), free_port()
        tls_port = free_port() if tls else None
        self.address = _address(port, management_port, tls_port)
        (folder / "enabled_plugins").write_text(_enabled_plugins(plugins))
        (folder / "rabbitmq-env.conf").touch()
        self._own_conf = (
            f"listeners.tcp.default = 127.0.0.1:{port}\n"
            f"management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {management_port}\n"
            f"disk_free_limit.absolute = 20MB\n"
            f"raft.wal_max_size_bytes = 16777216\n"
            f"log.console = true\nlog.file = false\nlog.console.level = warning\n"
            f"{_tls_conf(f'127.0.0.1:{tls_port}', tls)}"
        )
        self.give({**(files or {}), **_tls_files(tls)}, conf)

    def command(self) -> list[str]:
        return [binary() or "rabbitmq-server"]

    def environment(self) -> dict[str, str]:
        interface = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            **super().environment(),
            "ERL_EPMD_PORT": str(self._port_mapper.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "logs"),
            "RABBITMQ_PID_FILE": str(self.folder / "node.pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": interface,
            # The start script then becomes the node, instead of minding it: a signal hits the node itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def start(self) -> None:
        self._port_mapper.start()
        super().start()

    def give(self, files: Mapping[str, str], conf: str) -> None:
        """Files by their paths on a machine of the broker's own, and a configuration for its next start."""
        for path, text in files.items():
            here = Path(self._here(path))
            here.parent.mkdir(parents=True, exist_ok=True)
            here.write_text(text)
        (self.folder / "rabbitmq.conf").write_text(self._here(f"{self._own_conf}{conf}\n"))

    def control(self, *arguments: str) -> str:
        """What `rabbitmqctl` says. Raises: ServerFailed."""
        command = [str(_DEBIAN.with_name("rabbitmqctl")), *(self._here(argument) for argument in arguments)]
        done = subprocess.run(
            command, env=self.environment(), cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ServerFailed(done.stdout + done.stderr)
        return done.stdout

    def ready(self) -> bool:
        return answers(self.address)

    def kill(self) -> None:
        """End it at once, save that it may finish writing down which quorum queues it has.

        RabbitMQ does that half a second late, and a queue killed before is never led again.
        """
        if self.running() and manages(self.management_url):
            wait_until(self._wrote_down_its_queues, seconds=_SETTLE_SECONDS)
        super().kill()

    def close(self) -> None:
        self._port_mapper.close()
        super().close()

    def _here(self, text: str) -> str:
        return text.replace(_ETC, str(self.folder / "etc"))

    def _wrote_down_its_queues(self) -> bool:
        (directory,) = self.folder.glob("data/*/quorum/*/names.dets")
        written = directory.read_bytes()
        return all(name.encode() in written for name in quorum_queues(self.address))


def answers(address: Address) -> bool:
    """Whether AMQP and, where there is one, the HTTP API answer."""
    port = urlsplit(address.url).port or 5672
    return _listening(port, urlsplit(address.url).hostname) and (
        not address.management_url or manages(address.management_url)
    )


def manages(management_url: str) -> bool:
    """Whether RabbitMQ's HTTP API answers there."""
    try:
        return httpx.get(f"{management_url}/api/overview", timeout=_HTTP_SECONDS).is_success
    except httpx.HTTPError:
        return False


def quorum_queues(address: Address) -> list[str]:
    """The names of all quorum queues, in every virtual host."""
    queues = _call(address, "GET", "queues?columns=name,arguments", None)
    return [queue["name"] for queue in queues if queue["arguments"].get("x-queue-type") == "quorum"]


def create_vhost(address: Address) -> str:
    """The URL of a new and empty virtual host."""
    name = f"test-{uuid.uuid4().hex}"
    user = urlsplit(address.url).username or "guest"
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    _call(address, "PUT", f"vhosts/{name}", {})
    _call(address, "PUT", f"permissions/{name}/{user}", rights)
    return urlunsplit(urlsplit(address.url)._replace(path=f"/{name}"))


def delete_vhost(address: Address, url: str) -> None:
    """Delete it with all its queues; connections to it are closed by the broker."""
    _call(address, "DELETE", f"vhosts/{urlsplit(url).path[1:]}", None)


def import_definitions(address: Address, definitions: dict[str, Any], vhost: str) -> None:
    """Users and rights that were written for one virtual host, in another. They are there when it returns."""
    for section in ("permissions", "topic_permissions"):
        for entry in definitions[section]:
            entry["vhost"] = vhost
    _call(address, "POST", "definitions", definitions | {"vhosts": [{"name": vhost}]})


def _call(address: Address, method: str, path: str, body: dict[str, Any] | None) -> Any:
    url = f"{address.management_url}/api/{path}"
    response = httpx.request(method, url, json=body, timeout=_HTTP_SECONDS).raise_for_status()
    return response.json() if response.content else None


def _address(port: int, management_port: int, tls_port: int | None = None) -> Address:
    return Address(
        url=f"amqp://guest:guest@127.0.0.1:{port}/",
        management_url=f"http://guest:guest@127.0.0.1:{management_port}",
        tls_url=f"amqps://guest:guest@localhost:{tls_port}/" if tls_port else "",
    )


def _tls_files(tls: Certificate | None) -> dict[str, str]:
    if tls is None:
        return {}
    texts = {"cacertfile": tls.authority, "certfile": tls.certificate, "keyfile": tls.key}
    return {f"{_ETC}/{name}.pem": text for name, text in texts.items()}


def _tls_conf(listener: str, tls: Certificate | None) -> str:
    if tls is None:
        return ""
    options = "".join(
        f"ssl_options.{name} = {_ETC}/{name}.pem\n" for name in ("cacertfile", "certfile", "keyfile")
    )
    return f"listeners.ssl.default = {listener}\n{options}"


def _enabled_plugins(plugins: Sequence[str]) -> str:
    return f"[{','.join((MANAGEMENT, *plugins))}].\n"


def _listening(port: int, host: str | None = None) -> bool:
    try:
        socket.create_connection((host or "127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True
