from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq.abc
from aio_pika.abc import AbstractChannel

from dispenser.amqp import frames
from dispenser.amqp.frames import Properties
from dispenser.amqp.transport import Deliveries, Taker
from dispenser.amqp.writer import FrameWriter


class DirectChannel:
    """A channel without confirms whose messages go past the driver's objects, both ways.

    All else on it is the driver's. What is written is lost with the connection: a lost acknowledgement comes
    down to a second delivery, and a lost reply to a request that is made again.
    """

    def __init__(
        self,
        opened: AbstractChannel,
        driver: aiormq.abc.AbstractChannel,
        deliveries: Deliveries,
        writer: FrameWriter,
    ) -> None:
        self.driver = driver
        self._opened = opened
        self._deliveries = deliveries
        self._writer = writer
        self._left = False

    @property
    def is_closed(self) -> bool:
        return self._left or self.driver.is_closed

    def take(self, taker: Taker) -> None:
        """Who takes the deliveries, before anything is consumed."""
        self._deliveries.take(self.driver.number, taker)

    def ack(self, tag: int) -> None:
        """A delivery is done with."""
        self._write(frames.ack(self.driver.number, tag))

    def reject(self, tag: int, *, requeue: bool) -> None:
        """A delivery is given back, or up. Not a nack: RabbitMQ 4.3 no longer counts those as deliveries."""
        self._write(frames.reject(self.driver.number, tag, requeue=requeue))

    async def publish(
        self, queue: str, body: bytes, *, correlation_id: str, expiration_seconds: float
    ) -> None:
        """A transient message to a queue, dropped where there is none, or where too much is unsent for as
        long as it lives."""
        if not await self._writer.room(expiration_seconds):
            return
        properties = Properties(correlation_id=correlation_id, expiration_seconds=expiration_seconds)
        # The default exchange, which leads to the queue of that name.
        self._write(
            frames.publish(self.driver.number, "", queue, body, properties, frame_max=self._writer.frame_max)
        )

    async def flushed(self, patience_seconds: float) -> None:
        """Wait until next to nothing is unsent, or it is lost."""
        await self._writer.flushed(patience_seconds)

    @asynccontextmanager
    async def closing(self) -> AsyncIterator[None]:
        """Closed at the end."""
        try:
            async with self._opened:
                try:
                    yield
                finally:
                    self._left = True
                    self._writer.flush()
        finally:
            self._deliveries.leave(self.driver.number)

    def _write(self, written: bytes) -> None:
        # A frame on a channel that the broker has closed would cost the connection.
        if not self.is_closed:
            self._writer.write(self.driver.number, written)
