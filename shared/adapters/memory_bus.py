import asyncio

from shared.adapters.memory_broker import EventCallback, MemoryBroker, ReplyCallback
from shared.adapters.memory_consumer import MemoryConsumer
from shared.errors import BusUnavailable
from shared.ports import Delivery, Handler, Outgoing


class MemoryBus:
    """The bus of an embedded vault, within one event loop. Not a broker: it ends with its process.

    Buses on one `MemoryBroker` stand for processes on one RabbitMQ: each drains and closes by itself, and
    what a closed one had in hand goes to the others.
    """

    def __init__(self, broker: MemoryBroker | None = None) -> None:
        self.broker = broker or MemoryBroker()
        self._started = False
        self._drained = False
        self._consumers: list[MemoryConsumer] = []

    @property
    def connected(self) -> bool:
        return self._started and not self._drained

    async def start(self) -> None:
        self._started = True

    async def declare(self) -> None:
        """Nothing to do: the topology is there from the start."""

    async def publish(self, message: Outgoing) -> None:
        self._publish(message.exchange, _delivery(message))

    async def request(
        self, message: Outgoing, *, reply_to: str | None, correlation_id: str | None, user_id: str | None
    ) -> None:
        """Publish as an agent's client does. `user_id` is believed, where RabbitMQ would validate it."""
        delivery = _delivery(message, reply_to=reply_to, correlation_id=correlation_id, user_id=user_id)
        self._publish(message.exchange, delivery)

    async def reply(
        self,
        reply_to: str,
        correlation_id: str,
        body: bytes,
        expiration_seconds: float,  # noqa: ARG002 - nothing waits here
    ) -> None:
        self.broker.reply(reply_to, correlation_id, body)

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> None:
        self._consumers.append(
            MemoryConsumer(self.broker.queues[queue], handler, prefetch=prefetch, publish=self.publish)
        )

    async def drain(self) -> None:
        self._drained = True
        consumers, self._consumers = self._consumers, []
        await asyncio.gather(*(consumer.drain() for consumer in consumers))

    async def close(self) -> None:
        self._started = False
        consumers, self._consumers = self._consumers, []
        await asyncio.gather(*(consumer.close() for consumer in consumers))

    def declare_reply_queue(self, name: str, callback: ReplyCallback) -> None:
        """Have replies to `name` given to the callback: (correlation id, body)."""
        self.broker.declare_reply_queue(name, callback)

    def subscribe(self, pattern: str, callback: EventCallback) -> None:
        """Hear the lifecycle events whose routing key matches the topic pattern."""
        self.broker.subscribe(pattern, callback)

    def _publish(self, exchange: str, delivery: Delivery) -> None:
        if not self._started:
            raise BusUnavailable("The bus is not started, or closed.")
        self.broker.publish(exchange, delivery)


def _delivery(
    message: Outgoing,
    *,
    reply_to: str | None = None,
    correlation_id: str | None = None,
    user_id: str | None = None,
) -> Delivery:
    return Delivery(
        body=message.body,
        headers=dict(message.headers),
        routing_key=message.routing_key,
        correlation_id=correlation_id,
        reply_to=reply_to,
        user_id=user_id,
        expiration_seconds=message.expiration_seconds,
        redelivered=False,
    )
