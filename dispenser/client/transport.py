"""What the two ways to the vault have in common. Each one's library is loaded only by those who use it."""

from typing import Protocol

from dispenser.client.credential import Credential
from dispenser.client.door import Door
from dispenser.client.errors import VaultError
from dispenser.protocol import Call, Reply


class Transport(Protocol):
    """A door, as the client goes through it. Deadlines are instants of the event loop's clock."""

    async def open(self) -> None:
        """Begins to connect, and does not wait for it."""

    async def close(self) -> None:
        """Ends everything that `open` and `ask` began."""

    async def ask(self, call: Call, *, deadline: float) -> Reply:
        """The vault's word on one call, after one attempt, which the caller ends at the deadline.

        Raises: VaultUnreachable when the connection fails, Overloaded when the broker refuses the message,
        InvalidRequest for a call that cannot be sent, VaultError for an answer that cannot be read.
        """

    def trouble(self) -> VaultError | None:
        """Why there is no connection now; None: there is one, or it is made with each call."""

    async def adopt(self, credential: Credential) -> None:
        """From now on asks with a renewed vault token."""


def transport_for(door: Door) -> Transport:
    """The transport for a door's kind."""
    if door.kind == "amqp":
        from dispenser.client.amqp import AmqpTransport  # noqa: PLC0415 - loads aio_pika

        return AmqpTransport(door)
    from dispenser.client.http import HttpTransport  # noqa: PLC0415 - loads httpx

    return HttpTransport(door)
