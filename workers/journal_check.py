"""What of a journal's lines is as its writer wrote it, and what stands for the rest in the audit."""

from datetime import datetime
from typing import Final

from shared import audit_line
from shared.errors import MalformedMessage
from shared.model import AuditRecord

DAMAGED: Final = "audit.journal_damaged"
#: Of a damaged line, kept as evidence.
MOST_CHARACTERS: Final = 4096


def checked(lines: bytes, *, writer: str, offset: int, previous: str, now: datetime) -> list[bytes]:
    """Whole lines of a journal, from an offset on; in place of each that does not follow, a record of that.

    `previous`: the chain of the line before. A line may follow the last good one, or what stands before it.
    """
    found, good, written = [], previous, previous
    for line in lines.split(b"\n")[:-1]:
        if (audit_line.follows(line, good) or audit_line.follows(line, written)) and _is_record(line):
            found.append(line)
            good = audit_line.chain_of(line)
        else:
            found.append(audit_line.encode(_damage(line, writer, offset, now)))
        written = audit_line.chain_of(line)
        offset += len(line) + 1
    return found


def is_damage(line: bytes) -> bool:
    """A record of `checked` that stands for a line."""
    return line.startswith(b'{"action":"%s"' % DAMAGED.encode())


def _is_record(line: bytes) -> bool:
    try:
        audit_line.decode(line)
    except MalformedMessage:
        return False
    return True


def _damage(line: bytes, writer: str, offset: int, now: datetime) -> AuditRecord:
    # By its place in the journal, so that it is one record however often the journal is shipped.
    return AuditRecord(
        writer=f"{writer}.damaged",
        sequence=offset,
        at=now,
        action=DAMAGED,
        outcome="altered",
        reason="A line does not follow the one before it: "
        + line[:MOST_CHARACTERS].decode("ascii", "replace"),
    )
