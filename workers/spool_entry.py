"""What lies in a room of the spool: how it is written, and what can be read of it again.

A room is magic | length | digest | header | length | digest | answer, and zeros behind. A torn part fails its
digest. The answer's digest covers the header too, so that what another request left in the room never
answers this one.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgpack

from shared.model import GrantId, Owner

MAGIC: Final = b"dispenser spool 2\n"
#: Room for an answer of 64 KiB, sealed, and the header.
ROOM_BYTES: Final = 80 * 1024
_LENGTH: Final = struct.Struct(">I")
_DIGEST_BYTES: Final = 32
_FRAME_BYTES: Final = _LENGTH.size + _DIGEST_BYTES


class Purpose(StrEnum):
    """What a provider was asked for."""

    ROTATION = "rotation"
    ENROLMENT = "enrolment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A request about to be sent, and where its answer belongs."""

    #: The intent's or the enrolment's.
    id: str
    purpose: Purpose
    grant_id: GrantId
    owner: Owner
    #: The grant's before the request.
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An entry that has not come to its end. `sealed` is None where no whole answer was written."""

    entry: Entry
    sealed: bytes | None = field(repr=False)


def reservation(entry: Entry) -> bytes:
    """How a room begins whose answer has not come; an earlier one is written over."""
    return _head(entry) + bytes(_FRAME_BYTES)


def answered(entry: Entry, sealed: bytes) -> tuple[int, bytes]:
    """Where in its room an answer begins, and the answer as it is written there."""
    return len(_head(entry)), _framed(sealed, behind=_packed(entry))


def is_blank(room: bytes) -> bool:
    """Nothing is in it, or what was has come to its end."""
    return not any(room[: len(MAGIC)])


def parsed(room: bytes) -> Pending | None:
    """What is in a room. None: nothing, or its header is torn, and so its request was never sent."""
    header = _unframed(room[len(MAGIC) :]) if room.startswith(MAGIC) else None
    if header is None:
        return None
    packed, rest = header
    answer = _unframed(rest, behind=packed)
    return Pending(entry=_unpacked(packed), sealed=answer[0] if answer else None)


def _head(entry: Entry) -> bytes:
    return MAGIC + _framed(_packed(entry))


def _framed(content: bytes, *, behind: bytes = b"") -> bytes:
    return _LENGTH.pack(len(content)) + _digest(behind, content) + content


def _unframed(content: bytes, *, behind: bytes = b"") -> tuple[bytes, bytes] | None:
    """The first part and what follows it. None: it is torn, or was never written."""
    if len(content) < _FRAME_BYTES:
        return None
    [length] = _LENGTH.unpack_from(content)
    digest, rest = content[_LENGTH.size : _FRAME_BYTES], content[_FRAME_BYTES:]
    part = rest[:length]
    return (part, rest[length:]) if _digest(behind, part) == digest else None


def _digest(behind: bytes, content: bytes) -> bytes:
    return hashlib.sha256(behind + content).digest()


def _packed(entry: Entry) -> bytes:
    fields: list[Any] = [entry.id, entry.purpose.value, entry.grant_id, entry.owner, entry.generation]
    return bytes(msgpack.packb(fields))


def _unpacked(header: bytes) -> Entry:
    entry_id, purpose, grant_id, owner, generation = msgpack.unpackb(header)
    return Entry(
        id=entry_id,
        purpose=Purpose(purpose),
        grant_id=GrantId(grant_id),
        owner=Owner(owner),
        generation=generation,
    )
