"""A dispenser in a few lines: answers every call on a real broker, as the test says."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from builders import an_identity
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from vault_jwt import SIGNER

from dispenser import protocol, sealed_frame, transport_key
from dispenser.opening import Opening
from dispenser.place import Place, vhost_of
from dispenser.protocol import Call, Code, RenewCall, Reply, Request
from dispenser.sealed_frame import Kind, Refused
from dispenser.sealed_session import Unopened
from dispenser.sessions import Sessions, UnknownKey
from dispenser.ticket import UnknownTicket
from dispenser.transport_key import MATERIAL_BYTES, TransportKey
from shared.keyring import Keyring

QUEUE = protocol.RPC_QUEUE
LIFE_SECONDS = 3600.0


def granted(call: Call) -> Reply:
    """A token that names its service."""
    assert not isinstance(call, RenewCall)
    return Reply(
        code=Code.OK,
        service=call.service,
        access_token=f"token-for-{call.service}",
        token_type="Bearer",
        expires_in=LIFE_SECONDS,
        expires_at=4e9,
        scopes=("post",),
        generation=1,
    )


class Transport:
    """A transport key of the test's own."""

    def __init__(self) -> None:
        self.replace()

    def replace(self) -> None:
        """Another key from now on; nothing made with the old one is known any more."""
        today, _ = transport_key.wanted(datetime.now(UTC))
        self.current = transport_key.from_material(today, os.urandom(MATERIAL_BYTES))
        self.published: tuple[TransportKey, ...] = (self.current,)
        self.by_id = {self.current.id: self.current}


@dataclass
class EchoDispenser:
    """`requests` and `messages` are what came; replace `answer` to say something else."""

    url: str
    channel: AbstractChannel
    queue: AbstractQueue
    signer: Ed25519PrivateKey
    answer: Callable[[Call], Reply] = granted
    requests: list[Request] = field(default_factory=list)
    messages: list[AbstractIncomingMessage] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    #: Requests are answered while it is set.
    open: asyncio.Event = field(default_factory=asyncio.Event)
    #: Notified with every request that comes.
    came: asyncio.Condition = field(default_factory=asyncio.Condition)
    #: No session is known that was opened.
    forget_tickets: bool = False
    #: What every message is refused by.
    refuses: Refused | None = None

    def __post_init__(self) -> None:
        self.transport: Any = Transport()
        keys = Keyring(primary={}, signing_private={"signer": self.signer})
        self.sessions = Sessions(self.transport, keys, lambda: datetime.now(UTC), os.urandom)

    @property
    def calls(self) -> list[Call]:
        return [call for request in self.requests for call in request.calls]

    async def listen(self) -> None:
        await self.queue.consume(self._on_message, no_ack=True)

    async def until(self, enough: Callable[["EchoDispenser"], bool]) -> None:
        async with asyncio.timeout(10), self.came:
            await self.came.wait_for(lambda: enough(self))

    async def reply(self, message: AbstractIncomingMessage, *replies: tuple[int, Reply]) -> None:
        await self.send(message, self.sealed(message, replies))

    def sealed(self, message: AbstractIncomingMessage, replies: Sequence[tuple[int, Reply]]) -> bytes:
        return self.sealed_plain(message, protocol.encode_replies(replies))

    def sealed_plain(self, message: AbstractIncomingMessage, plain: bytes) -> bytes:
        session = self.sessions.of(sealed_frame.read_request(message.body).ticket)
        return self.sessions.sealed_replies(session, str(message.correlation_id), plain)

    async def send(
        self, message: AbstractIncomingMessage, body: bytes, correlation_id: str | None = None
    ) -> None:
        assert message.reply_to is not None
        await self.channel.default_exchange.publish(
            aio_pika.Message(body, correlation_id=correlation_id or message.correlation_id),
            message.reply_to,
            mandatory=False,
        )

    async def _on_message(self, message: AbstractIncomingMessage) -> None:
        try:
            await self._received(message, sealed_frame.kind(message.body))
        except UnknownTicket:
            await self.send(message, sealed_frame.refusal(Refused.UNKNOWN_TICKET))
        except Unopened:
            await self.send(message, sealed_frame.refusal(Refused.UNOPENED))
        except UnknownKey:
            await self.send(message, sealed_frame.refusal(Refused.UNKNOWN_KEY))

    async def _received(self, message: AbstractIncomingMessage, kind: Kind) -> None:
        if self.refuses and kind is not Kind.KEYSET_REQUEST:
            await self.send(message, sealed_frame.refusal(self.refuses))
            return
        match kind:
            case Kind.KEYSET_REQUEST:
                await self.send(message, self.sessions.keyset())
            case Kind.OPENING:
                shown, _ = self.sessions.shown(message.body, self._place(message))
                self.openings.append(shown)
                expires_at = datetime.now(UTC) + timedelta(seconds=LIFE_SECONDS)
                identity = an_identity(expires_at=expires_at)
                await self.send(message, self.sessions.opened(message.body, shown, identity))
            case _:
                await self._asked(message)

    async def _asked(self, message: AbstractIncomingMessage) -> None:
        frame = sealed_frame.read_request(message.body)
        if self.forget_tickets:
            raise UnknownTicket
        session = self.sessions.of(frame.ticket)
        request = protocol.decode_request(session.sealed.open_request(frame, self._place(message)))
        async with self.came:
            self.requests.append(request)
            self.messages.append(message)
            self.came.notify_all()
        await self.open.wait()
        await self.reply(message, *((index, self.answer(call)) for index, call in enumerate(request.calls)))

    def _place(self, message: AbstractIncomingMessage) -> Place:
        return Place(
            vhost=vhost_of(self.url),
            queue=QUEUE,
            user=str(message.user_id),
            reply_to=str(message.reply_to),
        )


@asynccontextmanager
async def echo_dispenser(
    url: str, *, listens: bool = True, max_length: int = 100, signer: Ed25519PrivateKey = SIGNER
) -> AsyncIterator[EchoDispenser]:
    """`signer`: signs the keyset, and so has to have signed the agent's vault token."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.declare_exchange(protocol.RPC_EXCHANGE, "direct", durable=True)
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-max-length": max_length, "x-overflow": "reject-publish"}
        )
        await queue.bind(exchange, protocol.RPC_KEY)
        dispenser = EchoDispenser(url, channel, queue, signer)
        dispenser.open.set()
        if listens:
            await dispenser.listen()
        yield dispenser
