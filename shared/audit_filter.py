from dataclasses import dataclass, fields
from datetime import datetime

from shared.model import AuditRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which records of the audit are wanted: those that agree with all that is set."""

    agent: str | None = None
    session: str | None = None
    owner: str | None = None
    service: str | None = None
    generation: int | None = None
    action: str | None = None
    outcome: str | None = None
    fingerprint: str | None = None
    #: From then on, and until before then.
    since: datetime | None = None
    until: datetime | None = None

    def equals(self) -> dict[str, str | int]:
        """The fields that must be equal, with their values."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v for name, v in named.items() if v is not None and not isinstance(v, datetime)}

    def matches(self, record: AuditRecord) -> bool:
        """The record is wanted."""
        return (
            all(getattr(record, name) == value for name, value in self.equals().items())
            and (self.since is None or record.at >= self.since)
            and (self.until is None or record.at < self.until)
        )


EVERYTHING = AuditFilter()
