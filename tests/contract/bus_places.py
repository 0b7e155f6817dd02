"""Where buses meet: what stands around a bus, over memory and over a real RabbitMQ, in the same words."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aio_pika

from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.memory_broker import MemoryBroker
from shared.adapters.memory_bus import MemoryBus
from shared.ports import Bus, Outgoing
from shared.topology import RPC_EXCHANGE, RPC_KEY

#: Seconds after which a test has failed.
PATIENCE = 20.0

Replies = asyncio.Queue[tuple[str | None, bytes]]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what another process will do, which nothing here can announce."""
    async with asyncio.timeout(PATIENCE):
        while not await holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class BusPlace(ABC):
    """One broker: buses on it, an agent beside it, and a view into its queues."""

    def __init__(self) -> None:
        self._buses: list[Bus] = []

    async def bus(self) -> Bus:
        """A started bus, as of one more process."""
        bus = self._new_bus()
        self._buses.append(bus)
        await bus.start()
        return bus

    async def close(self) -> None:
        for bus in self._buses:
            await bus.close()

    async def taken(self, queue: str) -> tuple[Mapping[str, Any], bytes]:
        """The headers and body of the oldest message, which is gone from the queue then. Waits for one."""
        found: list[tuple[Mapping[str, Any], bytes]] = []

        async def take() -> bool:
            found.extend([taken] if (taken := await self._take(queue)) else [])
            return bool(found)

        await until(take)
        return found[0]

    @abstractmethod
    async def request(self, body: bytes, *, reply_to: str, correlation_id: str) -> None:
        """Ask as the agent `guest`."""

    @abstractmethod
    async def replies(self, name: str) -> Replies:
        """The (correlation id, body) of what arrives in a new reply queue."""

    @abstractmethod
    async def depth(self, queue: str) -> int:
        """Messages that wait."""

    @abstractmethod
    def _new_bus(self) -> Bus: ...

    @abstractmethod
    async def _take(self, queue: str) -> tuple[Mapping[str, Any], bytes] | None: ...


class MemoryPlace(BusPlace):
    def __init__(self) -> None:
        super().__init__()
        self._broker = MemoryBroker()

    async def request(self, body: bytes, *, reply_to: str, correlation_id: str) -> None:
        agent = MemoryBus(self._broker)
        await agent.start()
        question = Outgoing(exchange=RPC_EXCHANGE, routing_key=RPC_KEY, body=body, expiration_seconds=9)
        await agent.request(question, reply_to=reply_to, correlation_id=correlation_id, user_id="guest")

    async def replies(self, name: str) -> Replies:
        arrived = Replies()
        self._broker.declare_reply_queue(name, lambda *reply: arrived.put_nowait(reply))
        return arrived

    async def depth(self, queue: str) -> int:
        return len(self._broker.queues[queue])

    def _new_bus(self) -> Bus:
        return MemoryBus(self._broker)

    async def _take(self, queue: str) -> tuple[Mapping[str, Any], bytes] | None:
        taken = self._broker.queues[queue].take()
        return None if taken is None else (taken.headers, taken.body)


class RabbitPlace(BusPlace):
    @classmethod
    async def open(cls, url: str) -> "RabbitPlace":
        place = cls(url)
        place._agent = await aio_pika.connect(url)
        place._channel = await place._agent.channel()
        setup = AmqpBus(url, name="setup")
        await setup.start()
        await setup.declare()
        await setup.close()
        return place

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._agent: aio_pika.abc.AbstractConnection
        self._channel: aio_pika.abc.AbstractChannel

    async def request(self, body: bytes, *, reply_to: str, correlation_id: str) -> None:
        exchange = await self._channel.get_exchange(RPC_EXCHANGE, ensure=False)
        question = aio_pika.Message(
            body, reply_to=reply_to, correlation_id=correlation_id, user_id="guest", expiration=9
        )
        await exchange.publish(question, RPC_KEY)

    async def replies(self, name: str) -> Replies:
        arrived = Replies()
        queue = await self._channel.declare_queue(name, exclusive=True, auto_delete=True)

        async def take(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            arrived.put_nowait((message.correlation_id, message.body))

        await queue.consume(take, no_ack=True)
        return arrived

    async def depth(self, queue: str) -> int:
        declared = await self._channel.declare_queue(queue, passive=True)
        return declared.declaration_result.message_count or 0

    async def close(self) -> None:
        await super().close()
        await self._agent.close()

    def _new_bus(self) -> Bus:
        return AmqpBus(self._url, name="contract")

    async def _take(self, queue: str) -> tuple[Mapping[str, Any], bytes] | None:
        message = await (await self._channel.get_queue(queue, ensure=False)).get(no_ack=True, fail=False)
        return None if message is None else (message.headers, message.body)
