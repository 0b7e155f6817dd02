"""A transport on which no publisher can cut a consumer's connection.

The driver decodes every property of a message, and one that it cannot decode (a timestamp in the year
584554049253, a text that is not UTF-8) ends the connection. The broker then delivers the message to the next
consumer, and ends that one's. RabbitMQ passes such properties on unseen, and any agent can send them.
"""

import asyncio
from typing import Any, Final, cast

import pamqp.frame
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from pamqp.commands import Basic
from pamqp.header import ContentHeader
from yarl import URL

_HEADER_BYTES: Final = 7
_END_BYTES: Final = 1
_CONTENT_HEADER: Final = 2
#: What a broker of another protocol version says instead of a frame (AMQP 0-9-1 §4.2.2).
_PROTOCOL_HEADER: Final = b"AMQP"


class CarefulTransport(TransportFactory):
    """Plain TCP or TLS, by the URL's scheme."""

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, writer = await factory.create(url, **kwargs)
        return cast(asyncio.StreamReader, CarefulReader(reader)), writer


class CarefulReader:
    """Reads frames, and replaces properties that cannot be decoded by none at all."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._frame = b""

    def at_eof(self) -> bool:
        return not self._frame and self._reader.at_eof()

    async def readexactly(self, count: int) -> bytes:
        """The next bytes of the current frame. Raises: asyncio.IncompleteReadError."""
        if not self._frame:
            self._frame = await self._next()
        taken, self._frame = self._frame[:count], self._frame[count:]
        return taken

    async def _next(self) -> bytes:
        head = await self._reader.readexactly(_HEADER_BYTES)
        if head.startswith(_PROTOCOL_HEADER):
            return head
        length = int.from_bytes(head[3:_HEADER_BYTES], "big")
        frame = head + await self._reader.readexactly(length + _END_BYTES)
        return decodable(frame) if head[0] == _CONTENT_HEADER else frame


def decodable(frame: bytes) -> bytes:
    """The content header as it is or, where the driver could not decode it, with its body's size alone."""
    try:
        pamqp.frame.unmarshal(frame)
    except Exception:  # noqa: BLE001 - what a decoder raises on hostile bytes is anybody's guess
        # After the frame's own 7 bytes: class (2), weight (2), body size (8) (AMQP 0-9-1 §2.3.5.2).
        body_bytes = int.from_bytes(frame[11:19], "big")
        bare = ContentHeader(body_size=body_bytes, properties=Basic.Properties())
        return pamqp.frame.marshal(bare, int.from_bytes(frame[1:3], "big"))
    return frame
