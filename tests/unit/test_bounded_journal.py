"""Nobody fills the audit by being refused; what was handed out is always in it."""

from dataclasses import replace

import pytest
from builders import NOW
from integration.desk import Journal

from dispenser.bounded_journal import AT_ONCE, MOST_COUNTED, BoundedJournal, bounded
from shared.errors import AuditUnavailable
from shared.model import AuditRecord

MANY = 10_000
REFUSED = AuditRecord(
    writer="", sequence=0, at=NOW, action="token.denied", outcome="denied", agent="intern",
    service="time-tracker", request_id="r", door="amqp", reason="No policy allows it.",
)  # fmt: skip
HANDED = replace(REFUSED, action="token.dispensed", outcome="ok", agent="tracker", reason="")


async def test_everything_handed_out_is_written() -> None:
    inner = Journal()
    journal = BoundedJournal(inner)
    for _ in range(MANY):
        await journal.append(HANDED)
    assert len(inner.records) == MANY


async def test_refusals_alike_are_written_up_to_a_number_and_counted_beyond() -> None:
    inner = Journal()
    journal = BoundedJournal(inner)
    for number in range(MANY):
        await journal.append(replace(REFUSED, service=f"service-{number}", request_id=f"{number}"))
    assert len(inner.records) <= AT_ONCE + 1
    written = len(inner.records)
    await journal.summarize()
    summary = inner.records[-1]
    assert len(inner.records) == written + 1
    assert (summary.action, summary.outcome, summary.agent) == ("token.denied", "denied", "intern")
    assert summary.count == MANY - written
    assert summary.reason.startswith(f"{MANY - written} more like this")
    await journal.summarize()
    assert len(inner.records) == written + 1


async def test_a_flood_of_one_agents_refusals_hides_no_others() -> None:
    inner = Journal()
    journal = BoundedJournal(inner)
    for _ in range(MANY):
        await journal.append(REFUSED)
    other = replace(REFUSED, agent="tracker")
    await journal.append(other)
    assert inner.records[-1] == other


async def test_senders_without_end_take_no_memory_without_end() -> None:
    inner = Journal()
    journal = BoundedJournal(inner)
    for number in range(MOST_COUNTED + 50):
        for _ in range(AT_ONCE + 1):
            await journal.append(replace(REFUSED, agent=f"agent-{number}"))
    assert len(journal._counted) <= MOST_COUNTED + 1


async def test_counts_outlive_a_journal_that_fails_and_are_written_at_the_end() -> None:
    inner = Journal()
    async with bounded(inner) as journal:
        for _ in range(AT_ONCE + 50):
            await journal.append(REFUSED)
        inner.broken = True
        with pytest.raises(AuditUnavailable):
            await journal.summarize()
        inner.broken = False
    assert "more like this" in inner.records[-1].reason
