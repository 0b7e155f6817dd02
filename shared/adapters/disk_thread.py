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

    async def do(self, work: Callable[[], None]) -> None:
        """Raises what the work raises."""
        loop = asyncio.get_running_loop()
        errand = _Errand(work, loop, loop.create_future())
        self._errands.put(errand)
        await errand.done

    def _run(self) -> None:
        while (errand := self._errands.get()) is not None:
            errand.run()


class _Errand(NamedTuple):
    work: Callable[[], None]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def run(self) -> None:
        error: BaseException | None = None
        try:
            self.work()
        except BaseException as raised:  # noqa: BLE001 - whoever waits is told, whatever it is
            error = raised
        self.loop.call_soon_threadsafe(self._settle, error)

    def _settle(self, error: BaseException | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)
