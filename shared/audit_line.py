"""An audit record as one line of a journal: JSON, keys sorted, empty fields left out.

The last field, `chain`, is a hash of the line and of the chain of the journal's line before it: a line that
was altered, added, moved or taken out shows before the journal is shipped. The line without its line feed is
a leaf of the audit's tree.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from shared.errors import MalformedMessage
from shared.model import AuditRecord

#: By name, as a line has them.
_DEFAULTS: Final = {
    field.name: field.default for field in sorted(fields(AuditRecord), key=lambda field: field.name)
}
#: What a record says, as a line begins to say it; `chain` comes last, when the rest is known.
_SAID: Final = tuple((f'"{name}":', default) for name, default in _DEFAULTS.items() if name != "chain")
_NAMES: Final = tuple(name for name in _DEFAULTS if name != "chain")
_values: Final = attrgetter(*_NAMES)
_WRITER, _SEQUENCE = _NAMES.index("writer"), _NAMES.index("sequence")
_text: Final = json.encoder.encode_basestring_ascii
_LISTS: Final = tuple(name for name, default in _DEFAULTS.items() if default == ())
_LINK: Final = b',"chain":"'
_END: Final = b'"}'
_END_OF_LINE: Final = _END + b"\n"


def encode(record: AuditRecord) -> bytes:
    """A line, without its line feed."""
    line = Halves(record, record.writer).numbered(record.sequence)
    return line if record.chain == _DEFAULTS["chain"] else _linked(line, record.chain)


class Halves:
    """A record's line, before and after its number in a journal: a record that is written twice, but once.

    By hand: a general encoder takes three times as long, for every token.
    """

    __slots__ = ("_after", "_before", "record")

    def __init__(self, record: AuditRecord, writer: str) -> None:
        self.record = record
        values = list(_values(record))
        values[_WRITER] = writer
        said = [
            begun + _WRITTEN.get(type(value), json.dumps)(value) if value != default else ""
            for (begun, default), value in zip(_SAID, values, strict=True)
        ]
        self._before = ",".join(filter(None, said[:_SEQUENCE])).encode()
        self._after = ",".join(filter(None, said[_SEQUENCE + 1 :])).encode()

    def numbered(self, sequence: int) -> bytes:
        """The line, without its chain."""
        return b'{%b,"sequence":%d,%b}' % (self._before, sequence, self._after)


def _list(texts: tuple[str, ...]) -> str:
    return f"[{','.join(map(_text, texts))}]"


def _moment(at: datetime) -> str:
    return f'"{at.isoformat()}"'


_WRITTEN: Final[Mapping[type, Callable[[Any], str]]] = {
    str: _text,
    int: str,
    tuple: _list,
    datetime: _moment,
}


def decode(line: bytes) -> AuditRecord:
    """Fields of a later version are passed over.

    Raises: MalformedMessage, as for the torn last line of a writer that was killed.
    """
    try:
        values = json.loads(line)
        known = {name: values[name] for name in _DEFAULTS if name in values}
        known["at"] = datetime.fromisoformat(known["at"])
        for name in _LISTS:
            known[name] = tuple(known.get(name, ()))
        return AuditRecord(**known)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MalformedMessage("A line of the audit is torn or altered.") from None


def first_chain(writer: str) -> str:
    """What a journal's first line is chained to: its name, so that no other can stand in its place."""
    return hashlib.sha256(f"token-dispenser audit journal {writer}".encode()).hexdigest()


def chained(record: AuditRecord, previous: str, *, writer: str, sequence: int) -> tuple[bytes, str]:
    """The line of a journal's record of this number, chained to the one before, and its chain."""
    line = Halves(record, writer).numbered(sequence)
    chain = _next_chain(previous, line)
    return _linked(line, chain), chain


def chained_lines(
    records: Iterable[AuditRecord], previous: str, *, writer: str, sequence: int
) -> tuple[bytes, str]:
    """As `chained` makes them, one after the other, each with its line feed: the first is of this number."""
    chain, halves, lines = previous.encode(), None, list[bytes]()
    for number, record in enumerate(records, sequence):
        if halves is None or halves.record is not record:
            halves = Halves(record, writer)
        line = halves.numbered(number)
        chain = hashlib.sha256(chain + line).hexdigest().encode()
        lines += (line[:-1], _LINK, chain, _END_OF_LINE)
    return b"".join(lines), chain.decode()


def chain_of(line: bytes) -> str:
    """The chain in a line; empty where there is none."""
    _, link, chain = line.rpartition(_LINK)
    return chain[: -len(_END)].decode("ascii", "replace") if link else ""


def follows(line: bytes, previous: str) -> bool:
    """The line is as its journal wrote it, next after the line of that chain."""
    body, link, _ = line.rpartition(_LINK)
    return bool(link) and line == _linked(body + b"}", _next_chain(previous, body + b"}"))


def _next_chain(previous: str, line: bytes) -> str:
    return hashlib.sha256(previous.encode() + line).hexdigest()


def _linked(line: bytes, chain: str) -> bytes:
    return line[:-1] + _LINK + chain.encode() + _END
