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
        self._vaults: list[Vault] = []

    async def work(self, url: str, vault_token: str, service: str) -> None:
        async with Vault(url, vault_token) as vault:
            self._vaults.append(vault)
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

    async def renew(self) -> None:
        """Have every agent renew its vault token, and return once all have."""
        asking = [vault._holder._asking for vault in self._vaults]
        before = {each: each._transport._credential for each in asking}
        for each in asking:
            each._renewal._schedule(0.0)
        async with self._progress:
            await self._progress.wait_for(
                lambda: all(each._transport._credential is not held for each, held in before.items())
            )

    def vault_tokens(self) -> list[str]:
        """Those that the agents hold now."""
        return [vault._holder._asking._transport._credential.text for vault in self._vaults]

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
