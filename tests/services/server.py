"""A server of the tests' own: where it answers, and how it is stopped, killed and started again."""

import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

START_SECONDS = 120.0
_POLL_SECONDS = 0.05
# Below the ephemeral range, so that no client's connection takes the port while its server is down.
_PORTS = range(15_800, 32_000)


class ServerFailed(Exception):
    """A server did not come up; the message ends with what it logged last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server answers."""

    url: str
    #: RabbitMQ's HTTP API with its user and password; empty where there is none.
    management_url: str = ""
    #: The same over TLS, by the name that its certificate has; empty where it was given none.
    tls_url: str = ""


class Server(ABC):
    """A server that answers at one address for as long as it lives, through every restart."""

    address: Address

    @property
    def url(self) -> str:
        return self.address.url

    @property
    def management_url(self) -> str:
        return self.address.management_url

    @property
    def tls_url(self) -> str:
        return self.address.tls_url

    @abstractmethod
    def start(self) -> None:
        """Run, and return when it answers. Does nothing where it runs. Raises: ServerFailed."""

    @abstractmethod
    def stop(self) -> None:
        """End it the orderly way; its data stay."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once, as a power cut would; what it had written stays."""

    @abstractmethod
    def close(self) -> None:
        """End it for good, and forget its data."""


def free_port() -> int:
    """A TCP port that nobody listens on."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


def wait_until(holds: Callable[[], bool], *, seconds: float = START_SECONDS) -> bool:
    """Whether it came to hold in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
