"""The audit, for admins."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel

from dispenser.http.callers import AdminsOnly
from dispenser.http.door import TheDoor
from dispenser.http.problems import documented
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
    owner: str | None = None,
    service: str | None = None,
    since: Annotated[AwareDatetime | None, Query(description="RFC 3339.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_RECORDS)] = 100,
) -> Records:
    """Who had which token, when, and why not."""
    return Records(
        records=await door.store.audit.query(
            agent=agent, owner=owner, service=service, since=since, limit=limit
        )
    )
