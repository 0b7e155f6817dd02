import asyncio
from collections.abc import Collection
from typing import Any, Final

#: Longer than any task here needs to put its things away.
_UNHEARD_SECONDS: Final = 5.0


async def end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended.

    Asks again where a task has not heard: `asyncio.wait_for`, which drivers use, loses a cancellation that
    meets a result (until Python 3.12, https://github.com/python/cpython/issues/86296).
    """
    while running := [task for task in tasks if not task.done()]:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=_UNHEARD_SECONDS)
