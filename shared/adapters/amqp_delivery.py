"""One message on its way through a handler, to its settlement."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from traceback import extract_tb

import structlog

from shared.adapters.amqp_direct_channel import DirectChannel
from shared.adapters.amqp_failure import given_up
from shared.adapters.redelivery import REQUEUE_PAUSE_SECONDS, retried
from shared.errors import VaultError
from shared.ports import Ack, DeadLetter, Delivery, Handler, Outgoing, RetryLater, Settlement

_log = structlog.get_logger()


class AmqpDelivery:
    """A message in hand."""

    def __init__(self, queue: str, delivery: Delivery, channel: DirectChannel, tag: int) -> None:
        self._queue = queue
        self._delivery = delivery
        self._channel = channel
        self._tag = tag

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
            self._reject(requeue=True)
        else:
            await self._settle(settlement, publish)

    async def _settle(self, settlement: Settlement, publish: Callable[[Outgoing], Awaitable[None]]) -> None:
        match settlement:
            case Ack():
                self._channel.ack(self._tag)
            case DeadLetter():
                self._reject(requeue=False)
            case RetryLater(delay_seconds=seconds):
                await self._retry(retried(self._delivery, seconds), publish)

    async def _retry(self, copy: Outgoing, publish: Callable[[Outgoing], Awaitable[None]]) -> None:
        # The copy is confirmed before the original goes: twice rather than never.
        try:
            await publish(copy)
        except VaultError as error:
            _log.warning("A retry could not be queued", queue=self._queue, error=error.code)
            self._reject(requeue=True)
        else:
            self._channel.ack(self._tag)

    def _reject(self, *, requeue: bool) -> None:
        self._channel.reject(self._tag, requeue=requeue)


def _place(error: BaseException) -> str:
    """Where it was raised. Its text may quote a message, so it is not shown."""
    last = extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"
