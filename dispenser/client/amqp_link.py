"""One connection to RabbitMQ: its channel, its reply queue, and the requests that wait for answers on it."""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractExchange, AbstractIncomingMessage
from aio_pika.exceptions import CONNECTION_EXCEPTIONS, DeliveryError, PublishError

from dispenser import protocol
from dispenser.client import batch
from dispenser.client.amqp_login import Login
from dispenser.client.credential import Credential
from dispenser.client.errors import InvalidRequest, Overloaded, Unroutable, VaultError, VaultUnreachable
from dispenser.client.tasks import Tasks
from dispenser.protocol import Call, MalformedFrame, Reply, Request

OPENING_SECONDS: Final = 10.0
CLOSING_SECONDS: Final = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    call: Call
    deadline: float
    reply: asyncio.Future[Reply]


@dataclass(frozen=True, slots=True)
class _Message:
    correlation_id: str
    body: bytes = field(repr=False)
    expiration_seconds: float
    waiting: Sequence[_Waiting]


class Link:
    """Lives until its connection is lost; then all that waits on it fails, to be asked again on another."""

    def __init__(self, connection: AbstractConnection, login: Login, credential: Credential) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._login = login
        self._credential = credential
        self._exchange: AbstractExchange
        # Not to be guessed by other agents, and never the same twice: a late answer finds nobody.
        self._reply_queue = f"{protocol.REPLY_PREFIX}{login.user}.{secrets.token_hex(16)}"
        self._outbox: list[_Waiting] = []
        #: By correlation id, then by the call's index.
        self._requests: dict[str, dict[int, asyncio.Future[Reply]]] = {}
        self._tasks = Tasks()
        self.lost = asyncio.Event()

    async def prepare(self) -> None:
        """Declares what is this connection's alone; the rest was declared by `dispenser init`."""
        self._connection.close_callbacks.add(self._on_lost)
        channel = await self._connection.channel(publisher_confirms=True, on_return_raises=True)
        channel.close_callbacks.add(self._on_lost)
        self._exchange = await channel.get_exchange(protocol.RPC_EXCHANGE)
        queue = await channel.declare_queue(self._reply_queue, exclusive=True, auto_delete=True)
        await queue.consume(self._on_message, no_ack=True)

    def ask(self, call: Call, *, deadline: float) -> asyncio.Future[Reply]:
        """The reply to come. Calls of one tick of the event loop travel together.

        Raises: InvalidRequest, VaultUnreachable when the link is already lost.
        """
        if self.lost.is_set():
            raise VaultUnreachable("The connection to RabbitMQ was lost.")
        waiting = _Waiting(call, deadline, self._loop.create_future())
        self._check(waiting)
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(waiting)
        return waiting.reply

    async def adopt(self, credential: Credential) -> None:
        """Goes on with a renewed vault token, which may be RabbitMQ's password too."""
        self._credential = credential
        if not self._login.by_vault_token:
            return
        # A broker that refuses it closes the connection, and the next one logs in with the new token.
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            await self._connection.update_secret(credential.text, timeout=OPENING_SECONDS)

    async def close(self) -> None:
        """Fails what still waits."""
        self._on_lost()
        await self._tasks.cancel()
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            await asyncio.wait_for(self._connection.close(), CLOSING_SECONDS)

    def _check(self, waiting: _Waiting) -> None:
        """A call that cannot be sent must not take those along that would travel with it."""
        try:
            self._message((waiting,))
        except MalformedFrame as error:
            raise InvalidRequest(f"The request cannot be sent. {error}") from error

    def _flush(self) -> None:
        outbox = [waiting for waiting in self._outbox if not waiting.reply.done()]
        self._outbox = []
        for message in batch.messages(outbox, self._message):
            self._tasks.start(self._send(message))

    def _message(self, waiting: Sequence[_Waiting]) -> _Message:
        correlation_id = secrets.token_hex(16)
        left_seconds = max(0.001, max(each.deadline for each in waiting) - self._loop.time())
        request = Request(
            id=correlation_id,
            vault_token=self._credential.text,
            calls=tuple(each.call for each in waiting),
            deadline_seconds=left_seconds,
        )
        return _Message(correlation_id, protocol.encode_request(request), left_seconds, waiting)

    async def _send(self, message: _Message) -> None:
        self._expect(message)
        try:
            # Without a timeout: it would leave a confirmation behind that nobody expects.
            await self._exchange.publish(self._amqp_message(message), protocol.RPC_KEY, mandatory=True)
        except PublishError:
            # Not chained: the exception holds the message.
            error: VaultError = Unroutable(str(Unroutable.__doc__))
        except DeliveryError:
            error = Overloaded("RabbitMQ refused the request: the dispensers' queue is full.")
        except CONNECTION_EXCEPTIONS:
            error = VaultUnreachable("The connection to RabbitMQ was lost while a request was sent.")
        else:
            return
        _fail((waiting.reply for waiting in message.waiting), error)

    def _amqp_message(self, message: _Message) -> aio_pika.Message:
        return aio_pika.Message(
            message.body,
            content_type=protocol.CONTENT_TYPE,
            correlation_id=message.correlation_id,
            message_id=message.correlation_id,
            reply_to=self._reply_queue,
            user_id=self._login.user,
            expiration=message.expiration_seconds,
            delivery_mode=aio_pika.DeliveryMode.NOT_PERSISTENT,
        )

    def _expect(self, message: _Message) -> None:
        replies = {index: waiting.reply for index, waiting in enumerate(message.waiting)}
        self._requests[message.correlation_id] = replies
        for index, reply in replies.items():
            reply.add_done_callback(partial(self._settled, message.correlation_id, index))

    def _settled(self, correlation_id: str, index: int, _reply: asyncio.Future[Reply]) -> None:
        """Answered, failed, or its caller has left: what comes for it from now on is dropped."""
        replies = self._requests[correlation_id]
        del replies[index]
        if not replies:
            del self._requests[correlation_id]

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        replies = self._requests.get(message.correlation_id or "")
        if replies is None:
            return
        try:
            answers = protocol.decode_replies(message.body)
        except MalformedFrame as error:
            _log.error("A reply cannot be read: %s", error)
            _fail(tuple(replies.values()), VaultError(f"The vault's answer cannot be read. {error}"))
            return
        for index, answer in answers:
            reply = replies.get(index)
            if reply is not None and not reply.done():
                reply.set_result(answer)

    def _on_lost(self, *_reason: object) -> None:
        if self.lost.is_set():
            return
        self.lost.set()
        waiting = [each.reply for each in self._outbox]
        for replies in self._requests.values():
            waiting += replies.values()
        _fail(waiting, VaultUnreachable("The connection to RabbitMQ was lost before the answer came."))


def _fail(replies: Iterable[asyncio.Future[Reply]], error: VaultError) -> None:
    for reply in replies:
        if not reply.done():
            reply.set_exception(error)
            reply.exception()  # seen, even if its caller leaves in the same tick


async def opened(login: Login, credential: Credential) -> Link:
    """A link ready to be asked. Raises: what aio_pika raises, TimeoutError."""
    async with asyncio.timeout(OPENING_SECONDS):
        connection = await aio_pika.connect(
            login.url, client_properties={"connection_name": f"agent {credential.agent}"}
        )
    link = Link(connection, login, credential)
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            await link.prepare()
    except BaseException:
        await link.close()
        raise
    return link
