import re
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from dispenser.cli import audit_outlets, audit_proofs, audit_verification
from dispenser.cli.failure import Usage
from dispenser.cli.output import AsJson, listing, value
from dispenser.cli.session import execute, opened
from dispenser.wiring.world import journal_folder, utc_now
from shared.audit_filter import AuditFilter
from shared.model import AuditRecord
from workers.audit_shipping import AuditShipping

Since = Annotated[str | None, typer.Option(help="From then on: 2026-11-24T08:00, or 30m, 12h, 7d ago.")]
Until = Annotated[str | None, typer.Option(help="Before then, written alike.")]
audit = typer.Typer(help="Who received which token, when, for whom, and why.", invoke_without_command=True)


def register(app: typer.Typer) -> None:
    """The audit."""
    audit_verification.register(audit)
    audit_proofs.register(audit)
    audit_outlets.register(audit)
    app.add_typer(audit, name="audit")


@audit.callback()
def show(
    context: typer.Context,
    *,
    agent: Annotated[str | None, typer.Option(help="Only this agent's.")] = None,
    session: Annotated[str | None, typer.Option(help="Only this session's.")] = None,
    service: Annotated[str | None, typer.Option(help="Only this service's.")] = None,
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    action: Annotated[str | None, typer.Option(help="Only these, as in token.dispensed.")] = None,
    outcome: Annotated[str | None, typer.Option(help="Only what ended so, as in denied.")] = None,
    fingerprint: Annotated[str | None, typer.Option(help="Only about this token.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The newest so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List audit records, newest first."""
    if context.invoked_subcommand is not None:
        return
    wanted = AuditFilter(
        agent=agent,
        session=session,
        service=service,
        owner=owner,
        action=action,
        outcome=outcome,
        fingerprint=fingerprint,
        since=moment("--since", since),
        until=moment("--until", until),
    )
    records = execute(_records(wanted, limit))
    if as_json:
        value([asdict(record) for record in records])
    else:
        listing([_row(record) for record in records], as_json=False, empty="No record matches.")


def _row(record: AuditRecord) -> dict[str, object]:
    return {
        "at": record.at,
        "action": record.action,
        "outcome": record.outcome,
        "agent": record.agent or None,
        "by": record.admin or " for ".join(record.actors) or None,
        "owner": record.owner or None,
        "service": record.service or None,
        "generation": record.generation,
        "policy": record.policy or None,
        "door": record.door or None,
    }


async def _records(wanted: AuditFilter, limit: int) -> list[AuditRecord]:
    async with opened() as at:
        indexed = await at.store.audit.query(wanted, limit=limit)
        # What this machine's dispensers have written belongs to the answer before it is shipped, too.
        fresh = AuditShipping(journal_folder(at.settings), at.store.audit.append, at.clock).unshipped()
    found = {
        (record.writer, record.sequence): record for record in [*indexed, *filter(wanted.matches, fresh)]
    }
    return sorted(found.values(), key=lambda record: record.at, reverse=True)[:limit]


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def moment(option: str, text: str | None) -> datetime | None:
    """A moment as people write it. Raises: Usage."""
    if text is None:
        return None
    if span := re.fullmatch(r"(\d{1,6})([smhd])", text):
        return utc_now() - timedelta(**{_UNITS[span[2]]: int(span[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Usage(
            f"{option} {text}: write a time like 2026-11-24T08:00, or a span like 30m, 12h, 7d."
        ) from None
    return found.astimezone(UTC)
