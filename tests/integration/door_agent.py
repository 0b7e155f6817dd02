"""An agent that speaks the sealed session by hand to an AMQP door, over a real broker."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from builders import KEYS, VAULT
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from integration.desk import Desk
from sealed_agent import SealedAgent

from dispenser import keyset, sealed_frame
from dispenser.opening import Opened
from dispenser.place import Place, vhost_of
from dispenser.protocol import RPC_QUEUE, Call, Reply
from dispenser.sealed_frame import Kind, Refused
from dispenser.vault_token import mint
from shared.adapters.amqp_bus import AmqpBus
from shared.keyring import Keyring
from shared.topology import RPC_EXCHANGE, RPC_KEY

#: Far more than any answer takes: a reply that never comes is a failure, not a wait for ever.
PATIENCE_SECONDS = 30.0


class Agent:
    """Speaks the protocol by hand, as no honest client would."""

    def __init__(self, connection: AbstractConnection, desk: Desk, vhost: str) -> None:
        self._connection = connection
        self._desk = desk
        self._answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        self.place = Place(
            vhost=vhost_of(vhost),
            queue=RPC_QUEUE,
            user="guest",
            reply_to=f"vault.reply.guest.{secrets.token_hex(16)}",
        )
        self._sessions: dict[str, SealedAgent] = {}

    async def open(self) -> None:
        self._channel = await self._connection.channel()
        queue = await self._channel.declare_queue(self.place.reply_to, exclusive=True, auto_delete=True)
        await queue.consume(self._answers.put, no_ack=True)

    def token(self, **changes: Any) -> str:
        return mint(self._desk.keys, self._desk.identity(**changes), vault=VAULT)

    async def opening(
        self, token: str, key: Ed25519PrivateKey | None = None, *, age_seconds: float = 0.0
    ) -> tuple[SealedAgent, bytes]:
        """A session to be, and the message that opens it."""
        session = SealedAgent(self.place, key)
        body = await self.exchanged(sealed_frame.header(Kind.KEYSET_REQUEST))
        [to, *_] = keyset.verified(body, token, self._desk.time.timestamp())
        return session, session.opening(token, to, sent_at=time.time() - age_seconds)

    async def opened(self, token: str | None = None, key: Ed25519PrivateKey | None = None) -> SealedAgent:
        """A session, opened as the broker carries it."""
        session, body = await self.opening(token or self.token(), key)
        assert isinstance(session.hear(await self.exchanged(body)), Opened)
        return session

    def request(self, session: SealedAgent, *calls: Call, age_seconds: float = 0.0) -> bytes:
        """A message in a session, whose answer will be read in it too."""
        body = session.request(*calls, sent_at=time.time() - age_seconds)
        self._sessions[sealed_frame.identifier(body)] = session
        return body

    async def body(self, *calls: Call, token: str | None = None) -> bytes:
        return self.request(await self.opened(token), *calls)

    async def send(self, body: bytes, **changes: Any) -> None:
        properties = {
            "reply_to": self.place.reply_to,
            "correlation_id": sealed_frame.identifier(body),
            "user_id": "guest",
            "expiration": 5,
        }
        exchange = await self._channel.get_exchange(RPC_EXCHANGE, ensure=False)
        await exchange.publish(aio_pika.Message(body, **properties | changes), RPC_KEY)

    async def exchanged(self, body: bytes, **changes: Any) -> bytes:
        """What comes back for a message."""
        await self.send(body, **changes)
        return (await self._answer()).body

    async def refused(self, body: bytes, **changes: Any) -> Refused | None:
        """Why a message was not opened."""
        answer = await self.exchanged(body, **changes)
        assert sealed_frame.kind(answer) is Kind.REFUSAL
        return sealed_frame.read_refusal(answer)

    async def answered(self) -> list[tuple[int, Reply]]:
        answer = await self._answer()
        asked = str(answer.correlation_id)
        return self._sessions[asked].replies(asked, answer.body)

    async def _answer(self) -> AbstractIncomingMessage:
        return await asyncio.wait_for(self._answers.get(), PATIENCE_SECONDS)


@asynccontextmanager
async def serving(folder: Path, vhost: str, keys: Keyring = KEYS) -> AsyncIterator[Desk]:
    """A desk with an AMQP door."""
    desk = Desk(folder, keys)
    await desk.open()
    bus = AmqpBus(vhost, name="test")
    await bus.start()
    await bus.declare()
    await desk.door(bus, vhost).open()
    desk.agents_bus = bus
    yield desk
    await bus.close()
    await desk.close()


@asynccontextmanager
async def connected(desk: Desk, vhost: str) -> AsyncIterator[Agent]:
    """An agent of the desk's."""
    async with await aio_pika.connect(vhost) as connection:
        agent = Agent(connection, desk, vhost)
        await agent.open()
        yield agent
