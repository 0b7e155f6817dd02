"""The frames of AMQP 0-9-1 that a request's way takes, read and written without the driver's objects.

They are most of what a message costs there. All other frames stay the driver's.
Shapes: §2.3.5 (frames), §4.2.6 (content) and the generated tables of the specification
(https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf). Numbers are big-endian.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pamqp.decode

METHOD, HEADER, BODY = 1, 2, 3
#: Before a frame's payload: type, channel, length of the payload.
HEAD_BYTES: Final = 7
END: Final = b"\xce"
#: Of a frame, beside its payload.
FRAME_BYTES: Final = HEAD_BYTES + len(END)
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00" + END
#: `basic.deliver`: its class and method.
DELIVER: Final = b"\x00\x3c\x00\x3c"

_HEAD: Final = struct.Struct(">BHI")
_LONG_LONG: Final = struct.Struct(">Q")
#: Of a content header: class, weight, size of the body, flags.
_CONTENT: Final = struct.Struct(">HHQH")
#: `basic.ack` and `basic.reject` whole: class, method, delivery tag, `multiple` or `requeue`.
_SETTLEMENT: Final = struct.Struct(">BHIHHQBB")
_BASIC, _PUBLISH, _ACK, _REJECT = 60, 40, 80, 90
_TRANSIENT: Final = 1
_CORRELATION_ID, _EXPIRATION, _DELIVERY_MODE = 1 << 10, 1 << 8, 1 << 12
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


@dataclass(frozen=True, slots=True)
class Deliver:
    """The method frame of a delivery."""

    tag: int
    redelivered: bool
    routing_key: str


@dataclass(frozen=True, slots=True)
class Properties:
    """Those that anybody here reads."""

    correlation_id: str | None = None
    reply_to: str | None = None
    user_id: str | None = None
    expiration_seconds: float | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)


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
    routing_key: str,
    body: bytes,
    *,
    correlation_id: str,
    expiration_seconds: float,
    frame_max: int,
) -> bytes:
    """The frames of a transient message to the default exchange, dropped where no queue has that name.

    `frame_max`: bytes of a frame, at most, as agreed with the broker.
    """
    method = struct.pack(">HHHB", _BASIC, _PUBLISH, 0, 0) + _short(routing_key) + b"\x00"
    header = (
        _CONTENT.pack(_BASIC, 0, len(body), _CORRELATION_ID | _EXPIRATION | _DELIVERY_MODE)
        + bytes((_TRANSIENT,))
        + _short(correlation_id)
        + _short(str(int(expiration_seconds * 1000)))
    )
    room = frame_max - FRAME_BYTES
    bodies = [_frame(BODY, channel, body[at : at + room]) for at in range(0, len(body), room)]
    return b"".join((_frame(METHOD, channel, method), _frame(HEADER, channel, header), *bodies))


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return _HEAD.pack(kind, channel, len(payload)) + payload + END


def _short(text: str) -> bytes:
    octets = text.encode()
    return bytes((len(octets),)) + octets
