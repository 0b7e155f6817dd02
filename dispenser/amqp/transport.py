"""A transport that keeps deliveries from the driver, and hands them to their consumers itself.

The driver takes longer for a message than the vault does. And it decodes every property of it: one that it
cannot decode (a timestamp in the year 584554049253, a text that is not UTF-8) ends the connection; the broker
then delivers the message to the next consumer, and ends that one's. Any agent can send them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, cast

from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from dispenser.amqp import frames
from dispenser.amqp.frames import (
    ACK,
    BODY,
    CHANNEL_CLOSE,
    CHANNEL_OPEN,
    DELIVER,
    FRAME_BYTES,
    HEAD_BYTES,
    HEADER,
    METHOD,
    NACK,
    RETURN,
    Confirm,
    Deliver,
    Properties,
)

#: What is done with a message.
Taker = Callable[["Message"], None]
_CHUNK_BYTES: Final = 1 << 18
#: The driver hears of a connection's life as often, while all that comes is taken from it.
_SIGN_OF_LIFE_SECONDS: Final = 5.0
#: What a broker of another protocol version says instead of a frame (AMQP 0-9-1 §4.2.2).
_PROTOCOL_HEADER: Final = b"AMQP"


@dataclass(frozen=True, slots=True)
class Message:
    """One that has come whole."""

    deliver: Deliver
    properties: Properties
    body: bytes = field(repr=False)


class Confirms(Protocol):
    """What a publisher hears of its messages (https://www.rabbitmq.com/docs/confirms)."""

    def confirmed(self, confirm: Confirm) -> None:
        """The broker has taken a message, or has not."""

    def returned(self, message: Message) -> None:
        """No queue takes this one."""


class Deliveries:
    """Who takes the deliveries of which channel, and hears its confirms."""

    def __init__(self) -> None:
        self._takers: dict[int, tuple[Taker, Confirms | None]] = {}
        self._incoming: dict[int, _Incoming] = {}
        #: Channels that the broker has closed: a frame on one of them costs the connection.
        self.closed: set[int] = set()

    def take(self, channel: int, taker: Taker, confirms: Confirms | None = None) -> None:
        """From now on, before anything is consumed on the channel. `confirms` None: they are the driver's."""
        self._takers[channel] = taker, confirms

    def leave(self, channel: int) -> None:
        """The channel is closed."""
        self._takers.pop(channel, None)
        self._incoming.pop(channel, None)

    def taken(self, kind: int, channel: int, payload: bytes) -> bool:
        """Whether a frame was for somebody here."""
        takers = self._takers.get(channel)
        if takers is None:
            return False
        if kind == METHOD:
            return self._begun(channel, payload, *takers)
        incoming = self._incoming.get(channel)
        if incoming is None or kind not in (HEADER, BODY):
            return False
        if incoming.whole(kind, payload):
            del self._incoming[channel]
            incoming.taker(incoming.message())
        return True

    def passed(self, kind: int, channel: int, payload: bytes) -> None:
        """A frame is the driver's, which may be some turns late in hearing that a channel is closed."""
        if kind != METHOD:
            return
        if payload.startswith(CHANNEL_CLOSE):
            self.closed.add(channel)
        elif payload.startswith(CHANNEL_OPEN):
            self.closed.discard(channel)

    def _begun(self, channel: int, payload: bytes, taker: Taker, confirms: Confirms | None) -> bool:
        method = payload[: len(DELIVER)]
        if method == DELIVER:
            self._incoming[channel] = _Incoming(taker, frames.read_deliver(payload))
        elif confirms is not None and method in (ACK, NACK):
            confirms.confirmed(frames.read_confirm(payload))
        elif confirms is not None and method == RETURN:
            self._incoming[channel] = _Incoming(confirms.returned, _RETURNED)
        else:
            return False
        return True


#: A message that comes back was never delivered.
_RETURNED: Final = Deliver(tag=0, redelivered=False, routing_key="")


@dataclass(slots=True)
class _Incoming:
    """A message of which some frames have come."""

    taker: Taker
    deliver: Deliver
    properties: Properties = field(default_factory=Properties)
    missing_bytes: int = 0
    body: list[bytes] = field(default_factory=list)

    def whole(self, kind: int, payload: bytes) -> bool:
        """Take one more frame. Whether it was the last."""
        if kind == HEADER:
            self.properties = frames.read_properties(payload)
            self.missing_bytes = frames.body_bytes(payload)
        else:
            self.body.append(payload)
            self.missing_bytes -= len(payload)
        return self.missing_bytes <= 0

    def message(self) -> Message:
        return Message(self.deliver, self.properties, b"".join(self.body))


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
            payload = buffer[at + HEAD_BYTES : end - 1]
            if not self._deliveries.taken(kind, channel, payload):
                self._deliveries.passed(kind, channel, payload)
                self._heard_at = self._clock()
                return buffer[at:end]
            at = end
        return b""

    async def _more(self) -> bytes:
        """Wait for more to come. A sign of life for the driver, if it is time for one."""
        if self._clock() > self._heard_at + _SIGN_OF_LIFE_SECONDS and self._at:
            self._heard_at = self._clock()
            return frames.HEARTBEAT
        chunk = await self._reader.read(_CHUNK_BYTES)
        if not chunk:
            raise asyncio.IncompleteReadError(self._buffer[self._at :], HEAD_BYTES)
        self._buffer, self._at = self._buffer[self._at :] + chunk, 0
        return b""
