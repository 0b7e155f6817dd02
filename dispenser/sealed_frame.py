"""The outermost layer of every message between agents and dispensers: a version, a kind, and what is sealed.

docs/sealed-session.md is the specification. What is sealed inside is `dispenser.protocol`'s matter, and the
keys are `dispenser.sealed_session`'s.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final

from dispenser.frame import MalformedFrame

VERSION: Final = 1
#: A message from an agent, sealed.
MAX_BODY_BYTES: Final = 21 * 1024
#: A ticket holds what the vault token says, which RabbitMQ lets be no longer.
MAX_TICKET_BYTES: Final = 4096
KEY_ID_BYTES: Final = 8
NONCE_BYTES: Final = 12
#: Of a message's SHA-256: enough that nobody finds another message for it.
ID_BYTES: Final = 16
_HEADER_BYTES: Final = 2
_LENGTH: Final = struct.Struct(">H")


class Kind(IntEnum):
    """What a message is."""

    KEYSET_REQUEST = 1
    KEYSET = 2
    OPENING = 3
    OPENED = 4
    REQUEST = 5
    REPLIES = 6
    REFUSAL = 7


class Refused(StrEnum):
    """Why a message was not even opened. Anybody on the way can say so: it moves an agent to ask anew."""

    #: It is no frame of this protocol, or of a version that is not spoken here.
    MALFORMED = "malformed"
    #: Its correlation id is not its own.
    WRONG_ID = "wrong_id"
    #: It is sealed to a key that is not held (any more): ask for the keyset.
    UNKNOWN_KEY = "unknown_key"
    #: The session is over, or was opened elsewhere: open another.
    UNKNOWN_TICKET = "unknown_ticket"
    #: It does not open: it was altered, or sealed for another virtual host, queue, user or reply queue.
    UNOPENED = "unopened"
    #: It was not looked at: too many sessions are opened for its sender. Open one later.
    OVERLOADED = "overloaded"


_REFUSED: Final = frozenset(refused.value for refused in Refused)


@dataclass(frozen=True, slots=True)
class OpeningFrame:
    """A session's opening, sealed to a transport key."""

    key_id: bytes
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class RequestFrame:
    """A request under a session's keys."""

    #: All before the nonce: it is authenticated with the rest.
    header: bytes = field(repr=False)
    ticket: bytes = field(repr=False)
    nonce: bytes
    sealed: bytes = field(repr=False)


def header(kind: Kind) -> bytes:
    """How a message of a kind begins."""
    return bytes((VERSION, kind))


def kind(body: bytes, max_bytes: int = MAX_BODY_BYTES) -> Kind:
    """What a message is. Raises: MalformedFrame."""
    if len(body) > max_bytes:
        raise MalformedFrame(f"A message is at most {max_bytes} bytes long.")
    if len(body) < _HEADER_BYTES or body[0] != VERSION or body[1] not in _KINDS:
        raise MalformedFrame(f"A message begins with the version {VERSION} and one of the kinds.")
    return _KINDS[body[1]]


_KINDS: Final = {kind.value: kind for kind in Kind}


def identifier(body: bytes) -> str:
    """The correlation id of a message, which is its content's: one id never stands for two contents."""
    return hashlib.sha256(body).digest()[:ID_BYTES].hex()


def opening(key_id: bytes, sealed: bytes) -> bytes:
    """The message that opens a session."""
    return header(Kind.OPENING) + key_id + sealed


def read_opening(body: bytes) -> OpeningFrame:
    """Of a message of that kind."""
    after_key = _HEADER_BYTES + KEY_ID_BYTES
    return OpeningFrame(body[_HEADER_BYTES:after_key], body[after_key:])


def request_header(ticket: bytes) -> bytes:
    """How every request of a session begins."""
    return header(Kind.REQUEST) + _LENGTH.pack(len(ticket)) + ticket


def read_request(body: bytes) -> RequestFrame:
    """Of a message of that kind. Raises: MalformedFrame."""
    before_ticket = _HEADER_BYTES + _LENGTH.size
    length = _LENGTH.unpack_from(body, _HEADER_BYTES)[0] if len(body) >= before_ticket else 0
    before_nonce = before_ticket + length
    before_sealed = before_nonce + NONCE_BYTES
    if not 0 < length <= MAX_TICKET_BYTES or len(body) < before_sealed:
        raise MalformedFrame("A request is cut short.")
    return RequestFrame(
        header=body[:before_nonce],
        ticket=body[before_ticket:before_nonce],
        nonce=body[before_nonce:before_sealed],
        sealed=body[before_sealed:],
    )


def answer(kind: Kind, nonce: bytes, sealed: bytes) -> bytes:
    """A message back to the agent, of the kinds `OPENED` and `REPLIES`."""
    return header(kind) + nonce + sealed


def read_answer(body: bytes) -> tuple[bytes, bytes]:
    """The nonce and what is sealed, of a message of those kinds."""
    before_sealed = _HEADER_BYTES + NONCE_BYTES
    return body[_HEADER_BYTES:before_sealed], body[before_sealed:]


def refusal(refused: Refused) -> bytes:
    """The message that says why another was not opened."""
    return header(Kind.REFUSAL) + refused.value.encode()


def read_refusal(body: bytes) -> Refused | None:
    """Of a message of that kind. None: a reason that a later version knows."""
    text = body[_HEADER_BYTES:].decode("ascii", "replace")
    return Refused(text) if text in _REFUSED else None
