import asyncio
from collections.abc import Awaitable, Callable

import structlog

from shared.adapters.memory_queue import Held, MemoryQueue, Subscription
from shared.adapters.redelivery import REQUEUE_PAUSE_SECONDS, retried
from shared.ending import end
from shared.errors import VaultError
from shared.ports import Ack, DeadLetter, Handler, Outgoing, RetryLater, Settlement

_log = structlog.get_logger()


class MemoryConsumer:
    """Hands a queue's messages to a handler, and settles them as it says."""

    def __init__(
        self,
        queue: MemoryQueue,
        handler: Handler,
        *,
        prefetch: int,
        publish: Callable[[Outgoing], Awaitable[None]],
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._publish = publish
        self._hands: dict[asyncio.Task[None], Held] = {}
        self._subscription = Subscription(take=self._take, prefetch=prefetch)
        queue.subscribe(self._subscription)

    async def drain(self) -> None:
        """Take no more messages, and wait until those in hand are settled."""
        self._queue.unsubscribe(self._subscription)
        while self._hands:
            await asyncio.wait(self._hands)

    async def close(self) -> None:
        """Drop what is in hand: it will be delivered again, to somebody else."""
        self._queue.unsubscribe(self._subscription)
        await end(list(self._hands))

    def _take(self, held: Held) -> None:
        task = asyncio.create_task(self._handle(held))
        self._hands[task] = held
        task.add_done_callback(self._put_down)

    def _put_down(self, task: asyncio.Task[None]) -> None:
        held = self._hands.pop(task)
        if task.cancelled():
            self._queue.requeue(held, self._subscription)

    async def _handle(self, held: Held) -> None:
        try:
            settlement = await self._handler(held.delivery)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises, the message goes back
            _log.error("A handler failed", error=type(error).__name__)
            await asyncio.sleep(REQUEUE_PAUSE_SECONDS)
            self._queue.requeue(held, self._subscription)
        else:
            await self._settle(held, settlement)

    async def _settle(self, held: Held, settlement: Settlement) -> None:
        match settlement:
            case Ack():
                self._queue.settle(held, self._subscription)
            case DeadLetter():
                self._queue.dead_letter(held, self._subscription)
            case RetryLater(delay_seconds=seconds):
                await self._retry(held, seconds)

    async def _retry(self, held: Held, delay_seconds: float) -> None:
        try:
            await self._publish(retried(held.delivery, delay_seconds))
        except VaultError as error:
            _log.warning("A retry could not be queued", error=error.code)
            self._queue.requeue(held, self._subscription)
        else:
            self._queue.settle(held, self._subscription)
