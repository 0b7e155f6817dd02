"""Rights taken back by admins."""

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from dispenser import audit_record
from dispenser.http.arguments import MAX_OWNER_CHARACTERS
from dispenser.http.bodies import json_body
from dispenser.http.callers import DOOR, Admin
from dispenser.http.description import json_request
from dispenser.http.door import Door, TheDoor
from dispenser.http.problems import Refused, documented, of_code
from dispenser.protocol import Code
from dispenser.revoke import (
    revoke_agent,
    revoke_everything,
    revoke_grant,
    revoke_owner,
    revoke_provider,
    revoke_subject,
)
from shared.model import AgentName, Grant, Owner, ProviderName, RevocationKind, ServiceName

router = APIRouter(tags=["revocation"])
Subject = Annotated[str, Field(max_length=MAX_OWNER_CHARACTERS)]


class What(StrEnum):
    """What a revocation is of."""

    TOKEN = "token"  # noqa: S105 - a word of the API
    SESSION = "session"
    AGENT = "agent"
    OWNER = "owner"
    GRANT = "grant"
    PROVIDER = "provider"
    EVERYTHING = "everything"


class Wanted(BaseModel):
    """What is revoked."""

    model_config = ConfigDict(extra="forbid")

    kind: What
    subject: Subject = Field(
        default="", description="The token's `jti`, or the name; the service of a grant; none of everything."
    )
    owner: Subject = Field(default="", description="Whose grant.")


class Done(BaseModel):
    """What was revoked; it holds from the next request on."""

    kind: What
    subject: str
    grants: int = Field(description="Grants revoked. Refreshers give their refresh tokens back (RFC 7009).")


@router.post(
    "/v1/revocations",
    responses=documented(400, 401, 404, 503),
    openapi_extra=json_request(Wanted),
)
async def revoke(door: TheDoor, admin: Admin, wanted: Annotated[Wanted, json_body(Wanted)]) -> Done:
    """Take rights back, of one or of all."""
    if bool(wanted.subject) is (wanted.kind is What.EVERYTHING):
        raise Refused(of_code(Code.INVALID_REQUEST, "Everything has no subject, and all else has one."))
    revoked = await _revoked(door, wanted)
    if revoked is None:
        raise Refused(
            of_code(Code.NOT_FOUND, f"There is no such {wanted.kind.value}, or it was revoked before.")
        )
    await _write(door, admin, wanted, revoked)
    return Done(kind=wanted.kind, subject=wanted.subject, grants=len(revoked))


async def _revoked(door: Door, wanted: Wanted) -> list[Grant] | None:
    """The grants that were revoked with it. None: there is nothing of that name."""
    store, cache, now, subject = door.store, door.cache, door.clock(), wanted.subject
    match wanted.kind:
        case What.TOKEN | What.SESSION:
            await revoke_subject(store, cache, RevocationKind(wanted.kind.value), subject, now)
            return []
        case What.AGENT:
            return [] if await revoke_agent(store, cache, AgentName(subject), now) else None
        case What.OWNER:
            return await revoke_owner(store, cache, Owner(subject), now)
        case What.GRANT:
            found = await store.grants.find(ServiceName(subject), Owner(wanted.owner))
            revoked = None if found is None else await revoke_grant(store, cache, found, now)
            return None if revoked is None else [revoked]
        case What.PROVIDER:
            known = ProviderName(subject) in (await store.catalogue.offer()).providers
            return await revoke_provider(store, cache, ProviderName(subject), now) if known else None
        case What.EVERYTHING:
            return await revoke_everything(store, cache, now)


async def _write(door: Door, admin: str, wanted: Wanted, revoked: list[Grant]) -> None:
    now = door.clock()
    if wanted.kind is not What.GRANT:
        owner = wanted.subject if wanted.kind is What.OWNER else ""
        record = audit_record.of_revocation(
            wanted.kind.value, wanted.subject, owner=owner, door=DOOR, at=now, admin=admin
        )
        await door.journal.append(record)
    for grant in revoked:
        record = audit_record.of_revocation(
            "grant", "", owner=grant.owner, service=grant.service, generation=grant.generation,
            door=DOOR, at=now, admin=admin,
        )  # fmt: skip
        await door.journal.append(record)
