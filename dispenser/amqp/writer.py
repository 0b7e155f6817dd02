import asyncio
from collections.abc import Container
from typing import Final

from aiormq.abc import AbstractConnection

#: Bytes that may wait to be sent. Whoever has more to say waits.
_MOST_WAITING_BYTES: Final = 1 << 20


class FrameWriter:
    """Writes the frames of one turn of the event loop together, into the driver's socket, past its objects.

    Its own way of publishing and settling costs more than all the rest of a request. Whole frames go out,
    as the driver's own are, so neither cuts into the other's.
    """

    def __init__(
        self, connection: AbstractConnection, stream: asyncio.StreamWriter, closed: Container[int]
    ) -> None:
        """`closed`: the channels that the broker has closed, by now."""
        self._connection = connection
        self._stream = stream
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, bytes]] = []

    @property
    def frame_max(self) -> int:
        """Bytes of a frame, at most."""
        return int(self._connection.connection_tune.frame_max)

    def write(self, channel: int, frames: bytes) -> None:
        """Whole frames of a channel that is open. They are lost with it, and with the connection."""
        if not self._waiting:
            self._loop.call_soon(self.flush)
        self._waiting.append((channel, frames))

    def flush(self) -> None:
        """Send what waits now: before a channel's last word, say, behind which nothing may come."""
        waiting, self._waiting = self._waiting, []
        if waiting and not self._stream.is_closing():
            self._stream.write(
                b"".join([frames for channel, frames in waiting if channel not in self._closed])
            )

    async def room(self, patience_seconds: float) -> bool:
        """Wait while too much is unsent. False: it still is."""
        return self._unsent() <= _MOST_WAITING_BYTES or await self.flushed(patience_seconds)

    async def flushed(self, patience_seconds: float) -> bool:
        """Wait until next to nothing is unsent; what is left goes out before the driver's last word does.

        False: there still is more.
        """
        self.flush()
        try:
            async with asyncio.timeout(patience_seconds):
                await self._stream.drain()
        except (TimeoutError, ConnectionError):
            return False
        return True

    def _unsent(self) -> int:
        return self._stream.transport.get_write_buffer_size()
