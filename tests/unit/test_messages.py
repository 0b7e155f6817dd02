"""What travels between our own processes comes back as it went, and whatever else comes is refused."""

import json
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import MalformedMessage
from shared.messages import (
    MAX_BODY_BYTES,
    MAX_GENERATION,
    EnrolmentEvent,
    EventType,
    ExpiryEvent,
    LifecycleEvent,
    Reason,
    RefresherMessage,
    decode,
    encode,
)
from shared.model import EnrolmentId, GrantId, Owner, ServiceName

EXPIRY = {"kind": "expiry", "grant": "g1", "generation": 3, "reason": "due"}
ENROLMENT = {"kind": "enrolment", "enrolment": "e1"}
EVENT = LifecycleEvent(
    id="event-1",
    type=EventType.REFRESH_FAILED,
    at=datetime(2026, 11, 24, 8, 0, 0, 123456, tzinfo=UTC),
    service=ServiceName("time-tracker"),
    owner=Owner("ada"),
    generation=3,
    details={"error": "invalid_grant"},
)
IDS = st.text(min_size=1, max_size=200)
MESSAGES = st.builds(
    ExpiryEvent,
    grant_id=IDS.map(GrantId),
    generation=st.integers(0, MAX_GENERATION),
    reason=st.sampled_from(Reason),
) | st.builds(EnrolmentEvent, enrolment_id=IDS.map(EnrolmentId))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(MESSAGES)
def test_a_message_comes_back_as_it_went(message: RefresherMessage) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=300) | VALUES.map(msgpack.packb))
def test_garbage_is_refused_as_such(garbage: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(garbage)


@given(st.sampled_from([EXPIRY, ENROLMENT]), st.data())
def test_a_message_with_any_field_of_another_kind_is_refused_or_means_what_it_says(
    fields: dict[str, Any], data: st.DataObject
) -> None:
    changed = {**fields, data.draw(st.sampled_from(sorted(fields))): data.draw(VALUES)}
    try:
        message = decode(msgpack.packb(changed))
    except MalformedMessage:
        return
    assert msgpack.unpackb(encode(message)).items() <= changed.items()


@pytest.mark.parametrize("generation", [True, -1, MAX_GENERATION + 1, 3.0, "3", None])
def test_a_generation_is_a_number_that_a_database_holds(generation: object) -> None:
    with pytest.raises(MalformedMessage):
        decode(msgpack.packb(EXPIRY | {"generation": generation}))


@pytest.mark.parametrize(
    "body",
    [
        msgpack.packb(EXPIRY | {"more": "x" * MAX_BODY_BYTES}),
        b"\x91" * MAX_BODY_BYTES,
        b"\xdf\xff\xff\xff\xff",
        msgpack.packb(EXPIRY) + b"\x00",
        msgpack.packb(EXPIRY | {"more": msgpack.ExtType(5, b"x")}),
        msgpack.packb([EXPIRY]),
    ],
)
def test_what_costs_more_than_its_worth_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode(body)


def test_a_refusal_does_not_repeat_what_it_refuses() -> None:
    with pytest.raises(MalformedMessage) as refusal:
        decode(msgpack.packb(EXPIRY | {"reason": "CANARY"}))
    assert "CANARY" not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_an_event_carries_what_cloudevents_want() -> None:
    assert EVENT.headers() == {
        "cloudEvents:specversion": "1.0",
        "cloudEvents:id": "event-1",
        "cloudEvents:type": "dev.token-dispenser.vault.credential.refresh_failed.v1",
        "cloudEvents:source": "token-dispenser",
        "cloudEvents:subject": "time-tracker/ada",
        "cloudEvents:time": "2026-11-24T08:00:00.123456+00:00",
    }


def test_an_events_data_is_whose_it_is_and_what_became_of_it() -> None:
    assert json.loads(EVENT.body()) == {
        "service": "time-tracker",
        "owner": "ada",
        "generation": 3,
        "error": "invalid_grant",
    }


def test_neither_message_has_a_place_for_a_secret() -> None:
    """A token could only travel in a field that is there; every one is known by name."""
    named = {*ExpiryEvent.__dataclass_fields__, *EnrolmentEvent.__dataclass_fields__}
    assert named == {"grant_id", "generation", "reason", "enrolment_id"}
    assert set(LifecycleEvent.__dataclass_fields__) == {
        *("id", "type", "at", "service", "owner", "generation", "details")
    }
