"""What agents and dispensers say to each other: msgpack frames with hard limits, the same at both ends.

A *request* is one message with up to 64 calls. Its *replies* come in one or more messages, each a list of
pairs of a call's index and its reply, so that a call which has to wait holds up no other. Both travel sealed
in an agent's session (`dispenser.sealed_frame`), and never otherwise.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgpack

from dispenser import form, frame
from dispenser.call import (
    Call,
    ChildCall,
    RejectedCall,
    RenewCall,
    TokenCall,
    pack_call,
    read_call,
    service_of,
)
from dispenser.frame import MalformedFrame, Reading
from dispenser.reply import RETRYABLE, Code, Reply, read_reply

__all__ = [
    "RETRYABLE",
    "Call",
    "ChildCall",
    "Code",
    "MalformedFrame",
    "RejectedCall",
    "RenewCall",
    "Reply",
    "Request",
    "TokenCall",
    "decode_replies",
    "decode_request",
    "encode_call",
    "encode_replies",
    "encode_request",
    "join_calls",
    "service_of",
]
T = TypeVar("T")

VERSION: Final = 1
#: Where requests go.
RPC_EXCHANGE: Final = "vault.rpc"
RPC_KEY: Final = "token.get"
#: What is behind that key.
RPC_QUEUE: Final = "vault.rpc.token"
#: A reply queue's name begins with it; the broker's user, a dot and 128 random bits in hexadecimal follow.
REPLY_PREFIX: Final = "vault.reply."
CONTENT_TYPE: Final = "application/octet-stream"
MAX_BODY_BYTES: Final = 16 * 1024
MAX_CALLS: Final = 64
#: One reply with a long token stays under it; a reply frame of many calls is split.
MAX_REPLY_BYTES: Final = 256 * 1024
DEFAULT_DEADLINE_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message from an agent."""

    calls: tuple[Call, ...]
    #: By the agent's clock, in seconds since the epoch.
    sent_at: float
    #: Seconds from sending within which an answer is of use.
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS


def encode_request(request: Request) -> bytes:
    """Raises: MalformedFrame when `decode_request` would refuse it."""
    calls = [encode_call(call) for call in request.calls]
    return join_calls(calls, sent_at=request.sent_at, deadline_seconds=request.deadline_seconds)


def encode_call(call: Call) -> bytes:
    """A call for `join_calls`. Raises: MalformedFrame when a request of it alone would be refused."""
    packed = pack_call(call)
    if len(packed) > MAX_CALL_BYTES:
        raise MalformedFrame(f"A call is at most {MAX_CALL_BYTES} bytes long.")
    return packed


def join_calls(calls: Sequence[bytes], *, sent_at: float, deadline_seconds: float) -> bytes:
    """The request of some encoded calls. Raises: MalformedFrame when they are too much for one."""
    _within_limit(calls)
    body = _begun(sent_at, deadline_seconds, len(calls)) + b"".join(calls)
    if len(body) > MAX_BODY_BYTES:
        raise MalformedFrame(f"A request is at most {MAX_BODY_BYTES} bytes long.")
    return body


def decode_request(body: bytes) -> Request:
    """Raises: MalformedFrame for anything but what `encode_request` makes."""
    fields, calls = _read(body, MAX_BODY_BYTES, "calls", _call)
    frame.only(fields, _REQUEST_FIELDS)
    _within_limit(calls)
    return Request(
        sent_at=frame.field(fields, "sent_at", frame.instant),
        deadline_seconds=frame.field(fields, "deadline", frame.seconds),
        calls=tuple(calls),
    )


def encode_replies(replies: Iterable[tuple[int, Reply]]) -> bytes:
    """A message's replies, each with its call's index. Raises: MalformedFrame when they are too large."""
    packed: dict[int, bytes] = {}
    pairs: list[bytes] = []
    for index, reply in replies:
        # One reply may be for many calls: it is packed once.
        if (written := packed.get(id(reply))) is None:
            written = packed[id(reply)] = bytes(msgpack.packb(form.written(reply)))
        pairs += (_PAIRS[index], written)
    body = _REPLIES + bytes(msgpack.Packer().pack_array_header(len(pairs) // 2)) + b"".join(pairs)
    if len(body) > MAX_REPLY_BYTES:
        raise MalformedFrame(f"A message of replies is at most {MAX_REPLY_BYTES} bytes long.")
    return body


def decode_replies(body: bytes) -> list[tuple[int, Reply]]:
    """Raises: MalformedFrame. Fields of a later version are passed over: an old client goes on working."""
    fields, replies = _read(body, MAX_REPLY_BYTES, "replies", _pair)
    for name in fields.keys() - _REPLIES_FIELDS:
        frame.plain([(name, fields[name])])
    return replies


def _read(
    body: bytes, max_bytes: int, name: str, item: Callable[[Reading], T]
) -> tuple[dict[str, object], list[T]]:
    """A frame's fields, and the items of its list of this name. Raises: MalformedFrame."""
    reading = Reading(body, max_bytes=max_bytes)
    fields: dict[str, object] = {}
    items: list[T] | None = None
    for field in reading.fields():
        if field == name:
            items = [item(reading) for _ in range(reading.length())]
        else:
            fields[field] = reading.value()
    reading.end()
    if items is None:
        raise MalformedFrame(f"`{name}` is missing.")
    if frame.field(fields, "v", frame.integer) != VERSION:
        raise MalformedFrame(f"A frame of this protocol has v = {VERSION}.")
    return fields, items


def _call(reading: Reading) -> Call:
    return reading.noun(read_call)


def _pair(reading: Reading) -> tuple[int, Reply]:
    if reading.length() != 2:  # noqa: PLR2004 - a pair
        raise MalformedFrame("A reply is a pair of a call's index and a map.")
    if (index := frame.integer(reading.value(), "index")) >= MAX_CALLS:
        raise MalformedFrame("A reply's index is that of a call.")
    return index, reading.noun(read_reply)


def _begun(sent_at: float, deadline_seconds: float, calls: int) -> bytes:
    """A request up to its first call."""
    fields = {"v": VERSION, "sent_at": sent_at, "deadline": deadline_seconds, "calls": ()}
    frame.field(fields, "sent_at", frame.instant)
    frame.field(fields, "deadline", frame.seconds)
    # The list's head is the last byte, as long as the list is empty.
    return bytes(msgpack.packb(fields)[:-1] + msgpack.Packer().pack_array_header(calls))


def _within_limit(calls: Sequence[object]) -> None:
    if not 0 < len(calls) <= MAX_CALLS:
        raise MalformedFrame(f"A request holds 1 to {MAX_CALLS} calls.")


MAX_CALL_BYTES: Final = MAX_BODY_BYTES - len(_begun(0.0, 0.0, 1))
#: Replies up to their number, and pairs up to their second halves.
_REPLIES: Final = bytes(msgpack.packb({"v": VERSION, "replies": ()})[:-1])
_PAIRS: Final = [bytes(msgpack.packb([index, None])[:-1]) for index in range(MAX_CALLS)]
_REQUEST_FIELDS: Final = frozenset({"v", "sent_at", "deadline"})
_REPLIES_FIELDS: Final = frozenset({"v"})
