"""Token exchange (RFC 8693): a vault token renewed or narrowed for a sub-agent, or a workload's first one.

Errors have the shape of RFC 6749 §5.2 here.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from dispenser.http.bodies import FORM_TYPE, form
from dispenser.http.callers import DOOR, proof, sender
from dispenser.http.description import form_request
from dispenser.http.door import Door, TheDoor
from dispenser.http.dpop import InvalidProof
from dispenser.http.problems import STATUS, Refused, of_reply
from dispenser.http.turn import turn
from dispenser.protocol import RETRYABLE, ChildCall, Code, RenewCall, Reply
from dispenser.subject_token import InvalidSubjectToken, claimed
from dispenser.vault_token import DEFAULT_TTL_SECONDS, LONGEST_TTL_SECONDS

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
ACCESS_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
ID_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - a type's name
#: With any of these the new vault token is a sub-agent's; without, it is the old one with a new life.
NARROWING: Final = ("actor", "services", "scope", "owner", "ttl_seconds", "dpop_jkt")
UNSUPPORTED: Final[Mapping[str, str]] = {
    "actor_token": "invalid_request",
    "audience": "invalid_target",
    "resource": "invalid_target",
}
EXCHANGE_SECONDS: Final = 10.0
router = APIRouter(tags=["vault tokens"])


class Exchanged(BaseModel):
    """RFC 8693 §2.2.1."""

    access_token: str = Field(description="The new vault token.")
    issued_token_type: str = JWT_TYPE
    token_type: str = Field(description="`DPoP` (RFC 9449 §5) for a token that is bound to a key.")
    expires_in: int = Field(description="Seconds.")


class OAuthError(BaseModel):
    """RFC 6749 §5.2."""

    error: str
    error_description: str


@router.post(
    "/v1/token",
    response_model=Exchanged,
    responses={status: {"model": OAuthError} for status in (400, 429, 503)},
    openapi_extra=form_request(
        FORM_TYPE,
        {
            "grant_type": {"const": GRANT_TYPE},
            "subject_token": {
                "type": "string",
                "minLength": 1,
                "description": "A live vault token, or a JWT of a declared issuer.",
            },
            "subject_token_type": {"enum": [JWT_TYPE, ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE]},
        },
        actor={"type": "string", "description": "The agent that acts with it."},
        services={"type": "string", "description": "Separated by spaces."},
        scope={"type": "string", "description": "Only services within these."},
        owner={"type": "string", "description": "Whom alone it is for."},
        ttl_seconds={"type": "number", "exclusiveMinimum": 0},
        dpop_jkt={"type": "string", "description": "Thumbprint of its key."},
    ),
)
async def exchange(request: Request, door: TheDoor) -> Any:
    """A vault token: with a new life, narrower for a sub-agent, or for a workload with a token of its own.

    The header `DPoP` (RFC 9449) proves the key that subject_token is bound to, or binds the new one to it.
    """
    try:
        fields = await form(request)
    except ValueError as error:
        return _refusal("invalid_request", str(error))
    mistake = _mistake(fields)
    if mistake:
        return _refusal(*mistake)
    try:
        return _answer(await _exchanged(request, door, fields))
    except InvalidProof as error:
        return _refusal("invalid_dpop_proof", str(error))
    except ValueError as error:
        return _refusal("invalid_request", str(error))
    except Refused as refused:
        problem = refused.problem
        return _refusal("temporarily_unavailable", problem.detail, problem.status, problem.headers)


def _mistake(fields: Mapping[str, str]) -> tuple[str, str] | None:
    """What is wrong with the request, as RFC 8693 §2.2.2 has it."""
    if fields.get("grant_type") != GRANT_TYPE:
        return "unsupported_grant_type", f"The grant type here is {GRANT_TYPE}."
    if not fields.get("subject_token"):
        return "invalid_request", "subject_token is missing: send the vault token to renew."
    if not {fields.get("subject_token_type"), fields.get("requested_token_type", JWT_TYPE)} <= {
        JWT_TYPE,
        ACCESS_TOKEN_TYPE,
        ID_TOKEN_TYPE,
    }:
        return "invalid_request", f"Token types here are {JWT_TYPE}."
    for name, error in UNSUPPORTED.items():
        if fields.get(name):
            return error, f"{name} is not taken: a vault token is for the vault alone."
    return None


async def _exchanged(request: Request, door: Door, fields: Mapping[str, str]) -> Reply:
    """Raises: ValueError, InvalidProof, and Refused where too much is asked."""
    vault_token = fields["subject_token"]
    if (refusal := door.dispenser.stranger(vault_token, sender(request))) is not None:
        return refusal
    if _is_foreign(door, vault_token):
        return await _admitted(request, door, fields)
    proven = (await proof(request, door, vault_token)).key if "DPoP" in request.headers else None
    identity = await door.dispenser.authenticate(vault_token, door=DOOR, proven=proven)
    if isinstance(identity, Reply):
        return identity
    async with turn(door, identity, EXCHANGE_SECONDS) as mine:
        return await mine.answer(_call(fields, proven))


def _is_foreign(door: Door, subject: str) -> bool:
    try:
        return claimed(subject).issuer != door.settings.vault_name
    except InvalidSubjectToken:
        return False  # to be refused as a vault token


async def _admitted(request: Request, door: Door, fields: Mapping[str, str]) -> Reply:
    """A workload's vault token. Raises: ValueError."""
    if any(fields.get(name) for name in NARROWING if name != "ttl_seconds"):
        raise ValueError("Only a vault token is narrowed: exchange this token first, and then that one.")
    proven = (await proof(request, door, None)).key if "DPoP" in request.headers else None
    return await door.workloads.exchange(
        fields["subject_token"],
        proven=proven,
        ttl_seconds=_seconds(fields.get("ttl_seconds")) or DEFAULT_TTL_SECONDS,
        request_id=door.entropy(16).hex(),
    )


