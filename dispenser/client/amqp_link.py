"""One connection to RabbitMQ: its session with the dispensers, and what waits for answers on it."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from aio_pika.abc import AbstractConnection
from aio_pika.connection import Connection, make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import protocol, sealed_frame
from dispenser.client import batch
from dispenser.client.amqp_login import Login
from dispenser.client.amqp_post import LOST, Post
from dispenser.client.amqp_session import HeldSession, Sessions
from dispenser.client.credential import Credential
from dispenser.client.errors import InvalidRequest, VaultError, VaultUnreachable
from dispenser.client.tasks import Tasks
from dispenser.protocol import Call, MalformedFrame, Reply, Request
from dispenser.sealed_frame import Kind, Refused
from dispenser.sealed_session import Unopened

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
    plain: bytes = field(repr=False)
    waiting: Sequence[_Waiting]
    #: Once more, in a new session: the dispensers did not know the first.
    again: bool = False

    def fail(self, error: VaultError) -> None:
        _fail(self.waiting, error)


class Link:
    """Lives until its connection is lost; then all that waits on it fails, to be asked again on another."""

    def __init__(
        self,
        connection: AbstractConnection,
        login: Login,
        credential: Credential,
        key: Ed25519PrivateKey | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._login = login
        self._tasks = Tasks()
        self._post = Post(connection, login)
        self._sessions = Sessions(self._post, credential, key, self._tasks)
        self._outbox: list[_Waiting] = []
        self.lost = self._post.lost

    async def prepare(self) -> None:
        """Makes it ready to be asked."""
        await self._post.prepare()

    def ask(self, call: Call, *, deadline: float) -> asyncio.Future[Reply]:
        """The reply to come. Calls of one tick of the event loop travel together.

        Raises: InvalidRequest, VaultUnreachable when the link is already lost.
        """
        if self.lost.is_set():
            raise VaultUnreachable(LOST)
        waiting = _Waiting(call, deadline, self._loop.create_future())
        self._check(waiting)
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(waiting)
        return waiting.reply

    async def adopt(self, credential: Credential) -> None:
        """Goes on with a renewed vault token, which may be RabbitMQ's password too."""
        self._sessions.adopt(credential)
        if not self._login.by_vault_token:
            return
        # A broker that refuses it closes the connection, and the next one logs in with the new token.
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            await self._connection.update_secret(credential.text, timeout=OPENING_SECONDS)

    async def close(self) -> None:
        """Fails what still waits."""
        self._post.lose()
        await self._tasks.cancel()
        _fail(self._outbox, VaultUnreachable(LOST))
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
            self._start(message)

    def _start(self, message: _Message) -> None:
        sending = self._tasks.start(self._send(message))
        # One that is cancelled before it began could not tell so itself.
        sending.add_done_callback(
            lambda ended: message.fail(VaultUnreachable(LOST)) if ended.cancelled() else None
        )

    def _message(self, waiting: Sequence[_Waiting]) -> _Message:
        request = Request(
            calls=tuple(each.call for each in waiting),
            sent_at=time.time(),
            deadline_seconds=self._left_seconds(waiting),
        )
        return _Message(protocol.encode_request(request), waiting)

    def _left_seconds(self, waiting: Sequence[_Waiting]) -> float:
        return max(0.001, max(each.deadline for each in waiting) - self._loop.time())

    async def _send(self, message: _Message) -> None:
        try:
            session = await self._sessions.current()
            body = self._sessions.seal(session, message.plain)
            asked = _Asked(
                sealed_frame.identifier(body), session, message, self._unknown, forget=self._post.forget
            )
            await self._post.send(body, asked, life_seconds=self._left_seconds(message.waiting))
        except VaultError as error:
            message.fail(error)

    def _unknown(self, session: HeldSession, message: _Message) -> None:
        """The dispensers do not know a session (any more): another is opened, and the message sent again."""
        self._sessions.forget(session)
        if message.again:
            message.fail(
                VaultUnreachable("The dispensers do not know the session that one of them has just opened.")
            )
        else:
            self._start(_Message(message.plain, message.waiting, again=True))


class _Asked:
    """A request that is on its way, until every call in it is answered, has failed, or is given up."""

    def __init__(
        self,
        message_id: str,
        session: HeldSession,
        message: _Message,
        unknown: Callable[[HeldSession, _Message], None],
        *,
        forget: Callable[[str], None],
    ) -> None:
        self._id = message_id
        self._session = session
        self._message = message
        self._unknown = unknown
        self._forget = forget
        self._open = set(range(len(message.waiting)))
        for index, waiting in enumerate(message.waiting):
            waiting.reply.add_done_callback(partial(self._settled, index))

    def hear(self, body: bytes) -> None:
        try:
            match sealed_frame.kind(body, protocol.MAX_REPLY_BYTES + sealed_frame.MAX_TICKET_BYTES):
                case Kind.REPLIES:
                    self._answered(body)
                case Kind.REFUSAL:
                    self._refused(sealed_frame.read_refusal(body))
        except (MalformedFrame, Unopened):
            # Whoever knows a message's id can send such things, and must not be able to end it by that.
            _log.debug("A message that no dispenser has sent was passed over")

    def fail(self, error: VaultError) -> None:
        self._message.fail(error)

    def _answered(self, body: bytes) -> None:
        plain = self._session.sealed.open_answer(Kind.REPLIES, self._id, body)
        try:
            answers = protocol.decode_replies(plain)
        except MalformedFrame as error:
            self.fail(VaultError(f"The vault's answer cannot be read. {error}"))
            return
        for index, answer in answers:
            if index in self._open and not self._message.waiting[index].reply.done():
                self._message.waiting[index].reply.set_result(answer)

    def _refused(self, refused: Refused | None) -> None:
        self._forget(self._id)
        if refused is Refused.UNKNOWN_TICKET:
            self._unknown(self._session, self._message)
        else:
            self.fail(VaultUnreachable(f"A request was altered on its way ({refused or 'unknown'})."))

    def _settled(self, index: int, _reply: asyncio.Future[Reply]) -> None:
        self._open.discard(index)
        if not self._open:
            self._forget(self._id)


def _fail(waiting: Sequence[_Waiting], error: VaultError) -> None:
    for each in waiting:
        if not each.reply.done():
            each.reply.set_exception(error)
            each.reply.exception()  # seen, even if its caller leaves in the same tick


async def opened(
    login: Login,
    credential: Credential,
    key: Ed25519PrivateKey | None,
    authority: ssl.SSLContext | None,
) -> Link:
    """A link ready to be asked. Raises: what aio_pika raises, TimeoutError."""
    connection = await _connected(login.url, authority)
    link = Link(connection, login, credential, key)
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            await link.prepare()
    except BaseException:
        await link.close()
        raise
    return link


async def _connected(url: str, authority: ssl.SSLContext | None) -> AbstractConnection:
    """Not by `aio_pika.connect`, which leaves a connection that fails to whoever collects garbage."""
    connection = Connection(
        make_url(url), ssl_context=authority, client_properties={"connection_name": "agent"}
    )
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            await connection.connect()
    except BaseException:
        await connection.close()
        raise
    return connection
