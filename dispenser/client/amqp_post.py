"""Messages to the dispensers over one connection, and what comes back for each."""

import asyncio
import secrets
from typing import Final, Protocol

import aiormq.abc

from dispenser import protocol, sealed_frame
from dispenser.amqp import frames
from dispenser.amqp.frames import Properties
from dispenser.amqp.line import Line
from dispenser.amqp.transport import Message
from dispenser.client.amqp_confirms import Confirms
from dispenser.client.amqp_login import Login
from dispenser.client.errors import Overloaded, VaultError, VaultUnreachable
from dispenser.place import Place, vhost_of

LOST: Final = "The connection to RabbitMQ was lost."


class Expecting(Protocol):
    """Whoever waits for what comes back for a message."""

    def hear(self, body: bytes) -> None:
        """Something has come: from a dispenser, or from whoever knows the message's id. Raises nothing."""

    def fail(self, error: VaultError) -> None:
        """Nothing will come any more."""


class Post:
    """A message is named by its content, so what comes back for a name is for that content."""

    def __init__(self, line: Line, login: Login) -> None:
        self._line = line
        self._channel: aiormq.abc.AbstractChannel
        self._expecting: dict[str, Expecting] = {}
        self._confirms = Confirms(self._refused)
        self.lost = asyncio.Event()
        self.place = Place(
            vhost=vhost_of(login.url),
            queue=protocol.RPC_QUEUE,
            user=login.user,
            # Not to be guessed by other agents, and never the same twice: a late answer finds nobody.
            reply_to=f"{protocol.REPLY_PREFIX}{login.user}.{secrets.token_hex(16)}",
        )

    async def prepare(self) -> None:
        """Declares what is this connection's alone; the rest was declared by `dispenser init`."""
        self._line.connection.close_callbacks.add(self.lose)
        channel = await self._line.connection.channel(publisher_confirms=True)
        channel.close_callbacks.add(self.lose)
        await channel.get_exchange(protocol.RPC_EXCHANGE)
        queue = await channel.declare_queue(self.place.reply_to, exclusive=True, auto_delete=True)
        self._channel = await channel.get_underlay_channel()
        self._line.deliveries.take(self._channel.number, self._delivered, self._confirms)
        await self._channel.basic_consume(queue.name, _never, no_ack=True)

    async def send(self, body: bytes, expecting: Expecting, *, life_seconds: float) -> str:
        """Publishes a message, which the broker drops after its life. Returns the message's id.

        What becomes of it is heard later, by `expecting`. Raises: Overloaded, VaultUnreachable.
        """
        if not await self._line.writer.room(life_seconds):
            raise Overloaded("RabbitMQ takes no requests at the moment.")
        if self.lost.is_set() or self._channel.is_closed:
            raise VaultUnreachable(LOST)
        message_id = sealed_frame.identifier(body)
        self._expecting[message_id] = expecting
        self._confirms.published(message_id)
        self._line.writer.write(self._channel.number, self._frames(message_id, body, life_seconds))
        return message_id

    def forget(self, message_id: str) -> None:
        """What comes for this message from now on is dropped."""
        self._expecting.pop(message_id, None)

    def lose(self, *_reason: object) -> None:
        """The connection is gone, or given up: all that waits on it fails, to be asked again on another."""
        if self.lost.is_set():
            return
        self.lost.set()
        for expecting in tuple(self._expecting.values()):
            expecting.fail(VaultUnreachable("The connection to RabbitMQ was lost before the answer came."))
        self._expecting.clear()

    def _frames(self, message_id: str, body: bytes, life_seconds: float) -> bytes:
        properties = Properties(
            content_type=protocol.CONTENT_TYPE,
            correlation_id=message_id,
            reply_to=self.place.reply_to,
            user_id=self.place.user,
            expiration_seconds=life_seconds,
        )
        return frames.publish(
            self._channel.number,
            protocol.RPC_EXCHANGE,
            protocol.RPC_KEY,
            body,
            properties,
            mandatory=True,
            frame_max=self._line.writer.frame_max,
        )

    def _delivered(self, message: Message) -> None:
        expecting = self._expecting.get(message.properties.correlation_id or "")
        if expecting is not None:
            expecting.hear(message.body)

    def _refused(self, message_id: str, error: VaultError) -> None:
        expecting = self._expecting.pop(message_id, None)
        if expecting is not None:
            expecting.fail(error)


async def _never(_message: object) -> None:
    """What the driver is to call with deliveries, of which it sees none."""
