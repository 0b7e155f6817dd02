import asyncio
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import NamedTuple


class DiskThread:
    """Does what blocks, one thing after the other, in a thread of its own.

    An executor's way there and back costs twice as much CPU, and every request goes it once.
    """

    def __init__(self, name: str) -> None:
        self._errands: SimpleQueue[_Errand | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    def open(self) -> None:
        """From now on errands are done."""
        self._thread.start()

    async def close(self) -> None:
        """Returns once all errands are done."""
        self._errands.put(None)
        await asyncio.to_thread(self._thread.join)

    def do(self, work: Callable[[], None], then: Callable[[Exception | None], None]) -> None:
        """`then` hears, in the event loop, what the work raised, or None."""
        self._errands.put(_Errand(work, asyncio.get_running_loop(), then))

    def _run(self) -> None:
        while (errand := self._errands.get()) is not None:
            errand.run()


class _Errand(NamedTuple):
    work: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    then: Callable[[Exception | None], None]

    def run(self) -> None:
        raised: Exception | None = None
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it is
            raised = error
        self.loop.call_soon_threadsafe(self.then, raised)
