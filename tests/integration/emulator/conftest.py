from collections.abc import AsyncIterator

import httpx
import pytest
from integration.emulator.oauth_client import Client, Clock

from dispenser.testing import Emulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider(clock: Clock) -> AsyncIterator[Emulator]:
    async with Emulator(clock=clock, api_scopes={"tasks": "tasks:write"}) as emulator:
        yield emulator


@pytest.fixture
async def client(provider: Emulator) -> AsyncIterator[Client]:
    async with httpx.AsyncClient() as http:
        yield Client(provider, http)
