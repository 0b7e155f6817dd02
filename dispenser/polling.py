import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import structlog

from shared.ending import end
from shared.errors import VaultError

#: A changed policy or a revocation takes effect within so many seconds, whatever else fails.
POLL_SECONDS: Final = 0.5
log = structlog.get_logger()


@asynccontextmanager
async def polled(
    look: Callable[[], Awaitable[None]], what: str, seconds: float = POLL_SECONDS
) -> AsyncIterator[None]:
    """Look at the database now, and every so many seconds beside the body.

    Once the first look has succeeded, a database that is down leaves what was seen last in force.
    Raises: whatever the first look does.
    """
    await look()
    polling = asyncio.create_task(_poll(look, what, seconds), name=f"poll {what}")
    try:
        yield
    finally:
        await end([polling])


async def _poll(look: Callable[[], Awaitable[None]], what: str, seconds: float) -> None:
    reachable = True
    while True:
        await asyncio.sleep(seconds)
        try:
            await look()
            reachable = True
        except VaultError as error:
            if reachable:
                log.warning(
                    "The database cannot be read; what was seen last stays in force",
                    what=what,
                    why=error.code,
                )
            reachable = False
