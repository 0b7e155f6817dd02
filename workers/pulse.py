import asyncio
import math
from typing import Final

#: Seconds between those who are let through in a rush: several times what a transaction takes, and no longer
#: than a provider does.
BEAT_SECONDS: Final = 0.05


class Pulse:
    """Lets through together who come soon after one another: what they do next shares a transaction.

    Who comes alone is let through at once.
    """

    def __init__(self, seconds: float = BEAT_SECONDS) -> None:
        self._seconds = seconds
        #: Nobody is let through between the last beat and this one, by the loop's clock.
        self._next = -math.inf
        self._waiting: asyncio.Future[None] | None = None

    async def wait(self) -> None:
        """Until the next beat, or not at all where none has been for as long."""
        loop = asyncio.get_running_loop()
        if self._waiting is None:
            if loop.time() >= self._next:
                self._next = loop.time() + self._seconds
                return
            self._waiting = loop.create_future()
            loop.call_at(self._next, self._strike, loop)
        # Who gives up takes nobody along.
        await asyncio.shield(self._waiting)

    def _strike(self, loop: asyncio.AbstractEventLoop) -> None:
        waiting, self._waiting = self._waiting, None
        self._next = loop.time() + self._seconds
        if waiting is not None:
            waiting.set_result(None)
