import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity

from dispenser.amqp.transport import Message
from shared.adapters.amqp_connection import AmqpConnection
from shared.adapters.amqp_delivery import AmqpDelivery
from shared.adapters.amqp_direct_channel import DirectChannel
from shared.adapters.amqp_failure import DriverFailed, driver
from shared.adapters.backoff import backoff_seconds
from shared.ending import end
from shared.ports import Delivery, Handler, Outgoing

_CANCEL_SECONDS: Final = 3.0
_SETTLE_SECONDS: Final = 5.0

_log = structlog.get_logger()


class AmqpConsumer:
    """Hands a queue's messages to a handler, and subscribes again whenever the subscription ends."""

    def __init__(
        self,
        connection: AmqpConnection,
        queue: str,
        handler: Handler,
        *,
        prefetch: int,
        publish: Callable[[Outgoing], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._queue = queue
        self._handler = handler
        self._prefetch = prefetch
        self._publish = publish
        self._channel: DirectChannel | None = None
        self._tag = ""
        self._draining = False
        self._hands: set[asyncio.Task[None]] = set()
        self._subscriber = asyncio.create_task(self._stay_subscribed())

    @property
    def consuming(self) -> bool:
        return self._channel is not None

    async def drain(self) -> None:
        """Take no more messages, and wait until those in hand are settled."""
        self._draining = True
        channel, self._channel = self._channel, None
        if channel is not None:
            with contextlib.suppress(DriverFailed), driver():
                await channel.driver.basic_cancel(self._tag, timeout=_CANCEL_SECONDS)
        while self._hands:
            await asyncio.wait(self._hands)
        if channel is not None:
            await channel.flushed(_SETTLE_SECONDS)
        await self.close()

    async def close(self) -> None:
        """Drop what is in hand: the broker will deliver it again."""
        await end([self._subscriber, *self._hands])

    async def _stay_subscribed(self) -> None:
        failures = 0
        while True:
            try:
                with driver():
                    await self._subscribed()
                failures = 0
            except DriverFailed as failed:
                if failures == 0:
                    self._say_not_consuming(failed.error)
                failures += 1
            # Entropy against stampedes, not a secret.
            await asyncio.sleep(backoff_seconds(failures, random.random()))  # noqa: S311

    async def _subscribed(self) -> None:
        """Subscribe, and wait for the subscription's end."""
        channel = await self._connection.direct_channel()
        channel.take(partial(self._take, channel))
        async with channel.closing():
            driver, ended = channel.driver, asyncio.Event()
            driver.closing.add_done_callback(lambda _: ended.set())
            driver.on_consumer_cancel_callbacks.add(lambda _: ended.set())
            await driver.queue_declare(self._queue, passive=True)
            await driver.basic_qos(prefetch_count=self._prefetch)
            self._tag = str((await driver.basic_consume(self._queue, _never)).consumer_tag)
            self._channel = channel
            try:
                await ended.wait()
            finally:
                self._channel = None

    def _say_not_consuming(self, error: BaseException) -> None:
        if isinstance(error, ChannelNotFoundEntity):
            _log.error("A queue is missing: run `dispenser init`", queue=self._queue)
        elif self._connection.connected:
            _log.warning("Cannot consume, will try again", queue=self._queue, error=type(error).__name__)

    def _take(self, channel: DirectChannel, message: Message) -> None:
        if self._draining:
            return  # the broker gets it back when the channel closes
        taken = AmqpDelivery(self._queue, _delivery(message), channel, message.deliver.tag)
        hand = asyncio.create_task(taken.handle(self._handler, self._publish))
        self._hands.add(hand)
        hand.add_done_callback(self._hands.discard)


def _delivery(message: Message) -> Delivery:
    properties = message.properties
    return Delivery(
        body=message.body,
        headers=properties.headers,
        routing_key=message.deliver.routing_key,
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        user_id=properties.user_id,
        expiration_seconds=properties.expiration_seconds,
        redelivered=message.deliver.redelivered,
    )


async def _never(_message: object) -> None:
    """What the driver is to call with deliveries, of which it sees none."""
