import asyncio
from types import SimpleNamespace

from aiormq.abc import ChannelFrame

from shared.adapters.amqp_writer import FrameWriter


async def test_a_broker_that_takes_nothing_holds_nobody_up_beyond_their_patience() -> None:
    queue: asyncio.Queue[ChannelFrame] = asyncio.Queue()
    writer = FrameWriter(SimpleNamespace(write_queue=queue))  # type: ignore[arg-type]
    writer.write(bytes(1 << 20))
    assert await writer.room(0.0)
    writer.write(b"more")
    assert not await writer.room(0.0)
    assert not await writer.flushed(0.0)
    frame = await queue.get()
    assert frame.payload == bytes(1 << 20) + b"more"
    frame.drain()
    assert await writer.flushed(10.0)
    assert await writer.room(0.0)
