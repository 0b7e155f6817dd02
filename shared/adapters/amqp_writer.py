import asyncio
from typing import Final

from aiormq.abc import AbstractConnection, ChannelFrame

#: Bytes that may wait to be sent. Whoever has more to say waits.
_MOST_WAITING_BYTES: Final = 1 << 20


class FrameWriter:
    """Writes the frames of one turn of the event loop together, on the driver's connection, past its objects.

    Its own way of publishing and settling costs more than all the rest of a request.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._waiting_bytes = 0
        self._flushing: asyncio.Task[None] | None = None

    @property
    def frame_max(self) -> int:
        """Bytes of a frame, at most."""
        return int(self._connection.connection_tune.frame_max)

    def write(self, frames: bytes) -> None:
        """Whole frames, of channels that are open. They are lost with the connection."""
        self._frames.append(frames)
        self._waiting_bytes += len(frames)
        if self._flushing is None or self._flushing.done():
            self._flushing = self._loop.create_task(self._flush(), name="frame writer")

    async def room(self, patience_seconds: float) -> bool:
        """Wait while too much is unsent. False: it still is."""
        return self._waiting_bytes <= _MOST_WAITING_BYTES or await self.flushed(patience_seconds)

    async def flushed(self, patience_seconds: float) -> bool:
        """Wait until all is in the socket's hands, or lost. False: it is not yet."""
        if self._flushing is None:
            return True
        done, _ = await asyncio.wait([self._flushing], timeout=patience_seconds)
        return bool(done)

    def lose(self) -> None:
        """The connection is gone."""
        if self._flushing is not None:
            self._flushing.cancel()

    async def _flush(self) -> None:
        while self._frames:
            frames, self._frames = b"".join(self._frames), []
            drained = self._loop.create_future()
            await self._connection.write_queue.put(
                ChannelFrame(frames, should_close=False, drain_future=drained)
            )
            await drained
            self._waiting_bytes -= len(frames)
