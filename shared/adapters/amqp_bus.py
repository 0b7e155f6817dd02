import asyncio
from typing import Final

import structlog
from aio_pika import DeliveryMode, Message

from shared.adapters.amqp_channel import Reopening
from shared.adapters.amqp_connection import AmqpConnection
from shared.adapters.amqp_consumer import AmqpConsumer
from shared.adapters.amqp_direct_channel import DirectChannel
from shared.adapters.amqp_failure import DriverFailed, driver, publish_failure
from shared.adapters.amqp_log import keep_bodies_out_of_the_log
from shared.adapters.amqp_topology import declare_topology
from shared.errors import BusUnavailable
from shared.ports import Handler, Outgoing
from shared.topology import EVENTS_EXCHANGE

#: Seconds in which `dispenser init` expects to be done.
_DECLARE_SECONDS: Final = 60.0

_log = structlog.get_logger()


class AmqpBus:
    """The bus on RabbitMQ.

    Publishes on one channel with confirms, as many at once as there are callers; replies on another, without.
    A lost confirm does not mean a lost message: who publishes again publishes at least once.
    """

    def __init__(self, url: str, *, name: str, patience_seconds: float = 10.0) -> None:
        """`name`: of the connection, in RabbitMQ's lists. `patience_seconds`: how long a publish waits for a
        connection and its confirm. Raises: ConfigurationError."""
        keep_bodies_out_of_the_log()
        self._connection = AmqpConnection(url, name=name)
        self._confirmed = Reopening(self._connection.channel)
        self._unconfirmed = Reopening(self._connection.direct_channel)
        self._patience_seconds = patience_seconds
        self._consumers: list[AmqpConsumer] = []

    @property
    def connected(self) -> bool:
        return self._connection.connected and all(consumer.consuming for consumer in self._consumers)

    async def start(self) -> None:
        await self._connection.start()

    async def declare(self) -> None:
        """Raises: ConfigurationError with what is there and differs, BusUnavailable."""
        try:
            with driver():
                async with asyncio.timeout(_DECLARE_SECONDS):
                    await declare_topology(Reopening(self._connection.channel))
        except DriverFailed as failed:
            raise BusUnavailable(
                "The connection to the broker was lost while declaring. Run `dispenser init` again."
            ) from failed.error

    async def publish(self, message: Outgoing) -> None:
        try:
            with driver():
                async with asyncio.timeout(self._patience_seconds):
                    await self._publish(message)
        except DriverFailed as failed:
            raise publish_failure(failed.error, message) from failed.error

    async def reply(self, reply_to: str, correlation_id: str, body: bytes, expiration_seconds: float) -> None:
        channel = self._unconfirmed.open or await self._reopened(expiration_seconds)
        if channel is not None:
            await channel.publish(
                reply_to, body, correlation_id=correlation_id, expiration_seconds=expiration_seconds
            )

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> None:
        self._consumers.append(
            AmqpConsumer(self._connection, queue, handler, prefetch=prefetch, publish=self.publish)
        )

    async def drain(self) -> None:
        await asyncio.gather(*(consumer.drain() for consumer in self._consumers))

    async def close(self) -> None:
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))
        await self._connection.close()

    async def _reopened(self, patience_seconds: float) -> DirectChannel | None:
        try:
            with driver():
                async with asyncio.timeout(patience_seconds):
                    return await self._unconfirmed.get()
        except DriverFailed as failed:
            _log.info("A reply was dropped", error=str(failed))
            return None

    async def _publish(self, message: Outgoing) -> None:
        channel = await self._confirmed.get()
        exchange = await channel.get_exchange(message.exchange, ensure=False)
        # An event that nobody subscribed to is no failure.
        mandatory = message.exchange != EVENTS_EXCHANGE
        await exchange.publish(_message(message), message.routing_key, mandatory=mandatory)


def _message(message: Outgoing) -> Message:
    lasting = message.expiration_seconds is None
    return Message(
        message.body,
        headers=dict(message.headers),
        message_id=message.message_id,
        content_type=message.content_type,
        expiration=message.expiration_seconds,
        delivery_mode=DeliveryMode.PERSISTENT if lasting else DeliveryMode.NOT_PERSISTENT,
    )
