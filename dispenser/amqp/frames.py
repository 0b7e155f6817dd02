"""The frames of AMQP 0-9-1 that a request's way takes, read and written without the driver's objects.

They are most of what a message costs there. All other frames stay the driver's.
Shapes: §2.3.5 (frames), §4.2.6 (content) and the generated tables of the specification
(https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf). Numbers are big-endian.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import pamqp.decode

METHOD, HEADER, BODY = 1, 2, 3
#: Before a frame's payload: type, channel, length of the payload.
HEAD_BYTES: Final = 7
END: Final = b"\xce"
#: Of a frame, beside its payload.
FRAME_BYTES: Final = HEAD_BYTES + len(END)
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00" + END
#: Class and method of what a broker says of messages, `basic.deliver` and so on.
DELIVER: Final = b"\x00\x3c\x00\x3c"
RETURN: Final = b"\x00\x3c\x00\x32"
ACK: Final = b"\x00\x3c\x00\x50"
NACK: Final = b"\x00\x3c\x00\x78"
#: Of what it says of channels, `channel.open-ok` and `channel.close`.
CHANNEL_OPEN: Final = b"\x00\x14\x00\x0b"
CHANNEL_CLOSE: Final = b"\x00\x14\x00\x28"

_HEAD: Final = struct.Struct(">BHI")
_LONG_LONG: Final = struct.Struct(">Q")
#: Of a content header: class, weight, size of the body, flags.
_CONTENT: Final = struct.Struct(">HHQH")
#: `basic.ack` and `basic.reject` whole: class, method, delivery tag, `multiple` or `requeue`.
_SETTLEMENT: Final = struct.Struct(">BHIHHQBB")
_BASIC, _PUBLISH, _ACK, _REJECT = 60, 40, 80, 90
_TRANSIENT: Final = 1
_DELIVERY_MODE = 1 << 12
#: Properties in the order of their flags, the highest first; None: not a short text.
_PROPERTIES: Final = (
    (1 << 15, "content_type"),
    (1 << 14, "content_encoding"),
    (1 << 13, None),  # headers: a table
    (1 << 12, None),  # delivery mode: an octet
    (1 << 11, None),  # priority: an octet
    (1 << 10, "correlation_id"),
    (1 << 9, "reply_to"),
    (1 << 8, "expiration"),
    (1 << 7, "message_id"),
    (1 << 6, None),  # timestamp: 8 octets
    (1 << 5, "type"),
    (1 << 4, "user_id"),
)
_HEADERS, _TIMESTAMP = 1 << 13, 1 << 6
_KEPT: Final = frozenset({"correlation_id", "reply_to", "expiration", "user_id"})
#: More flags follow, of properties that the protocol does not have.
_MORE: Final = 1
#: Ways of messages, as many as agents of one process.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Deliver:
    """The method frame of a delivery."""

    tag: int
    redelivered: bool
    routing_key: str


@dataclass(frozen=True, slots=True)
class Confirm:
    """What the broker says of one that was published, or of all up to it (`basic.ack`, `basic.nack`)."""

    tag: int
    multiple: bool
    accepted: bool


@dataclass(frozen=True, slots=True)
class Properties:
    """Those that anybody here reads or sets."""

    correlation_id: str | None = None
    reply_to: str | None = None
    user_id: str | None = None
    expiration_seconds: float | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    #: Set and not read.
    content_type: str | None = None


_NONE: Final = Properties()


def read_deliver(payload: bytes) -> Deliver:
    """Of a `basic.deliver` frame. Raises: ValueError."""
    try:
        at = 5 + payload[4]  # the consumer tag
        (tag,) = _LONG_LONG.unpack_from(payload, at)
        exchange_at = at + 9
        key_at = exchange_at + 1 + payload[exchange_at]
        key = payload[key_at + 1 : key_at + 1 + payload[key_at]]
    except (IndexError, struct.error):
        raise ValueError("A delivery is cut short.") from None
    return Deliver(tag, bool(payload[at + 8] & 1), key.decode("utf-8", "replace"))


def read_confirm(payload: bytes) -> Confirm:
    """Of a `basic.ack` or `basic.nack` frame. Raises: ValueError."""
    try:
        (tag,) = _LONG_LONG.unpack_from(payload, 4)
        return Confirm(tag, bool(payload[12] & 1), payload.startswith(ACK))
    except (IndexError, struct.error):
        raise ValueError("A confirm is cut short.") from None


def body_bytes(payload: bytes) -> int:
    """How long the body is that follows a content header. Raises: ValueError."""
    try:
        return int(_CONTENT.unpack_from(payload)[2])
    except struct.error:
        raise ValueError("A content header is cut short.") from None


def read_properties(payload: bytes) -> Properties:
    """Of a content header; none at all where what the publisher has set cannot be read.

    RabbitMQ passes on unseen whatever its publisher sets, and any agent can publish.
    """
    try:
        return _properties(payload)
    except (ValueError, IndexError, struct.error, OverflowError):
        return _NONE


def _properties(payload: bytes) -> Properties:
    flags, at = _CONTENT.unpack_from(payload)[3], _CONTENT.size
    if flags & _MORE:
        raise ValueError("Flags of no property.")
    found: dict[str, Any] = {}
    for flag, name in _PROPERTIES:
        if not flags & flag:
            continue
        if name is not None:
            end = at + 1 + payload[at]
            if name in _KEPT:
                found[name] = payload[at + 1 : end].decode()
            at = end
        elif flag == _HEADERS:
            end = at + 4 + int.from_bytes(payload[at : at + 4], "big")
            _, found["headers"] = pamqp.decode.field_table(payload[at:end])
            at = end
        else:
            at += 8 if flag == _TIMESTAMP else 1
    if at > len(payload):
        raise ValueError("Properties are cut short.")
    if "expiration" in found:
        found["expiration_seconds"] = int(found.pop("expiration")) / 1000
    return Properties(**found)


def ack(channel: int, tag: int) -> bytes:
    """The frame that settles one delivery."""
    return _SETTLEMENT.pack(METHOD, channel, 13, _BASIC, _ACK, tag, 0, END[0])


def reject(channel: int, tag: int, *, requeue: bool) -> bytes:
    """The frame that gives one delivery back, or up."""
    return _SETTLEMENT.pack(METHOD, channel, 13, _BASIC, _REJECT, tag, requeue, END[0])


def publish(
    channel: int,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: Properties,
    *,
    mandatory: bool = False,
    frame_max: int,
) -> bytes:
    """The frames of a transient message. `mandatory`: it comes back where no queue takes it.

    `frame_max`: bytes of a frame, at most, as agreed with the broker. Headers are not written.
    """
    flags, written = _written(properties)
    header = _CONTENT.pack(_BASIC, 0, len(body), flags) + written
    room = frame_max - FRAME_BYTES
    bodies = [_frame(BODY, channel, body[at : at + room]) for at in range(0, len(body), room)]
    begun = _begun(channel, exchange, routing_key, mandatory=mandatory)
    return b"".join((begun, _frame(HEADER, channel, header), *bodies))


@lru_cache(_REMEMBERED)
def _begun(channel: int, exchange: str, routing_key: str, *, mandatory: bool) -> bytes:
    """The frame of a message that says where it goes."""
    method = struct.pack(">HHH", _BASIC, _PUBLISH, 0) + _short(exchange) + _short(routing_key)
    return _frame(METHOD, channel, method + (b"\x01" if mandatory else b"\x00"))


def _written(properties: Properties) -> tuple[int, bytes]:
    """Flags and values, in the order of the flags."""
    flags, written = _DELIVERY_MODE, bytes((_TRANSIENT,))
    if (content_type := properties.content_type) is not None:
        flags, written = flags | 1 << 15, _short(content_type) + written
    if (correlation_id := properties.correlation_id) is not None:
        flags, written = flags | 1 << 10, written + _short(correlation_id)
    if (reply_to := properties.reply_to) is not None:
        flags, written = flags | 1 << 9, written + _short(reply_to)
    if (expiration := properties.expiration_seconds) is not None:
        flags, written = flags | 1 << 8, written + _short(str(int(expiration * 1000)))
    if (user_id := properties.user_id) is not None:
        flags, written = flags | 1 << 4, written + _short(user_id)
    return flags, written


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _HEAD.pack(kind, channel, len(payload)) + payload + END


def _short(text: str) -> bytes:
    octets = text.encode()
    return bytes((len(octets),)) + octets
