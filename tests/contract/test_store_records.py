"""The outbox gives each event until it is sent, the audit's index each record once."""

from dataclasses import replace

from contract.stores import NOW, a_record, an_event, claimed, granted, later, written_events

from shared import audit_line
from shared.audit_filter import AuditFilter
from shared.messages import EventType
from shared.model import AuditRecord, GrantState, Owner, ServiceName
from shared.ports import Failure, Store


async def test_events_wait_in_the_order_of_writing_until_they_are_sent(store: Store) -> None:
    events = [an_event(), an_event(type=EventType.RECOVERED, generation=None, details={}), an_event()]
    grant = await granted(store)
    await store.grants.revoke(grant.id, NOW, events)

    assert await written_events(store) == events
    assert await store.outbox.pending(2, written_before=later(1)) == events[:2]

    await store.outbox.sent([events[0].id, events[2].id])
    assert await written_events(store) == [events[1]]


async def test_events_just_written_are_left_to_their_writer(store: Store) -> None:
    """Who committed them also publishes them; only what it left behind is for others."""
    await store.grants.revoke((await granted(store)).id, NOW, [an_event()])

    assert await store.outbox.pending(10, written_before=NOW) == []


async def test_an_event_without_a_cause_in_the_database_waits_like_any_other(store: Store) -> None:
    event = an_event()
    for _ in range(2):
        await store.outbox.put([event], NOW)

    assert await written_events(store) == [event]


async def test_an_event_written_twice_waits_once(store: Store) -> None:
    event = an_event()
    claim = await claimed(store, await granted(store))
    failure = Failure(state=GrantState.REFRESH_FAILING, error="server_error", refresh_at=None)

    for _ in range(2):
        await store.rotations.fail(claim.intent, failure, now=NOW, events=[event])

    assert await written_events(store) == [event]


async def test_sending_nothing_is_no_mistake(store: Store) -> None:
    await store.outbox.sent([])
    assert await store.grants.claim_due(NOW, NOW, 10) == []


async def test_a_record_comes_back_as_it_was(store: Store) -> None:
    record = a_record(generation=3, sequence=2**40, reason="Policy trackers allows it.", purpose="日報 📈")

    await store.audit.append(lines(record))

    assert await store.audit.query() == [record]


async def test_records_appended_again_are_there_once(store: Store) -> None:
    first, second = a_record(), a_record()
    await store.audit.append(lines(first))

    await store.audit.append(lines(replace(first, outcome="altered"), second))
    await store.audit.append([])

    assert sorted(await store.audit.query(), key=lambda record: record.sequence) == [first, second]


async def test_records_of_two_writers_do_not_collide(store: Store) -> None:
    records = [a_record(writer="serve-1", sequence=1), a_record(writer="serve-2", sequence=1)]

    await store.audit.append(lines(*records))

    assert await store.audit.query() == records[::-1]


async def test_records_are_asked_for_by_field_and_time_newest_first(store: Store) -> None:
    old = a_record(at=later(-100))
    other = a_record(agent="digest", service="slack-post", owner="bob", at=later(1))
    new = a_record(at=later(2))
    await store.audit.append(lines(old, other, new))

    assert await store.audit.query() == [new, other, old]
    assert await store.audit.query(limit=1) == [new]
    assert await store.audit.query(AuditFilter(agent="tracker")) == [new, old]
    assert await store.audit.query(AuditFilter(service="slack-post")) == [other]
    assert await store.audit.query(AuditFilter(owner="bob", agent="tracker")) == []
    assert await store.audit.query(AuditFilter(since=later(1))) == [new, other]


async def test_a_text_that_no_database_holds_does_not_stop_the_audit(store: Store) -> None:
    """An agent writes the purpose: one crafted text must not keep everybody's records out."""
    crafted = [a_record(purpose="a\x00b\ud800"), a_record(owner="\x00\ud800"), a_record(scopes=("\x00",))]

    await store.audit.append(lines(*crafted))

    assert await store.audit.query() == crafted[::-1]


async def test_the_audit_knows_the_highest_generation_of_a_grant(store: Store) -> None:
    known = [a_record(generation=generation) for generation in (3, 7, None, 5)]
    await store.audit.append(lines(*known, a_record(owner="bob", generation=9)))

    assert await store.audit.generation(ServiceName("time-tracker"), Owner("ada")) == 7
    assert await store.audit.generation(ServiceName("time-tracker"), Owner("eve")) == 0


def lines(*records: AuditRecord) -> list[bytes]:
    return [audit_line.encode(record) for record in records]
