"""One message on its way through a handler: from the broker's frames to its settlement."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from traceback import extract_tb
from typing import Any, Final, cast

import structlog
from aiormq.abc import DeliveredMessage

from shared.adapters.amqp_failure import DriverFailed, driver, given_up
from shared.adapters.redelivery import REQUEUE_PAUSE_SECONDS, retried
from shared.errors import VaultError
from shared.ports import Ack, DeadLetter, Delivery, Handler, Outgoing, RetryLater, Settlement

_SETTLE_SECONDS: Final = 5.0

_log = structlog.get_logger()


class AmqpDelivery:
    """A message in hand, read from the driver's raw delivery: of its fourteen properties we need five."""

    def __init__(self, queue: str, message: DeliveredMessage) -> None:
        self._queue = queue
        self._message = message
        self._delivery = _delivery(message)

    async def handle(self, handler: Handler, publish: Callable[[Outgoing], Awaitable[None]]) -> None:
        """Let the handler work, then settle as it says."""
        try:
            settlement = await handler(self._delivery)
        except (
            Exception,
            asyncio.CancelledError,
        ) as error:  # whatever a handler raises, the message goes back
            if given_up(error):
                raise
            _log.error("A handler failed", queue=self._queue, error=type(error).__name__, at=_place(error))
            await asyncio.sleep(REQUEUE_PAUSE_SECONDS)
            await self._reject(requeue=True)
        else:
            await self._settle(settlement, publish)

    async def _settle(self, settlement: Settlement, publish: Callable[[Outgoing], Awaitable[None]]) -> None:
        match settlement:
            case Ack():
                await self._ack()
            case DeadLetter():
                await self._reject(requeue=False)
            case RetryLater(delay_seconds=seconds):
                await self._retry(retried(self._delivery, seconds), publish)

    async def _retry(self, copy: Outgoing, publish: Callable[[Outgoing], Awaitable[None]]) -> None:
        # The copy is confirmed before the original goes: twice rather than never.
        try:
            await publish(copy)
        except VaultError as error:
            _log.warning("A retry could not be queued", queue=self._queue, error=error.code)
            await self._reject(requeue=True)
        else:
            await self._ack()

    async def _ack(self) -> None:
        async with self._settling():
            await self._message.channel.basic_ack(self._tag)

    async def _reject(self, *, requeue: bool) -> None:
        # Not a nack: RabbitMQ 4.3 no longer counts those against the delivery limit.
        async with self._settling():
            await self._message.channel.basic_reject(self._tag, requeue=requeue)

    @property
    def _tag(self) -> int:
        return cast(int, self._message.delivery_tag)

    @asynccontextmanager
    async def _settling(self) -> AsyncIterator[None]:
        try:
            with driver():
                async with asyncio.timeout(_SETTLE_SECONDS):
                    yield
        except DriverFailed:
            _log.info("A message could not be settled and will come again", queue=self._queue)


def _delivery(message: DeliveredMessage) -> Delivery:
    properties = message.header.properties
    return Delivery(
        body=message.body,
        headers=cast(Mapping[str, Any], properties.headers or {}),
        routing_key=message.routing_key or "",
        correlation_id=properties.correlation_id,
        reply_to=properties.reply_to,
        user_id=properties.user_id,
        # Milliseconds in decimal digits: the broker has refused anything else.
        expiration_seconds=int(properties.expiration) / 1000 if properties.expiration else None,
        redelivered=bool(message.redelivered),
    )


def _place(error: BaseException) -> str:
    """Where it was raised. Its text may quote a message, so it is not shown."""
    last = extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
