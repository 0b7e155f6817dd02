"""What every command starts with: settings, a world, a loop."""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from dispenser.wiring import authority
from dispenser.wiring.process import run
from dispenser.wiring.world import World, world
from shared import settings as shared_settings
from shared.errors import BusUnavailable
from shared.settings import Settings
from shared.telemetry import configure

T = TypeVar("T")
BUS_PATIENCE_SECONDS = 10.0


def settings() -> Settings:
    """The settings of this command. Raises: ConfigurationError."""
    here = shared_settings.from_environment(os.environ, default_home=Path.home() / ".dispenser")
    authority.require(here.ca_file)
    authority.require(here.provider_ca_file, "DISPENSER_PROVIDER_CA_FILE")
    return here


def execute(command: Coroutine[Any, Any, T]) -> T:
    """Run a command's script to its end; its log tells of nothing but trouble."""
    configure("warning")
    return run(command)


def execute_process(process: Coroutine[Any, Any, T]) -> T:
    """Run one of the vault's processes, which log as the settings say."""
    configure(settings().log_level)
    return run(process)


@asynccontextmanager
async def opened(role: str = "cli") -> AsyncIterator[World]:
    """The vault's stores, checked to be there; the broker is left alone."""
    async with world(settings(), role) as here:
        await here.store.ping()
        yield here


async def started(here: World) -> None:
    """Connect to the broker, for a person who waits. Raises: BusUnavailable."""
    try:
        await asyncio.wait_for(here.bus.start(), BUS_PATIENCE_SECONDS)
    except TimeoutError:
        raise BusUnavailable(f"No broker has answered within {BUS_PATIENCE_SECONDS:.0f} s.") from None
