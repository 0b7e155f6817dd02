"""Kills a dispenser's audit at step after step: `python -m integration.audit_killed FOLDER FIRST COUNT`.

Each run forks a process that writes records, tells of each token as an agent would get it, and ships its
journal at the same time; SIGKILL comes before or after one of its steps. Then another ships what it left.
Prints a line of JSON for each run, with the tokens that were received and are in no record.
"""

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from builders import NOW
from contract.stores import a_record

from shared.adapters.audit_journal import FileAuditJournal
from shared.adapters.sql import audit as sql_audit
from shared.adapters.sql.store import SqlStore, migrate
from shared.audit_filter import AuditFilter
from workers import audit_shipping
from workers.audit_shipping import AuditShipping

WAVES: Final = 3
AGENTS: Final = 5
#: Steps of a run that nobody kills, about.
MOST_STEPS: Final = 32
tell = os.write


class Killer:
    """Ends this process before or after so many steps."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._left = chance.randrange(MOST_STEPS)
        self._after = chance.random() < 0.5

    def step(self, place: Any, name: str) -> None:
        """Calls of this name are steps from now on."""
        real = getattr(place, name)

        def stepped(*arguments: Any, **named: Any) -> Any:
            self._count(after=False)
            result = real(*arguments, **named)
            self._count(after=True)
            return result

        async def awaited(*arguments: Any, **named: Any) -> Any:
            self._count(after=False)
            result = await real(*arguments, **named)
            self._count(after=True)
            return result

        setattr(place, name, awaited if asyncio.iscoroutinefunction(real) else stepped)

    def _count(self, *, after: bool) -> None:
        if after is self._after:
            self._left -= 1
            if self._left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def work(folder: Path, url: str, seed: int, told: int) -> None:
    """Write and ship, to the end or to the kill."""
    store = SqlStore.open(url)
    shipping = AuditShipping(folder, store.audit.append, lambda: NOW)
    async with FileAuditJournal(folder, f"run-{seed}") as journal:

        async def dispense(token: str) -> None:
            await journal.append(a_record(session=f"run-{seed}", fingerprint=token))
            tell(told, f"{token}\n".encode())

        for wave in range(WAVES):
            tokens = [f"{seed}-{wave}-{agent}" for agent in range(AGENTS)]
            await asyncio.gather(*map(dispense, tokens), shipping.ship())
    await shipping.ship()
    await store.close()


def run_killed(folder: Path, url: str, seed: int, told: int) -> None:
    killer = Killer(seed)
    for place, name in STEPS:
        killer.step(place, name)
    asyncio.run(work(folder, url, seed, told))
    os._exit(0)


STEPS: Sequence[tuple[Any, str]] = (
    (os, "write"),
    (os, "fdatasync"),
    (os, "fsync"),
    (Path, "rename"),
    (Path, "replace"),
    (Path, "write_text"),
    (Path, "unlink"),
    (sql_audit, "held"),
    (sql_audit, "grow"),
    (sql_audit.SqlAudit, "append"),
    (audit_shipping, "checked"),
)


async def shipped(folder: Path, url: str, seed: int) -> set[str]:
    """The tokens in the audit, once all that was left is shipped."""
    store = SqlStore.open(url)
    try:
        await AuditShipping(folder, store.audit.append, lambda: NOW).ship()
        found = await store.audit.query(AuditFilter(session=f"run-{seed}"))
        return {record.fingerprint for record in found}
    finally:
        await store.close()


def one_run(folder: Path, url: str, seed: int) -> dict[str, object]:
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(heard)
        run_killed(folder, url, seed, told)
    os.close(told)
    with os.fdopen(heard) as pipe:
        received = set(pipe.read().split())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    missing = received - asyncio.run(shipped(folder, url, seed))
    return {"seed": seed, "code": code, "received": len(received), "missing": sorted(missing)}


def main(folder: Path, first: int, count: int) -> None:
    url = f"sqlite:///{folder / 'vault.db'}"
    migrate(url)
    for seed in range(first, first + count):
        print(json.dumps(one_run(folder / "audit", url, seed)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
