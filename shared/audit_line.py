"""An audit record as one line of a journal: JSON, keys sorted, empty fields left out."""

import json
from dataclasses import fields
from datetime import datetime

from shared.errors import MalformedMessage
from shared.model import AuditRecord

_NAMES = tuple(field.name for field in fields(AuditRecord))


def encode(record: AuditRecord) -> bytes:
    """One line, with its line feed."""
    values = {name: getattr(record, name) for name in _NAMES}
    shown = {name: value for name, value in values.items() if value not in ("", (), None)}
    shown["at"] = record.at.isoformat()
    return json.dumps(shown, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> AuditRecord:
    """Raises: MalformedMessage, as for the torn last line of a writer that was killed."""
    try:
        values = json.loads(line)
        known = {name: values[name] for name in _NAMES if name in values}
        known["at"] = datetime.fromisoformat(known["at"])
        known["scopes"] = tuple(known.get("scopes", ()))
        return AuditRecord(**known)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise MalformedMessage("A line of the audit journal is torn or altered.") from None
