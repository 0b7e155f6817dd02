"""What the driver is left with, and what goes past it, however the bytes come in."""

import asyncio
import itertools
from collections import defaultdict

import pamqp.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel
from pamqp.header import ContentHeader

from dispenser.amqp import transport as amqp_transport
from dispenser.amqp.frames import HEAD_BYTES, HEARTBEAT
from dispenser.amqp.transport import Deliveries, DeliveringReader, Message

Flow = Channel.Flow
TAKEN, ALSO_TAKEN, OTHER = 3, 5, 4


def message(channel: int, tag: int, body: bytes, parts: int) -> list[bytes]:
    properties = Basic.Properties(correlation_id=str(tag), reply_to="reply", user_id="ada")
    step = max(1, -(-len(body) // parts))
    frames = [
        Basic.Deliver("consumer", tag, False, "", "vault.token"),
        ContentHeader(0, len(body), properties),
        *(ContentBody(body[at : at + step]) for at in range(0, len(body), step)),
    ]
    return [pamqp.frame.marshal(frame, channel) for frame in frames]


MESSAGES = st.lists(
    st.tuples(st.sampled_from([TAKEN, ALSO_TAKEN, OTHER]), st.binary(max_size=50), st.integers(1, 3)),
    max_size=6,
)


@given(MESSAGES, st.lists(st.integers(1, 200), min_size=1, max_size=20))
def test_deliveries_go_to_their_taker_and_all_else_to_the_driver(sent, chunks):
    taken: list[tuple[int, bytes, str | None]] = []
    by_channel, expected = defaultdict(list), []
    for tag, (channel, body, parts) in enumerate(sent):
        by_channel[channel] += message(channel, tag, body, parts)
        by_channel[channel].append(pamqp.frame.marshal(Flow(active=True), channel))
        if channel != OTHER:
            expected.append((tag, body, str(tag)))
    # Frames of other channels may come between those of a message (AMQP 0-9-1 §4.2.6).
    rounds = itertools.zip_longest(*by_channel.values(), fillvalue=b"")
    stream = [frame for frames in rounds for frame in frames]
    others = [frame for frame in stream if frame and is_drivers(frame)]

    async def read() -> list[bytes]:
        deliveries, reader = Deliveries(), asyncio.StreamReader()
        for channel in (TAKEN, ALSO_TAKEN):
            deliveries.take(channel, lambda got: taken.append(of(got)))
        driven, feeding = DeliveringReader(reader, deliveries), asyncio.create_task(feed(reader))
        frames = [await frame(driven) for _ in others]
        with pytest.raises(asyncio.IncompleteReadError):
            await driven.readexactly(1)
        await feeding
        assert driven.at_eof()
        return frames

    async def feed(reader: asyncio.StreamReader) -> None:
        rest, number = b"".join(stream), 0
        while rest:
            size = chunks[number % len(chunks)]
            reader.feed_data(rest[:size])
            rest, number = rest[size:], number + 1
            await asyncio.sleep(0)
        reader.feed_eof()

    assert asyncio.run(read()) == others
    assert sorted(taken) == expected


def of(got: Message) -> tuple[int, bytes, str | None]:
    return got.deliver.tag, got.body, got.properties.correlation_id


def is_drivers(frame: bytes) -> bool:
    return int.from_bytes(frame[1:3], "big") == OTHER or isinstance(pamqp.frame.unmarshal(frame)[2], Flow)


async def frame(reader: DeliveringReader) -> bytes:
    """As the driver reads one."""
    head = await reader.readexactly(1) + await reader.readexactly(HEAD_BYTES - 1)
    return head + await reader.readexactly(int.from_bytes(head[3:], "big") + 1)


async def test_a_driver_whose_frames_are_all_taken_hears_that_the_connection_lives(monkeypatch):
    monkeypatch.setattr(amqp_transport, "_SIGN_OF_LIFE_SECONDS", 0.0)
    deliveries, reader = Deliveries(), asyncio.StreamReader()
    deliveries.take(TAKEN, lambda *_: None)
    reader.feed_data(b"".join(message(TAKEN, 1, b"body", 1)))
    assert await frame(DeliveringReader(reader, deliveries)) == HEARTBEAT


async def test_a_channel_that_is_left_is_the_drivers_again():
    deliveries, reader = Deliveries(), asyncio.StreamReader()
    deliveries.take(TAKEN, lambda *_: None)
    deliveries.leave(TAKEN)
    frames = message(TAKEN, 1, b"body", 1)
    reader.feed_data(b"".join(frames))
    assert await frame(DeliveringReader(reader, deliveries)) == frames[0]


async def test_a_channel_counts_as_closed_from_the_brokers_word_on_until_it_is_opened_again():
    deliveries, reader = Deliveries(), asyncio.StreamReader()
    driven = DeliveringReader(reader, deliveries)
    seen = []
    for method in (Channel.Close(404, "gone", 60, 40), Channel.Flow(active=True), Channel.OpenOk()):
        reader.feed_data(pamqp.frame.marshal(method, OTHER))
        await frame(driven)
        seen.append(set(deliveries.closed))
    assert seen == [{OTHER}, {OTHER}, set()]


async def test_a_broker_of_another_protocol_is_heard_out():
    reader = asyncio.StreamReader()
    reader.feed_data(b"AMQP\x00\x00\x09\x01")
    assert await DeliveringReader(reader, Deliveries()).readexactly(7) == b"AMQP\x00\x00\x09"
