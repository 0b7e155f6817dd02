"""What the commands that are processes of the vault have in common."""

import socket
from collections.abc import Awaitable, Callable

from dispenser.cli.failure import Usage
from dispenser.cli.session import settings
from dispenser.wiring.world import World, world

DEFAULT_PORT = 8250


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens already. Raises: OSError."""
    try:
        return socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise OSError(f"Cannot listen on {host}:{port}: {error.strerror}. Choose another --port.") from error


async def run_role(role: str, body: Callable[[World], Awaitable[None]]) -> None:
    """Run a role's script in a world of its own."""
    async with world(settings(), role) as at:
        await body(at)


def refuse_embedded(command: str) -> None:
    """Raises: Usage, where no other process could reach this one."""
    if settings().embedded:
        raise Usage(
            f"`dispenser {command}` needs a broker that other processes reach: set DISPENSER_BROKER_URL to "
            "amqp://…, and DISPENSER_CACHE_URL to redis://…. On one machine `dispenser gateway` is a whole "
            "vault without any."
        )
