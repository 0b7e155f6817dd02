"""The audit as files: lines that can be verified without the vault, and forms that other systems read."""

import json
import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

from shared.merkle import leaf_hash
from shared.model import AuditRecord

_WRAPPED: Final = re.compile(rb'\{"position":(0|[1-9][0-9]*),"leaf_hash":"([0-9a-f]{64})",')
_HEAD: Final = re.compile(rb'\{"purged":([1-9][0-9]*),"peaks":\[("[0-9a-f]{64}"(?:,"[0-9a-f]{64}")*)\]\}')


class Form(StrEnum):
    """What the records of an export look like."""

    #: JSON Lines: what `dispenser audit verify --export` reads.
    JSONL = "jsonl"
    #: Log records in OTLP's JSON encoding, a line each (https://opentelemetry.io/docs/specs/otel/protocol/).
    OTEL = "otel"
    #: ArcSight's Common Event Format, version 0.
    CEF = "cef"


# ------------------------------------------------------------------------------------------- JSON Lines


def wrapped(position: int, line: bytes) -> bytes:
    """A line with its place and hash before it, as one JSON object still."""
    return b'{"position":%d,"leaf_hash":"%s",' % (position, leaf_hash(line).hex().encode()) + line[1:]


def unwrapped(line: bytes) -> tuple[int, bytes, bytes] | None:
    """Position, leaf hash and line, as `wrapped` took them. None: it is no such line."""
    found = _WRAPPED.match(line)
    if found is None:
        return None
    return int(found[1]), bytes.fromhex(found[2].decode()), b"{" + line[found.end() :]


def head(purged: int, peaks: Sequence[bytes]) -> bytes:
    """An export's first line where the first records were purged: what stands for them in the tree."""
    hashes = ",".join(f'"{peak.hex()}"' for peak in peaks)
    return f'{{"purged":{purged},"peaks":[{hashes}]}}'.encode()


def parsed_head(line: bytes) -> tuple[int, list[bytes]] | None:
    """How many were purged and their peaks. None: it is no such line."""
    found = _HEAD.fullmatch(line)
    if found is None:
        return None
    return int(found[1]), [bytes.fromhex(peak) for peak in json.loads(b"[" + found[2] + b"]")]


# ---------------------------------------------------------------------------------- OpenTelemetry and CEF

#: OpenTelemetry's severities, and CEF's from 0 to 10.
_INFO: Final = (9, "INFO", 3)
_WARN: Final = (13, "WARN", 6)
_UNEVENTFUL: Final = frozenset({"ok", "not_found"})


def otel(record: AuditRecord, version: str) -> bytes:
    """One export request with one log record: what collectors' file receivers read line by line."""
    number, text, _ = _severity(record)
    values = {name: value for name, value in _fields(record).items() if name != "reason"}
    log_record = {
        "timeUnixNano": str(int(record.at.timestamp() * 1_000_000) * 1000),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"token_dispenser.{record.action}",
        "body": {"stringValue": record.reason or f"{record.action}: {record.outcome}"},
        "attributes": [_attribute(f"token_dispenser.{name}", value) for name, value in values.items()],
    }
    scope = {"scope": {"name": "token-dispenser", "version": version}, "logRecords": [log_record]}
    resource = {"attributes": [_attribute("service.name", "token-dispenser")]}
    request = {"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}
    return json.dumps(request, separators=(",", ":")).encode()


#: CEF's names for what we have; what it has no name for goes into its custom strings, which have labels.
_CEF: Final = {
    "agent": "suser",
    "owner": "duser",
    "service": "dhost",
    "outcome": "outcome",
    "reason": "reason",
    "request_id": "externalId",
    "door": "app",
    "count": "cnt",
}
_CEF_CUSTOM: Final = {
    "session": "cs1",
    "fingerprint": "cs2",
    "policy": "cs3",
    "generation": "cs4",
    "purpose": "cs5",
    "admin": "cs6",
    "actors": "flexString1",
}


def cef(record: AuditRecord, version: str) -> bytes:
    """One line."""
    values = _fields(record)
    parts = {"rt": str(int(record.at.timestamp() * 1000))}
    parts |= {name: str(values[ours]) for ours, name in _CEF.items() if ours in values}
    for ours, name in _CEF_CUSTOM.items():
        if ours in values:
            parts |= {f"{name}Label": ours, name: _text(values[ours])}
    header = (
        "CEF:0",
        "token-dispenser",
        "vault",
        version,
        record.action,
        record.action,
        _severity(record)[2],
    )
    extension = " ".join(f"{name}={_cef_value(value)}" for name, value in parts.items())
    return "|".join([*(_cef_header(str(part)) for part in header), extension]).encode("utf-8", "replace")


def _severity(record: AuditRecord) -> tuple[int, str, int]:
    return _INFO if record.outcome in _UNEVENTFUL else _WARN


def _fields(record: AuditRecord) -> dict[str, Any]:
    """All that a record says, its time apart."""
    found = {name: getattr(record, name) for name in AuditRecord.__dataclass_fields__ if name != "at"}
    return {name: value for name, value in found.items() if value not in ("", (), None)}


def _attribute(name: str, value: object) -> dict[str, Any]:
    return {"key": name, "value": _any_value(value)}


def _any_value(value: object) -> dict[str, Any]:
    match value:
        case int():
            return {"intValue": str(value)}
        case tuple():
            return {"arrayValue": {"values": [_any_value(item) for item in value]}}
        case _:
            return {"stringValue": str(value)}


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _cef_header(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def _cef_value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("=", "\\=")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")
