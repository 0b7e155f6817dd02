"""One connection to RabbitMQ: its session with the dispensers, and what waits for answers on it."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Sequence
from typing import Final

from aio_pika.connection import Connection, make_url
from aio_pika.exceptions import CONNECTION_EXCEPTIONS
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from dispenser import frame, protocol, sealed_frame
from dispenser.amqp.line import Line, connected
from dispenser.client import batch
from dispenser.client.amqp_asked import Asked, Message, Waiting, fail
from dispenser.client.amqp_login import Login
from dispenser.client.amqp_post import LOST, Post
from dispenser.client.amqp_session import HeldSession, Sessions
from dispenser.client.credential import Credential
from dispenser.client.errors import InvalidRequest, VaultError, VaultUnreachable
from dispenser.client.tasks import Tasks
from dispenser.protocol import Call, MalformedFrame, Reply

OPENING_SECONDS: Final = 10.0
CLOSING_SECONDS: Final = 2.0


class Link:
    """Lives until its connection is lost; then all that waits on it fails, to be asked again on another."""

    def __init__(
        self,
        line: Line,
        login: Login,
        credential: Credential,
        key: Ed25519PrivateKey | None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = line.connection
        self._login = login
        self._tasks = Tasks()
        self._post = Post(line, login)
        self._sessions = Sessions(self._post, credential, key, self._tasks)
        self._outbox: list[Waiting] = []
        self.lost = self._post.lost

    async def prepare(self) -> None:
        """Makes it ready to be asked."""
        await self._post.prepare()

    async def ask(self, call: Call, *, deadline: float) -> Reply:
        """The reply. Calls of one tick of the event loop travel together.

        Raises: InvalidRequest, VaultUnreachable when the link is lost, VaultError for a reply not to be read.
        """
        if self.lost.is_set():
            raise VaultUnreachable(LOST)
        waiting = Waiting(self._packed(call, deadline), deadline, self._loop.create_future())
        if not self._outbox:
            self._loop.call_soon(self._flush)
        self._outbox.append(waiting)
        try:
            return await waiting.reply
        except asyncio.CancelledError:
            # Seen here, and not by a callback of the future's, which every call would pay for.
            waiting.give_up()
            raise

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
        fail(self._outbox, VaultUnreachable(LOST))
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            await asyncio.wait_for(self._connection.close(), CLOSING_SECONDS)

    def _packed(self, call: Call, deadline: float) -> bytes:
        """A call that cannot be sent must not take those along that would travel with it."""
        try:
            frame.seconds(self._left_seconds(deadline), "deadline")
            return protocol.encode_call(call)
        except MalformedFrame as error:
            raise InvalidRequest(f"The request cannot be sent. {error}") from error

    def _flush(self) -> None:
        outbox = [waiting for waiting in self._outbox if not waiting.reply.done()]
        self._outbox = []
        for message in batch.messages(outbox, self._message):
            self._start(message)

    def _start(self, message: Message) -> None:
        sending = self._tasks.start(self._send(message))
        # One that is cancelled before it began could not tell so itself.
        sending.add_done_callback(
            lambda ended: message.fail(VaultUnreachable(LOST)) if ended.cancelled() else None
        )

    def _message(self, waiting: Sequence[Waiting]) -> Message:
        plain = protocol.join_calls(
            [each.packed for each in waiting],
            sent_at=time.time(),
            deadline_seconds=self._left_seconds(_last(waiting)),
        )
        return Message(plain, waiting)

    def _left_seconds(self, deadline: float) -> float:
        return max(0.001, deadline - self._loop.time())

    async def _send(self, message: Message) -> None:
        try:
            session = await self._sessions.current()
            if message.settled:
                return
            body = self._sessions.seal(session, message.plain)
            asked = Asked(
                sealed_frame.identifier(body), session, message, self._unknown, forget=self._post.forget
            )
            await self._post.send(body, asked, life_seconds=self._left_seconds(_last(message.waiting)))
        except VaultError as error:
            message.fail(error)

    def _unknown(self, session: HeldSession, message: Message) -> None:
        """The dispensers do not know a session (any more): another is opened, and the message sent again."""
        self._sessions.forget(session)
        if message.again:
            message.fail(
                VaultUnreachable("The dispensers do not know the session that one of them has just opened.")
            )
        else:
            self._start(Message(message.plain, message.waiting, again=True))


def _last(waiting: Sequence[Waiting]) -> float:
    """The deadline of whoever waits longest."""
    return max([each.deadline for each in waiting])


async def opened(
    login: Login,
    credential: Credential,
    key: Ed25519PrivateKey | None,
    authority: ssl.SSLContext | None,
) -> Link:
    """A link ready to be asked. Raises: what aio_pika raises, TimeoutError."""
    connection = Connection(
        make_url(login.url), ssl_context=authority, client_properties={"connection_name": "agent"}
    )
    link = Link(await connected(connection, OPENING_SECONDS), login, credential, key)
    try:
        async with asyncio.timeout(OPENING_SECONDS):
            await link.prepare()
    except BaseException:
        await link.close()
        raise
    return link
