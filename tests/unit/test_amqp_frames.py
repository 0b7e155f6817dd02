"""Our frames beside those of pamqp, which the driver reads and writes."""

import contextlib
from datetime import UTC, datetime

import pamqp.frame
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from dispenser.amqp import frames as amqp_frames
from dispenser.amqp.frames import HEAD_BYTES, Confirm, Properties

CHANNEL = 7
SHORT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
#: Of a header: pamqp cuts one off behind 128 bytes, which a character has up to four of.
KEY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=32)
#: pamqp holds names to the letter of the specification.
NAME = st.from_regex(r"[a-zA-Z0-9._:-]{0,60}", fullmatch=True)
#: pamqp writes no more than 63 bits.
TAGS = st.integers(0, 2**63 - 1)


def payload_of(frame: object) -> bytes:
    return pamqp.frame.marshal(frame, CHANNEL)[HEAD_BYTES:-1]


@given(NAME, TAGS, st.booleans(), NAME, NAME)
def test_a_delivery_is_read_as_the_broker_wrote_it(tag_text, tag, redelivered, exchange, key):
    read = amqp_frames.read_deliver(payload_of(Basic.Deliver(tag_text, tag, redelivered, exchange, key)))
    assert (read.tag, read.redelivered, read.routing_key) == (tag, redelivered, key)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "content_type": SHORT,
            "content_encoding": SHORT,
            "headers": st.dictionaries(KEY, st.integers(-(2**31), 2**31 - 1), max_size=3),
            "delivery_mode": st.integers(1, 2),
            "priority": st.integers(0, 255),
            "correlation_id": SHORT,
            "reply_to": SHORT,
            "expiration": st.integers(0, 10**10).map(str),
            "message_id": SHORT,
            "timestamp": st.integers(0, 2**33).map(lambda at: datetime.fromtimestamp(at, UTC)),
            "message_type": SHORT,
            "user_id": SHORT,
            "app_id": SHORT,
        },
    ),
    TAGS,
)
def test_properties_are_read_as_the_publisher_set_them(set_, body_bytes):
    payload = payload_of(ContentHeader(0, body_bytes, Basic.Properties(**set_)))
    read = amqp_frames.read_properties(payload)
    assert amqp_frames.body_bytes(payload) == body_bytes
    assert (read.correlation_id, read.reply_to, read.user_id) == (
        set_.get("correlation_id"),
        set_.get("reply_to"),
        set_.get("user_id"),
    )
    assert read.headers == set_.get("headers", {})
    expiration = set_.get("expiration")
    assert read.expiration_seconds == (None if expiration is None else int(expiration) / 1000)


@given(st.binary(max_size=200))
@example(b"\x00\x3c\x00\x00" + bytes(8) + b"\x02\x00\x05abc")  # a text that is cut short
@example(b"\x00\x3c\x00\x00" + bytes(8) + b"\x20\x00\xff\xff\xff\xff")  # a table of 4 GiB
@example(b"\x00\x3c\x00\x00" + bytes(8) + b"\x02\x00\x01\xff")  # a text that is not UTF-8
@example(b"\x00\x3c\x00\x00" + bytes(8) + b"\x01\x00\x01x")  # an expiration that is no number
def test_whatever_the_properties_nothing_is_raised(payload):
    assert isinstance(amqp_frames.read_properties(payload), Properties)


def test_an_impossible_timestamp_leaves_the_other_properties():
    payload = b"\x00\x3c\x00\x00" + bytes(8) + b"\x00\x50" + b"\xff" * 8 + b"\x03ada"
    assert amqp_frames.read_properties(payload).user_id == "ada"


@given(st.binary(max_size=60))
def test_a_delivery_that_is_cut_short_raises_nothing_but_a_value_error(payload):
    with contextlib.suppress(ValueError):
        amqp_frames.read_deliver(payload)


@given(TAGS, st.booleans())
def test_a_settlement_is_the_drivers_own(tag, requeue):
    assert amqp_frames.ack(CHANNEL, tag) == pamqp.frame.marshal(Basic.Ack(tag), CHANNEL)
    rejected = pamqp.frame.marshal(Basic.Reject(tag, requeue), CHANNEL)
    assert amqp_frames.reject(CHANNEL, tag, requeue=requeue) == rejected


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 20_000])
def test_a_reply_is_a_transient_message_to_the_default_exchange_in_frames_of_the_agreed_size(size):
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    properties = Properties(correlation_id="id", expiration_seconds=30.0)
    frames = amqp_frames.publish(CHANNEL, "", "vault.reply.ada.0", body, properties, frame_max=4096)
    read = list(unmarshalled(frames))
    method, header, *bodies = read
    assert (method.name, method.exchange, method.routing_key) == ("Basic.Publish", "", "vault.reply.ada.0")
    assert not method.mandatory
    assert not method.immediate
    assert header.body_size == size
    assert (header.properties.correlation_id, header.properties.expiration) == ("id", "30000")
    assert header.properties.delivery_mode == 1
    assert b"".join(part.value for part in bodies) == body


@given(NAME, NAME, NAME, NAME)
def test_a_request_says_whose_it_is_and_where_its_answer_goes(kind, name, reply_to, user):
    properties = Properties(
        content_type=kind, correlation_id=name, reply_to=reply_to, user_id=user, expiration_seconds=1.5
    )
    frames = amqp_frames.publish(
        CHANNEL, "vault.rpc", "token.get", b"body", properties, mandatory=True, frame_max=4096
    )
    method, header, body = unmarshalled(frames)
    assert (method.exchange, method.routing_key, method.mandatory) == ("vault.rpc", "token.get", True)
    said = header.properties
    assert (said.content_type, said.correlation_id, said.reply_to, said.user_id) == (
        kind,
        name,
        reply_to,
        user,
    )
    assert said.expiration == "1500"
    assert body.value == b"body"


@given(TAGS, st.booleans())
def test_a_confirm_is_read_as_the_broker_wrote_it(tag, multiple):
    acknowledged, refused = payload_of(Basic.Ack(tag, multiple)), payload_of(Basic.Nack(tag, multiple))
    assert amqp_frames.read_confirm(acknowledged) == Confirm(tag, multiple, accepted=True)
    assert amqp_frames.read_confirm(refused) == Confirm(tag, multiple, accepted=False)


@given(st.binary(max_size=20))
def test_a_confirm_that_is_cut_short_raises_nothing_but_a_value_error(payload):
    with contextlib.suppress(ValueError):
        amqp_frames.read_confirm(payload)


def unmarshalled(frames: bytes):
    while frames:
        consumed, channel, frame = pamqp.frame.unmarshal(frames)
        assert channel == CHANNEL
        assert consumed <= 4096
        yield frame
        frames = frames[consumed:]
