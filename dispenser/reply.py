"""What an agent is told. A noun without slots, so that a `Form` can read it."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from dispenser import frame
from dispenser.form import Form
from dispenser.frame import MalformedFrame


class Code(StrEnum):
    """How a call ended."""

    OK = "ok"
    DENIED = "denied"
    REAUTH_REQUIRED = "reauth_required"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    RATE_LIMITED = "rate_limited"
    PROVIDER_DOWN = "provider_down"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    TTL_UNAVAILABLE = "ttl_unavailable"
    OVERLOADED = "overloaded"
    NOT_FOUND = "not_found"
    #: The vault token is missing, foreign, expired or revoked.
    UNAUTHENTICATED = "unauthenticated"
    #: The request itself is wrong: repeating it will not help.
    INVALID_REQUEST = "invalid_request"


#: The same call may succeed later.
RETRYABLE: Final = frozenset({Code.RATE_LIMITED, Code.PROVIDER_DOWN, Code.DEADLINE_EXCEEDED, Code.OVERLOADED})


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One call's outcome. Fields beyond `code` are there where they mean something."""

    code: Code
    service: str = ""
    access_token: str | None = field(default=None, repr=False)
    token_type: str | None = None
    #: Seconds since the epoch; None: the token does not expire.
    expires_at: float | None = None
    #: Seconds from the answer on, by the dispenser's clock.
    expires_in: float | None = None
    scopes: tuple[str, ...] = ()
    generation: int | None = None
    #: For people: what happened and what to do next.
    reason: str = ""
    #: Where the owner gives consent.
    connect_url: str | None = None
    missing_scopes: tuple[str, ...] = ()
    retry_after: float | None = None


def read_reply(pairs: object) -> Reply:
    """A reply as it was unpacked. Raises: MalformedFrame."""
    return _FORM.read(frame.pairs(pairs))


def _code(value: object, name: str) -> Code:
    code = _CODES.get(frame.any_text(value, name))
    if code is None:
        raise MalformedFrame("A reply has a code that this client does not know: upgrade it.")
    return code


def _passed_over(value: object, name: str) -> None:
    """Of a later version's field: an old client goes on working."""
    frame.plain([(name, value)], _REPLY_LEVELS)


#: What is left of a frame's from a reply's map on, which is in a pair, in a list, in a map.
_REPLY_LEVELS: Final = frame.MAX_DEPTH - 3
_CODES: Final = {code.value: code for code in Code}
_FORM: Final = Form(
    Reply,
    {
        "code": _code,
        "service": frame.any_text,
        "access_token": frame.any_text,
        "token_type": frame.any_text,
        "expires_at": frame.instant,
        "expires_in": frame.seconds,
        "scopes": frame.texts,
        "generation": frame.integer,
        "reason": frame.any_text,
        "connect_url": frame.any_text,
        "missing_scopes": frame.texts,
        "retry_after": frame.seconds,
    },
    _passed_over,
)
