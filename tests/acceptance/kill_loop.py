"""The vault's processes, killed and replaced: which, at what moment, and what lay on the disk just then."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any

from acceptance.installation import Installation

from dispenser.testing.emulator import Emulator
from shared import envelope, keyring
from shared.model import GrantId
from workers import spool_file
from workers.answer import Answer
from workers.spool_entry import Pending

REFRESHER = ("work", "refresher")
OTHERS = (("work", "scheduler"), ("work", "janitor"), ("serve",))
REFRESHERS = 3
LONGEST_PAUSE_SECONDS = 0.3
#: Of the kills, those that wait until a provider has a request in hand.
STEERED = 0.6
#: Of these, those that hit every refresher at once, and so the one whose request it is.
POWER_CUTS = 0.2
#: Longer than any stall of all grants at once.
PATIENCE_SECONDS = 180.0


class Zygote:
    """Starts the vault's processes in an instant: see the program `acceptance.zygote`."""

    def __init__(self, vault: Installation) -> None:
        self._vault = vault
        self._process = subprocess.Popen(
            [sys.executable, "-m", "acceptance.zygote"],
            env=vault.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def start(self, *arguments: str) -> int:
        """The pid of a process with its role's accounts and keys, and no others."""
        role = arguments[-1]
        return self._answer(
            {
                "arguments": arguments,
                "environment": self._vault.role(role),
                "log": str(self._vault.home / f"{role}.log"),
            }
        )

    def wait(self, pid: int) -> int:
        """The exit code of a process, once it has ended; negative for a signal."""
        return self._answer(pid)

    def close(self) -> None:
        with self._process:  # closes its pipes, and waits
            os.killpg(self._process.pid, signal.SIGKILL)

    def _answer(self, asked: Any) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


@dataclass
class Member:
    """A process that is killed and replaced."""

    arguments: tuple[str, ...]
    pid: int

    @property
    def name(self) -> str:
        return self.arguments[-1]


@dataclass
class KillLoop:
    """Kills at seeded moments, and replaces at once."""

    vault: Installation
    providers: dict[str, Emulator]
    zygote: Zygote
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    #: Grants and their generations for which new tokens were whole on the disk when a process was killed.
    kept: set[tuple[GrantId, int]] = field(default_factory=set)
    members: list[Member] = field(default_factory=list)

    @cached_property
    def keys(self) -> keyring.Keyring:
        """All of the vault's."""
        return keyring.parse((self.vault.home / "vault" / "keys.json").read_text())

    @property
    def refreshers(self) -> list[Member]:
        return self.members[:REFRESHERS]

    def start(self) -> None:
        every = [REFRESHER] * REFRESHERS + list(OTHERS)
        self.members = [Member(which, self.zygote.start(*which)) for which in every]

    async def kill(self, times: int) -> None:
        """So many processes, one by one or several at once."""
        wanted = self.killed.total() + times
        while self.killed.total() < wanted:
            victims = await self._victims()
            for member in victims:
                os.kill(member.pid, signal.SIGKILL)
                self.killed[member.name] += 1
            for member in victims:
                assert self.zygote.wait(member.pid) == -signal.SIGKILL, f"{member.name} ended by itself"
            self._look_at_the_disk()
            for member in victims:
                member.pid = self.zygote.start(*member.arguments)

    @asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """No refresher runs: each has ended as it was asked to, with nothing left in hand."""
        for member in self.refreshers:
            os.kill(member.pid, signal.SIGTERM)
        for member in self.refreshers:
            assert await asyncio.to_thread(self.zygote.wait, member.pid) == 0
        yield
        for member in self.refreshers:
            member.pid = self.zygote.start(*member.arguments)

    async def _victims(self) -> list[Member]:
        """Whose time has come: at any moment, or before, while or after a provider answers."""
        chance = self.chance
        if chance.random() >= STEERED:
            await asyncio.sleep(chance.uniform(0, LONGEST_PAUSE_SECONDS))
            return chance.choices(self.members, weights=[3] * REFRESHERS + [1] * len(OTHERS))
        await self._request()
        await asyncio.sleep(chance.uniform(0, 0.04))
        return self.refreshers if chance.random() < POWER_CUTS else [chance.choice(self.refreshers)]

    async def _request(self) -> None:
        """Returns once a provider has another request in hand."""
        before = self._received()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self._received() == before:  # noqa: ASYNC110 - the providers are in threads of their own
                await asyncio.sleep(0.002)

    def _received(self) -> int:
        # Not `requests`, which copies them: this is asked hundreds of times a second.
        return sum(len(provider._provider.journal.received) for provider in self.providers.values())

    def _look_at_the_disk(self) -> None:
        for path in (self.vault.home / "vault" / "spool").glob("*/*.spool"):
            for found in spool_file.entries(path):
                if self._is_success(found):
                    self.kept.add((found.entry.grant_id, found.entry.generation))

    def _is_success(self, found: Pending) -> bool:
        entry, sealed = found.entry, found.sealed
        if sealed is None:
            return False
        body = envelope.open_spooled(self.keys, entry.grant_id, entry.owner, entry.generation, sealed)
        return Answer.unpack(body).status == HTTPStatus.OK
