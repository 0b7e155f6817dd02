"""A transport that keeps deliveries from the driver, and hands them to their consumers itself.

The driver takes longer for a message than the vault does. And it decodes every property of it: one that it
cannot decode (a timestamp in the year 584554049253, a text that is not UTF-8) ends the connection; the broker
then delivers the message to the next consumer, and ends that one's. Any agent can send them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from shared.adapters import amqp_frames
from shared.adapters.amqp_frames import (
    BODY,
    DELIVER,
    FRAME_BYTES,
    HEAD_BYTES,
    HEADER,
    METHOD,
    Deliver,
    Properties,
)
from shared.ports import Delivery

#: What a consumer does with a delivery and its tag.
Taker = Callable[[int, Delivery], None]
_CHUNK_BYTES: Final = 1 << 18
#: The driver hears of a connection's life as often, while all that comes is taken from it.
_SIGN_OF_LIFE_SECONDS: Final = 5.0
#: What a broker of another protocol version says instead of a frame (AMQP 0-9-1 §4.2.2).
_PROTOCOL_HEADER: Final = b"AMQP"


class Deliveries:
    """Who takes the deliveries of which channel."""

    def __init__(self) -> None:
        self._takers: dict[int, Taker] = {}
        self._incoming: dict[int, _Incoming] = {}

    def take(self, channel: int, taker: Taker) -> None:
        """From now on, before anything is consumed on the channel."""
        self._takers[channel] = taker

    def leave(self, channel: int) -> None:
        """The channel is closed."""
        self._takers.pop(channel, None)
        self._incoming.pop(channel, None)

    def taken(self, kind: int, channel: int, payload: bytes) -> bool:
        """Whether a frame was part of a delivery to somebody here."""
        taker = self._takers.get(channel)
        if taker is None:
            return False
        if kind == METHOD:
            if not payload.startswith(DELIVER):
                return False
            self._incoming[channel] = _Incoming(amqp_frames.read_deliver(payload))
            return True
        incoming = self._incoming.get(channel)
        if incoming is None or kind not in (HEADER, BODY):
            return False
        if incoming.whole(kind, payload):
            del self._incoming[channel]
            taker(incoming.deliver.tag, incoming.delivery())
        return True


@dataclass(slots=True)
class _Incoming:
    """A delivery of which some frames have come."""

    deliver: Deliver
    properties: Properties | None = None
    missing_bytes: int = 0
    body: list[bytes] = field(default_factory=list)

    def whole(self, kind: int, payload: bytes) -> bool:
        """Take one more frame. Whether it was the last."""
        if kind == HEADER:
            self.properties = amqp_frames.read_properties(payload)
            self.missing_bytes = amqp_frames.body_bytes(payload)
        else:
            self.body.append(payload)
            self.missing_bytes -= len(payload)
        return self.missing_bytes <= 0

    def delivery(self) -> Delivery:
        properties = self.properties or Properties()
        return Delivery(
            body=b"".join(self.body),
            headers=properties.headers,
            routing_key=self.deliver.routing_key,
            correlation_id=properties.correlation_id,
            reply_to=properties.reply_to,
            user_id=properties.user_id,
            expiration_seconds=properties.expiration_seconds,
            redelivered=self.deliver.redelivered,
        )


class DeliveringTransport(TransportFactory):
    """Plain TCP or TLS, by the URL's scheme."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        #: Of the connection that was made last.
        self.writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self.writer = await factory.create(url, **kwargs)
        return cast(asyncio.StreamReader, DeliveringReader(reader, self._deliveries)), self.writer


class DeliveringReader:
    """What the driver reads its frames from: all but those of deliveries."""

    def __init__(self, reader: asyncio.StreamReader, deliveries: Deliveries) -> None:
        self._reader = reader
        self._deliveries = deliveries
        self._clock = asyncio.get_running_loop().time
        self._heard_at = self._clock()
        #: Has come, and is not looked at from `_at` on.
        self._buffer = b""
        self._at = 0
        #: The rest of the frame that the driver is reading.
        self._frame = b""

    def at_eof(self) -> bool:
        return not self._frame and self._at == len(self._buffer) and self._reader.at_eof()

    async def readexactly(self, count: int) -> bytes:
        """The next bytes of the driver's frame. Raises: asyncio.IncompleteReadError."""
        while not self._frame:
            self._frame = self._next() or await self._more()
        taken, self._frame = self._frame[:count], self._frame[count:]
        return taken

    def _next(self) -> bytes:
        """The driver's next frame, if it has come whole; the deliveries before it are handed over."""
        buffer, at = self._buffer, self._at
        while len(buffer) - at >= HEAD_BYTES:
            kind = buffer[at]
            if kind == _PROTOCOL_HEADER[0] and buffer.startswith(_PROTOCOL_HEADER, at):
                self._at = len(buffer)
                return buffer[at:]
            channel = int.from_bytes(buffer[at + 1 : at + 3], "big")
            end = at + FRAME_BYTES + int.from_bytes(buffer[at + 3 : at + HEAD_BYTES], "big")
            if len(buffer) < end:
                break
            self._at = end
            if not self._deliveries.taken(kind, channel, buffer[at + HEAD_BYTES : end - 1]):
                self._heard_at = self._clock()
                return buffer[at:end]
            at = end
        return b""

    async def _more(self) -> bytes:
        """Wait for more to come. A sign of life for the driver, if it is time for one."""
        if self._clock() > self._heard_at + _SIGN_OF_LIFE_SECONDS and self._at:
            self._heard_at = self._clock()
            return amqp_frames.HEARTBEAT
        chunk = await self._reader.read(_CHUNK_BYTES)
        if not chunk:
            raise asyncio.IncompleteReadError(self._buffer[self._at :], HEAD_BYTES)
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        return b""
