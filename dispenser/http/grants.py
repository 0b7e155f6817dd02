"""Credentials that somebody else obtained, brought in."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from dispenser import enrol
from dispenser.http.arguments import OwnerText, Prefer
from dispenser.http.bodies import json_body
from dispenser.http.callers import Admin
from dispenser.http.description import json_request
from dispenser.http.door import Door, TheDoor
from dispenser.http.preference import wait_seconds
from dispenser.http.problems import Problem, Refused, documented, of_code
from dispenser.presented import presented
from dispenser.protocol import Code
from shared.model import (
    SHARED_OWNER,
    AuditRecord,
    Client,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    Grant,
    Owner,
    Presented,
    ServiceName,
)

router = APIRouter(tags=["grants"])


class Brought(BaseModel):
    """A credential from elsewhere."""

    model_config = ConfigDict(extra="forbid")

    refresh_token: str | None = Field(default=None, min_length=1, max_length=8192)
    access_token: str | None = Field(default=None, min_length=1, max_length=8192, description="Static ones.")


class Connected(BaseModel):
    """The grant that came of it."""

    service: str
    owner: str
    generation: int
    scope: str = Field(description="Scopes really granted, separated by spaces.")
    state: str


class Pending(BaseModel):
    """The provider has not answered yet; the refreshers go on."""

    enrolment: str
    state: str = EnrolmentState.PENDING.value


@router.put(
    "/v1/credentials/{service}",
    response_model=Connected,
    responses={HTTPStatus.ACCEPTED: {"model": Pending}} | documented(400, 401, 404, 422, 503),
    openapi_extra=json_request(Brought),
)
async def bring(
    *,
    service: ServiceName,
    door: TheDoor,
    admin: Admin,
    brought: Annotated[Brought, json_body(Brought)],
    owner: OwnerText = None,
    prefer: Prefer = None,
) -> Any:
    """Connect a service with a credential from elsewhere; the provider has tried it before this returns."""
    whose = Owner(owner or SHARED_OWNER)
    value, client = await _presented(door, service, brought)
    await door.journal.append(_record(door, service, whose, admin))
    enrolment_id = await enrol.present(
        door.store,
        door.bus,
        door.keys,
        door.clock,
        service=service,
        owner=whose,
        presented=value,
        client=client,
    )
    patience = wait_seconds(prefer or (), default=enrol.DEFAULT_PATIENCE_SECONDS)
    enrolment = await enrol.outcome(door.store, enrolment_id, patience_seconds=patience)
    grant = await door.store.grants.find(service, whose)
    return _answer(enrolment_id, enrolment, grant)


async def _presented(door: Door, service: ServiceName, brought: Brought) -> tuple[Presented, Client]:
    offer = await door.store.catalogue.offer()
    declared = offer.services.get(service)
    if declared is None:
        raise Refused(of_code(Code.NOT_FOUND, "There is no such service: declare it with `dispenser apply`."))
    provider = offer.providers[declared.provider]
    try:
        value = presented(
            provider.grant, refresh_token=brought.refresh_token, access_token=brought.access_token
        )
    except ValueError as error:
        raise Refused(of_code(Code.INVALID_REQUEST, str(error))) from None
    return value, provider.client


def _record(door: Door, service: ServiceName, owner: Owner, admin: str) -> AuditRecord:
    return AuditRecord(
        writer="",
        sequence=0,
        at=door.clock(),
        action="grant.presented",
        outcome=Code.OK.value,
        owner=owner,
        service=service,
        door="http",
        admin=admin,
    )


def _answer(
    enrolment_id: EnrolmentId, enrolment: Enrolment | None, grant: Grant | None
) -> Connected | JSONResponse:
    if enrolment is not None and enrolment.state is EnrolmentState.FAILED:
        raise Refused(_failed(enrolment))
    if enrolment is None or enrolment.state is EnrolmentState.PENDING or grant is None:
        return JSONResponse(Pending(enrolment=enrolment_id).model_dump(), HTTPStatus.ACCEPTED)
    return Connected(
        service=grant.service,
        owner=grant.owner,
        generation=grant.generation,
        scope=" ".join(grant.scopes),
        state=grant.state.value,
    )


def _failed(enrolment: Enrolment) -> Problem:
    return Problem(
        status=HTTPStatus.UNPROCESSABLE_ENTITY,
        code=enrolment.error or "enrolment_failed",
        detail="The provider did not take this credential. The grant there was, if any, is as it was.",
        extensions={"service": enrolment.service, "owner": enrolment.owner},
    )
