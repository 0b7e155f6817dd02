"""A dispenser in a few lines: answers every call on a real broker, as the test says."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

from dispenser import protocol
from dispenser.protocol import Call, Code, RenewCall, Reply, Request

QUEUE = "vault.rpc.token"
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


@dataclass
class EchoDispenser:
    """`requests` and `messages` are what came; replace `answer` to say something else."""

    channel: AbstractChannel
    queue: AbstractQueue
    answer: Callable[[Call], Reply] = granted
    requests: list[Request] = field(default_factory=list)
    messages: list[AbstractIncomingMessage] = field(default_factory=list)
    #: Requests are answered while it is set.
    open: asyncio.Event = field(default_factory=asyncio.Event)
    #: Notified with every request that comes.
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def calls(self) -> list[Call]:
        return [call for request in self.requests for call in request.calls]

    async def listen(self) -> None:
        await self.queue.consume(self._on_message, no_ack=True)

    async def until(self, enough: Callable[["EchoDispenser"], bool]) -> None:
        async with asyncio.timeout(10), self.came:
            await self.came.wait_for(lambda: enough(self))

    async def reply(self, message: AbstractIncomingMessage, *replies: tuple[int, Reply]) -> None:
        await self.send(message, protocol.encode_replies(replies))

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
        request = protocol.decode_request(message.body)
        async with self.came:
            self.requests.append(request)
            self.messages.append(message)
            self.came.notify_all()
        await self.open.wait()
        await self.reply(message, *((index, self.answer(call)) for index, call in enumerate(request.calls)))


@asynccontextmanager
async def echo_dispenser(
    url: str, *, listens: bool = True, max_length: int = 100
) -> AsyncIterator[EchoDispenser]:
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=False)
        exchange = await channel.declare_exchange(protocol.RPC_EXCHANGE, "direct", durable=True)
        queue = await channel.declare_queue(
            QUEUE, durable=True, arguments={"x-max-length": max_length, "x-overflow": "reject-publish"}
        )
        await queue.bind(exchange, protocol.RPC_KEY)
        dispenser = EchoDispenser(channel, queue)
        dispenser.open.set()
        if listens:
            await dispenser.listen()
        yield dispenser
