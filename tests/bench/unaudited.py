"""`unaudited.py ARGUMENTS`: the command line with an audit that writes nothing, to see what ours costs."""

from dispenser.__main__ import main
from shared.adapters.audit_journal import FileAuditJournal
from shared.model import AuditRecord


async def forget(_journal: FileAuditJournal, *_records: AuditRecord) -> None:
    """Where a record would become durable."""


if __name__ == "__main__":
    FileAuditJournal.append = forget  # type: ignore[method-assign]
    main()
