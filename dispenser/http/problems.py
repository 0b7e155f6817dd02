"""Refusals as problem documents (RFC 9457), each with a stable `code`."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from dispenser.protocol import RETRYABLE, Code, Reply
from shared.errors import VaultError

MEDIA_TYPE: Final = "application/problem+json"
#: Seconds after which a refusal that may pass is worth another try, where nobody knows better.
RETRY_SECONDS: Final = 1.0
STATUS: Final[Mapping[Code, HTTPStatus]] = {
    Code.OK: HTTPStatus.OK,
    Code.INVALID_REQUEST: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Code.DENIED: HTTPStatus.FORBIDDEN,
    Code.INSUFFICIENT_SCOPE: HTTPStatus.FORBIDDEN,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.REAUTH_REQUIRED: HTTPStatus.CONFLICT,
    Code.TTL_UNAVAILABLE: HTTPStatus.CONFLICT,
    Code.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Code.PROVIDER_DOWN: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.OVERLOADED: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}


class ProblemDocument(BaseModel):
    """What every refusal of this API looks like (RFC 9457 §3)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["about:blank"])
    title: str = Field(examples=["Conflict"])
    status: int = Field(examples=[409])
    detail: str = Field(description="For people: what happened and what to do next.")
    code: str = Field(description="For programs: stable.", examples=["reauth_required"])
    connect_url: str | None = Field(default=None, description="Where the owner gives consent.")
    missing_scopes: list[str] | None = None
    retry_after: int | None = Field(default=None, description="Seconds.")


#: A problem document's place in an OpenAPI description.
DESCRIBED: Final = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A refusal, before it is written down."""

    status: HTTPStatus
    code: str
    detail: str
    #: What programs need beyond the code.
    extensions: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The members of RFC 9457 §3.1, and ours (§3.2)."""
        return {
            "type": "about:blank",  # the title is the status's phrase (§4.2.1); `code` tells more
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            "code": self.code,
            **self.extensions,
        }


class Refused(Exception):
    """Ends a request with a problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def of_code(code: Code, detail: str) -> Problem:
    """A refusal of the door's own, in the protocol's terms."""
    return of_reply(Reply(code=code, reason=detail))


def of_reply(reply: Reply) -> Problem:
    """A refusal by the dispenser."""
    retry_after = _retry_after(reply)
    extensions = {
        "service": reply.service or None,
        "connect_url": reply.connect_url,
        "missing_scopes": list(reply.missing_scopes) or None,
        "retry_after": retry_after,
    }
    return Problem(
        status=STATUS[reply.code],
        code=reply.code.value,
        detail=reply.reason,
        extensions={name: value for name, value in extensions.items() if value is not None},
        headers=_headers(reply.code, retry_after),
    )


def of_error(error: VaultError) -> Problem:
    """A failure of the world behind the door. Its message may name machines, so the class speaks instead."""
    status = HTTPStatus.SERVICE_UNAVAILABLE if error.retryable else HTTPStatus.INTERNAL_SERVER_ERROR
    return Problem(
        status=status,
        code=error.code,
        detail=type(error).__doc__ or error.code,
        headers=_retry_header(math.ceil(RETRY_SECONDS)) if error.retryable else {},
    )


def of_mistakes(mistakes: Iterable[Mapping[str, Any]]) -> Problem:
    """A request that does not fit its description. Names fields and rules, never what was sent."""
    found = [{"field": _place(mistake), "rule": str(mistake["type"])} for mistake in mistakes]
    fields = ", ".join(sorted({mistake["field"] for mistake in found}))
    return Problem(
        status=STATUS[Code.INVALID_REQUEST],
        code=Code.INVALID_REQUEST.value,
        detail=f"The request does not fit its description at /openapi.json: see {fields}.",
        extensions={"mistakes": found},
    )


def of_status(status: int) -> Problem:
    """A refusal by the routing: no such address, no such method."""
    known = HTTPStatus(status)
    return Problem(
        status=known,
        code=known.phrase.lower().replace(" ", "_"),
        detail=f"{known.description or known.phrase}. The API is described at /openapi.json.",
    )


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for its OpenAPI description."""
    return {status: {"content": DESCRIBED, "description": HTTPStatus(status).phrase} for status in statuses}


def _place(mistake: Mapping[str, Any]) -> str:
    # The name of an unknown field is the sender's text, and may be a secret in the wrong place.
    location = mistake["loc"][:-1] if mistake["type"] == "extra_forbidden" else mistake["loc"]
    return ".".join(str(part) for part in location) or "body"


def _headers(code: Code, retry_after: int | None) -> dict[str, str]:
    if code is Code.UNAUTHENTICATED:
        return {"WWW-Authenticate": 'Bearer realm="vault"'}  # RFC 6750 §3
    return _retry_header(retry_after)


def _retry_header(seconds: int | None) -> dict[str, str]:
    return {} if seconds is None else {"Retry-After": str(seconds)}  # RFC 9110 §10.2.3: whole seconds


def _retry_after(reply: Reply) -> int | None:
    if reply.code not in RETRYABLE:
        return None
    return math.ceil(reply.retry_after or RETRY_SECONDS)
