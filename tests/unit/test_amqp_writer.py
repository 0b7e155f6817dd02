import asyncio
import socket
from types import SimpleNamespace

from dispenser.amqp.writer import FrameWriter

LARGE = bytes(8 << 20)


async def test_a_broker_that_takes_nothing_holds_nobody_up_beyond_their_patience() -> None:
    ours, theirs = socket.socketpair()
    _, stream = await asyncio.open_connection(sock=ours)
    reader, other = await asyncio.open_connection(sock=theirs, limit=1 << 10)
    writer = FrameWriter(SimpleNamespace(), stream, ())  # type: ignore[arg-type]
    writer.write(1, b"frame")
    assert await writer.flushed(10.0)
    assert await writer.room(0.0)
    writer.write(1, LARGE)
    assert not await writer.flushed(0.0)
    assert not await writer.room(0.0)
    assert await reader.readexactly(5 + len(LARGE)) == b"frame" + LARGE
    assert await writer.room(10.0)
    assert await writer.flushed(10.0)
    for each in (stream, other):
        each.close()
        await each.wait_closed()


async def test_what_is_written_in_one_turn_is_sent_together_and_nothing_on_a_closed_connection() -> None:
    sent: list[bytes] = []
    stream = SimpleNamespace(write=sent.append, is_closing=lambda: len(sent) > 0)
    writer = FrameWriter(SimpleNamespace(), stream, ())  # type: ignore[arg-type]
    writer.write(1, b"one")
    writer.write(1, b"two")
    await asyncio.sleep(0)
    writer.write(1, b"three")
    await asyncio.sleep(0)
    assert sent == [b"onetwo"]


async def test_what_waits_on_a_channel_that_the_broker_has_closed_is_dropped() -> None:
    sent: list[bytes] = []
    stream = SimpleNamespace(write=sent.append, is_closing=lambda: False)
    closed: set[int] = set()
    writer = FrameWriter(SimpleNamespace(), stream, closed)  # type: ignore[arg-type]
    writer.write(3, b"three")
    writer.write(4, b"four")
    closed.add(3)
    await asyncio.sleep(0)
    assert sent == [b"four"]
