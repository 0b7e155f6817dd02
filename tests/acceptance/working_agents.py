"""Agents that go on asking, whatever happens, and remember what came of each request."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from dispenser import Vault, VaultError

DEADLINE_SECONDS = 10.0
PAUSE_SECONDS = 0.02


class WorkingAgents:
    """Every request ends in a token or a typed error; anything else ends the test."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self._tokens = 0
        self._progress = asyncio.Condition()

    async def work(self, url: str, vault_token: str, service: str) -> None:
        async with Vault(url, vault_token) as vault:
            while True:
                try:
                    await vault.token(service, deadline=DEADLINE_SECONDS)
                except VaultError as error:
                    self.outcomes[error.code] += 1
                else:
                    self.outcomes["ok"] += 1
                    await self._count()
                vault._holder._memory._kept.clear()  # every call is a question to the vault
                await asyncio.sleep(PAUSE_SECONDS)

    async def go_on(self, tokens: int = 50) -> None:
        """Returns once so many more tokens have been handed out."""
        async with self._progress:
            wanted = self._tokens + tokens
            await self._progress.wait_for(lambda: self._tokens >= wanted)

    async def _count(self) -> None:
        async with self._progress:
            self._tokens += 1
            self._progress.notify_all()


@asynccontextmanager
async def working(*sessions: tuple[str, str, str]) -> AsyncIterator[WorkingAgents]:
    """Agents at work: of each (vault URL, vault token, service) one."""
    agents = WorkingAgents()
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(agents.work(*session)) for session in sessions]
        yield agents
        for task in tasks:
            task.cancel()
