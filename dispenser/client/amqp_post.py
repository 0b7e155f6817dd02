"""Messages to the dispensers over one connection, and what comes back for each."""

import asyncio
import secrets
from typing import Final, Protocol

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError, PublishError

from dispenser import protocol, sealed_frame
from dispenser.client.amqp_login import Login
from dispenser.client.errors import Overloaded, Unroutable, VaultError, VaultUnreachable
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

    def __init__(self, connection: AbstractConnection, login: Login) -> None:
        self._connection = connection
        self._exchange: AbstractExchange
        self._expecting: dict[str, Expecting] = {}
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
        self._connection.close_callbacks.add(self.lose)
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(self.lose)
        self._exchange = await channel.get_exchange(protocol.RPC_EXCHANGE)
        queue = await channel.declare_queue(self.place.reply_to, exclusive=True, auto_delete=True)
        await queue.consume(self._on_message, no_ack=True)

    async def send(self, body: bytes, expecting: Expecting, *, life_seconds: float) -> str:
        """Publishes a message, which the broker drops after its life. Returns the message's id.

        Raises: Unroutable, Overloaded, VaultUnreachable.
        """
        if self.lost.is_set():
            raise VaultUnreachable(LOST)
        message_id = sealed_frame.identifier(body)
        self._expecting[message_id] = expecting
        try:
            # Without a timeout: it would leave a confirmation behind that nobody expects.
            message = self._message(message_id, body, life_seconds)
            await self._exchange.publish(message, protocol.RPC_KEY, mandatory=True)
        except PublishError:
            # Not chained: the exception holds the message.
            error: VaultError = Unroutable(str(Unroutable.__doc__))
        except DeliveryError:
            error = Overloaded("RabbitMQ refused the request: the dispensers' queue is full.")
        except CONNECTION_EXCEPTIONS:
            error = VaultUnreachable("The connection to RabbitMQ was lost while a request was sent.")
        else:
            return message_id
        self.forget(message_id)
        raise error

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

    def _message(self, message_id: str, body: bytes, life_seconds: float) -> aio_pika.Message:
        return aio_pika.Message(
            body,
            content_type=protocol.CONTENT_TYPE,
            correlation_id=message_id,
            reply_to=self.place.reply_to,
            user_id=self.place.user,
            expiration=life_seconds,
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
        )

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        expecting = self._expecting.get(message.correlation_id or "")
        if expecting is not None:
            expecting.hear(message.body)
