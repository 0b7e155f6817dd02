import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

import structlog

from dispenser.allowance import Allowances
from shared.ending import end
from shared.errors import AuditUnavailable
from shared.model import AuditRecord
from shared.ports import AuditJournal

#: Refusals of one kind and sender written whole: so many at once, and so many a second from then on.
AT_ONCE: Final = 100
PER_SECOND: Final = 0.1
#: Kinds and senders counted between two summaries; what comes on top is counted together.
MOST_COUNTED: Final = 1000
SUMMARY_SECONDS: Final = 60.0
log = structlog.get_logger()


@dataclass(slots=True)
class _Counted:
    last: AuditRecord
    times: int = 0


class BoundedJournal:
    """An audit journal that nobody fills by being refused: many refusals alike are counted, not written.

    What handed something out is always written, and so is what happens now and then.
    """

    def __init__(self, journal: AuditJournal) -> None:
        self._journal = journal
        self._allowances = Allowances()
        self._counted: dict[str, _Counted] = {}

    async def append(self, *records: AuditRecord) -> None:
        """Returns once every record is durable, or counted. Raises: AuditUnavailable."""
        written = [record for record in records if record.outcome == "ok" or self._is_worth_a_line(record)]
        if written:
            await self._journal.append(*written)

    def _count(self, record: AuditRecord) -> None:
        key = _alike(record) if len(self._counted) < MOST_COUNTED else ""
        counted = self._counted.setdefault(key, _Counted(record))
        counted.last, counted.times = record, counted.times + 1

    async def summarize(self) -> None:
        """Write what was counted since the last time, a record for each kind and sender.

        Raises: AuditUnavailable; the counts go on then.
        """
        for key in list(self._counted):
            counted = self._counted[key]
            times = counted.times
            await self._journal.append(_summary(counted.last, times))
            counted.times -= times
            if not counted.times:
                del self._counted[key]

    def _is_worth_a_line(self, record: AuditRecord) -> bool:
        now = asyncio.get_running_loop().time()
        wait = self._allowances.spend(_alike(record), 1, now, per_second=PER_SECOND, at_once=AT_ONCE)
        if wait:
            self._count(record)
        return not wait


@asynccontextmanager
async def bounded(journal: AuditJournal) -> AsyncIterator[BoundedJournal]:
    """A bounded journal that summarizes every minute, and at its end."""
    bound = BoundedJournal(journal)
    summarizing = asyncio.create_task(_keep_summarizing(bound), name="summarize refusals")
    try:
        yield bound
    finally:
        await end([summarizing])
        await _attempt(bound)


async def _keep_summarizing(bound: BoundedJournal) -> None:
    while True:
        await asyncio.sleep(SUMMARY_SECONDS)
        await _attempt(bound)


async def _attempt(bound: BoundedJournal) -> None:
    try:
        await bound.summarize()
    except AuditUnavailable as error:
        log.warning("Counted refusals are not in the audit yet", why=str(error))


def _alike(record: AuditRecord) -> str:
    # Where no agent is known the reason names the broker's user. Nothing that an agent may choose at will
    # is part of it, or every refusal would be one of a kind.
    return f"{record.action} {record.outcome} {record.door} {record.agent or record.reason}"


def _summary(last: AuditRecord, times: int) -> AuditRecord:
    """The last of them speaks for all, but for what differed from one to the next."""
    return replace(
        last,
        session="",
        owner="",
        service="",
        scopes=(),
        request_id="",
        purpose="",
        actors=(),
        reason=f"{times} more like this were counted and not written. The last: {last.reason}",
        count=times,
    )
