from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispenser.cli.session import opened, started
from dispenser.wiring.working import refreshing
from dispenser.wiring.world import World


@asynccontextmanager
async def opened_with_bus(role: str = "cli") -> AsyncIterator[World]:
    """The vault's stores and its broker.

    Where the broker is this process's memory, a refresher runs here too: no other could hear of anything.
    """
    async with opened(role) as here:
        await started(here)
        if not here.settings.embedded:
            yield here
            return
        async with refreshing(here):
            yield here