def _call(fields: Mapping[str, str], proven: str | None) -> RenewCall | ChildCall:
    """Raises: ValueError."""
    if not any(fields.get(name) for name in NARROWING):
        return RenewCall()
    return ChildCall(
        services=_names(fields, "services"),
        scopes=_names(fields, "scope"),
        owner=fields.get("owner") or None,
        actor=fields.get("actor") or None,
        ttl=_seconds(fields.get("ttl_seconds")),
        key=fields.get("dpop_jkt") or proven,
    )


def _names(fields: Mapping[str, str], name: str) -> tuple[str, ...] | None:
    """A field without a value counts as left out (RFC 6749 §3.1), but spaces are none."""
    if not fields.get(name):
        return None
    names = tuple(fields[name].split())
    if not names:
        raise ValueError(f"{name} names nothing: a vault token that is good for nothing is not made.")
    return names


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text) if text else None
    except ValueError:
        seconds = 0.0
    if seconds is not None and not 0 < seconds <= LONGEST_TTL_SECONDS:
        raise ValueError(f"ttl_seconds is a number of seconds, up to {LONGEST_TTL_SECONDS}.")
    return seconds


def _answer(reply: Reply) -> Exchanged | JSONResponse:
    if reply.code is Code.OK and reply.access_token and reply.expires_in:
        return Exchanged(
            access_token=reply.access_token,
            token_type=reply.token_type or "Bearer",
            expires_in=int(reply.expires_in),
        )
    if reply.code is Code.DENIED:
        return _refusal("invalid_scope", reply.reason)
    if reply.code in RETRYABLE:
        return _refusal("temporarily_unavailable", reply.reason, STATUS[reply.code], of_reply(reply).headers)
    return _refusal(
        "invalid_request", reply.reason
    )  # RFC 8693 §2.2.2 for a bad subject_token, whatever is bad


def _refusal(
    error: str,
    description: str,
    status: HTTPStatus = HTTPStatus.BAD_REQUEST,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status, headers)
