"""Access tokens, handed out and reported as rejected."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from dispenser.frame import MAX_INTEGER, MAX_SECONDS
from dispenser.http.arguments import OwnerText, Prefer
from dispenser.http.bodies import json_body
from dispenser.http.callers import Caller
from dispenser.http.description import json_request
from dispenser.http.door import Door, TheDoor
from dispenser.http.preference import wait_seconds
from dispenser.http.problems import Refused, documented, of_reply
from dispenser.http.turn import turn
from dispenser.protocol import Code, RejectedCall, Reply, TokenCall
from shared.model import Owner, ServiceName

router = APIRouter(prefix="/v1/agents/{agent}/credentials", tags=["credentials"])


class Credential(BaseModel):
    """An access token and how long it may be used."""

    access_token: str
    token_type: str
    expires_in: int | None = Field(description="Seconds; null: it does not expire.")
    expires_at: str | None = Field(description="RFC 3339, UTC.")
    scope: str = Field(description="Scopes, separated by spaces.")
    service: str
    generation: int


class Rejection(BaseModel):
    """The token of this generation got a 401."""

    model_config = ConfigDict(extra="forbid")

    generation: int | None = Field(
        default=None, ge=0, le=MAX_INTEGER, description="Missing: the current one."
    )


class Accepted(BaseModel):
    """A fresh token is there to be asked for."""

    code: str
    service: str
    generation: int | None


@router.get("/{service}", responses=documented(400, 401, 403, 404, 409, 429, 503, 504))
async def hand_out(
    *,
    service: str,
    caller: Caller,
    door: TheDoor,
    min_ttl: Annotated[float | None, Query(ge=0, le=MAX_SECONDS, allow_inf_nan=False)] = None,
    scope: Annotated[str | None, Query(max_length=4096)] = None,
    owner: OwnerText = None,
    purpose: Annotated[str, Query(max_length=1024)] = "",
    prefer: Prefer = None,
) -> Credential:
    """An access token for a service, with `min_ttl` seconds left and the scopes asked for."""
    call = TokenCall(
        service=service,
        owner=owner,
        min_ttl=min_ttl,
        scopes=tuple(scope.split()) if scope else None,
        purpose=purpose,
    )
    async with turn(door, caller, wait_seconds(prefer or ())) as mine:
        return _credential(_ok(await mine.answer(call)))


@router.post(
    "/{service}/rejected",
    status_code=HTTPStatus.ACCEPTED,
    responses=documented(400, 401, 403, 404, 409, 429, 503, 504),
    openapi_extra=json_request(Rejection, required=False),
)
async def reject(
    *,
    service: str,
    caller: Caller,
    door: TheDoor,
    rejection: Annotated[Rejection, json_body(Rejection, default=Rejection())],
    owner: OwnerText = None,
    prefer: Prefer = None,
) -> Accepted:
    """The service's API answered 401: one refresh is forced, however many report it."""
    async with turn(door, caller, wait_seconds(prefer or ())) as mine:
        generation = rejection.generation
        if generation is None:
            generation = await _current_generation(
                door, ServiceName(service), Owner(owner or caller.acts_for)
            )
        call = RejectedCall(service=service, owner=owner, generation=generation)
        reply = _ok(await mine.answer(call))
    return Accepted(code=reply.code, service=service, generation=reply.generation)


def _ok(reply: Reply) -> Reply:
    """Raises: Refused for whatever is not `ok`."""
    if reply.code is not Code.OK:
        raise Refused(of_reply(reply))
    return reply


def _credential(reply: Reply) -> Credential:
    return Credential(
        access_token=reply.access_token or "",
        token_type=reply.token_type or "Bearer",
        expires_in=None if reply.expires_in is None else int(reply.expires_in),
        expires_at=None if reply.expires_at is None else _rfc3339(reply.expires_at),
        scope=" ".join(reply.scopes),
        service=reply.service,
        generation=reply.generation or 0,
    )


def _rfc3339(seconds: float) -> str:
    return f"{datetime.fromtimestamp(int(seconds), UTC):%Y-%m-%dT%H:%M:%SZ}"


async def _current_generation(door: Door, service: ServiceName, owner: Owner) -> int:
    grant = await door.store.grants.find(service, owner)
    return 0 if grant is None else grant.generation
