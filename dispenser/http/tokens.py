"""Vault tokens, made for agents by an admin."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from dispenser.agent_key import from_jwk, thumbprint
from dispenser.http.arguments import MAX_OWNER_CHARACTERS
from dispenser.http.bodies import json_body
from dispenser.http.callers import Admin
from dispenser.http.description import json_request
from dispenser.http.door import Door, TheDoor
from dispenser.http.problems import Problem, Refused, documented, of_code
from dispenser.protocol import Code
from dispenser.vault_token import (
    DEFAULT_TTL_SECONDS,
    LONGEST_TTL_SECONDS,
    Identity,
    mint,
    sufficient,
    token_type,
)
from shared.model import AgentName, AuditRecord, Owner, SessionId

ID_BYTES: Final = 16
router = APIRouter(tags=["vault tokens"])


class PublicKey(BaseModel):
    """An Ed25519 key as a JWK (RFC 8037)."""

    model_config = ConfigDict(extra="forbid")

    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str = Field(pattern="^[A-Za-z0-9_-]{43}$")


class Wanted(BaseModel):
    """For whom the token speaks."""

    model_config = ConfigDict(extra="forbid")

    owner: str = Field(min_length=1, max_length=MAX_OWNER_CHARACTERS)
    ttl_seconds: int = Field(default=DEFAULT_TTL_SECONDS, ge=1, le=LONGEST_TTL_SECONDS)
    session: str | None = Field(default=None, min_length=1, max_length=128, description="Missing: a new one.")
    key: PublicKey | None = Field(default=None, description="The agent's: the token is bound to it.")


class VaultToken(BaseModel):
    """A vault token, shown this once."""

    token: str
    token_type: str = Field(description="`DPoP` (RFC 9449 §5) for a token that is bound to a key.")
    expires_in: int = Field(description="Seconds.")
    agent: str
    session: str
    owner: str


@router.post(
    "/v1/agents/{agent}/tokens",
    status_code=HTTPStatus.CREATED,
    responses=documented(400, 401, 404, 409, 503),
    openapi_extra=json_request(Wanted),
)
async def issue(
    agent: AgentName, door: TheDoor, admin: Admin, wanted: Annotated[Wanted, json_body(Wanted)]
) -> VaultToken:
    """Make a vault token for one session of an agent, on behalf of one owner."""
    identity = _identity(door, agent, wanted)
    await _require_good(door, identity)
    await door.journal.append(_record(identity, admin))
    return VaultToken(
        token=mint(door.keys, identity, vault=door.settings.vault_name),
        token_type=token_type(identity),
        expires_in=wanted.ttl_seconds,
        agent=identity.agent,
        session=identity.session,
        owner=identity.owner,
    )


def _identity(door: Door, agent: AgentName, wanted: Wanted) -> Identity:
    now = door.clock()
    return Identity(
        agent=agent,
        session=SessionId(wanted.session or door.entropy(ID_BYTES).hex()),
        owner=Owner(wanted.owner),
        token_id=door.entropy(ID_BYTES).hex(),
        issued_at=now,
        expires_at=now + timedelta(seconds=wanted.ttl_seconds),
        key=None if wanted.key is None else thumbprint(from_jwk(wanted.key.model_dump())),
    )


async def _require_good(door: Door, identity: Identity) -> None:
    agent = await door.store.catalogue.agent(identity.agent)
    if agent is None:
        raise Refused(of_code(Code.NOT_FOUND, "There is no such agent: declare it with `dispenser apply`."))
    if agent.revoked_at is not None:
        detail = "This agent was revoked: nothing is made for it."
        raise Refused(Problem(status=HTTPStatus.CONFLICT, code="agent_revoked", detail=detail))
    if not sufficient(identity, agent):
        detail = "This agent has to prove a key: send its public one as `key`."
        raise Refused(Problem(status=HTTPStatus.CONFLICT, code="key_required", detail=detail))


def _record(identity: Identity, admin: str) -> AuditRecord:
    return AuditRecord(
        writer="",
        sequence=0,
        at=identity.issued_at,
        action="vault_token.issued",
        outcome=Code.OK.value,
        agent=identity.agent,
        session=identity.session,
        owner=identity.owner,
        request_id=identity.token_id,
        door="http",
        admin=admin,
    )
