"""The audit, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel

from dispenser.http.arguments import Instant
from dispenser.http.callers import AdminsOnly
from dispenser.http.door import TheDoor
from dispenser.http.problems import documented
from shared.audit_filter import AuditFilter
from shared.messages import MAX_GENERATION
from shared.model import AuditRecord

MAX_RECORDS = 1000
router = APIRouter(tags=["audit"])


class Records(BaseModel):
    """Newest first."""

    records: list[AuditRecord]


@router.get("/v1/audit", dependencies=[AdminsOnly], responses=documented(400, 401, 503))
async def records(
    *,
    door: TheDoor,
    agent: str | None = None,
    session: str | None = None,
    owner: str | None = None,
    service: str | None = None,
    generation: Annotated[int | None, Query(ge=0, le=MAX_GENERATION)] = None,
    action: Annotated[str | None, Query(description="As in token.dispensed.")] = None,
    outcome: Annotated[str | None, Query(description="A reply's code, as in denied.")] = None,
    fingerprint: Annotated[str | None, Query(description="Of a token, as records have it.")] = None,
    since: Annotated[Instant | None, Query(description="From then on. RFC 3339.")] = None,
    until: Annotated[Instant | None, Query(description="Before then. RFC 3339.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_RECORDS)] = 100,
) -> Records:
    """Who had which token, when, and why not. All that is given must agree."""
    wanted = AuditFilter(
        agent=agent,
        session=session,
        owner=owner,
        service=service,
        generation=generation,
        action=action,
        outcome=outcome,
        fingerprint=fingerprint,
        since=since,
        until=until,
    )
    return Records(records=await door.store.audit.query(wanted, limit=limit))
