"""An audit record as one line of a journal: JSON, keys sorted, empty fields left out.

The last field, `chain`, is a hash of the line and of the chain of the journal's line before it: a line that
was altered, added, moved or taken out shows before the journal is shipped. The line without its line feed is
a leaf of the audit's tree.
"""

import hashlib
import json
from dataclasses import fields
from datetime import datetime
from typing import Final

from shared.errors import MalformedMessage
from shared.model import AuditRecord

_DEFAULTS: Final = {field.name: field.default for field in fields(AuditRecord)}
_LISTS: Final = tuple(name for name, default in _DEFAULTS.items() if default == ())
_LINK: Final = b',"chain":"'
_END: Final = b'"}'


def encode(record: AuditRecord) -> bytes:
    """A line, without its line feed."""
    body = {name: value for name, default in _DEFAULTS.items() if (value := getattr(record, name)) != default}
    chain = body.pop("chain", None)
    body["at"] = record.at.isoformat()
    line = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return line if chain is None else _linked(line, chain)


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


def chained(record: AuditRecord, previous: str) -> tuple[bytes, str]:
    """A record's line, chained to the one before, and its chain."""
    line = encode(record)
    chain = _next_chain(previous, line)
    return _linked(line, chain), chain


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
