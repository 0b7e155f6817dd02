"""What agents and dispensers say to each other: msgpack frames with hard limits, the same at both ends.

A *request* is one message with up to 64 calls. Its *replies* come in one or more messages, each a list of
pairs of a call's index and its reply, so that a call which has to wait holds up no other. Both travel sealed
in an agent's session (`dispenser.sealed_frame`), and never otherwise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgpack

from dispenser import frame
from dispenser.frame import MalformedFrame as MalformedFrame  # noqa: PLC0414 - belongs to the protocol

VERSION: Final = 1
#: Where requests go.
RPC_EXCHANGE: Final = "vault.rpc"
RPC_KEY: Final = "token.get"
#: What is behind that key.
RPC_QUEUE: Final = "vault.rpc.token"
#: A reply queue's name begins with it; the broker's user, a dot and 128 random bits in hexadecimal follow.
REPLY_PREFIX: Final = "vault.reply."
CONTENT_TYPE: Final = "application/octet-stream"
MAX_BODY_BYTES: Final = 16 * 1024
MAX_CALLS: Final = 64
#: One reply with a long token stays under it; a reply frame of many calls is split.
MAX_REPLY_BYTES: Final = 256 * 1024
DEFAULT_DEADLINE_SECONDS: Final = 10.0


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCall:
    """Give me an access token."""

    service: str
    #: None: the owner in the vault token.
    owner: str | None = None
    #: Seconds the token must still live; None: a fifth of its life, at most a minute.
    min_ttl: float | None = None
    #: The scopes that must be among those granted; None: whatever the service has.
    scopes: tuple[str, ...] | None = None
    #: Why, for the audit.
    purpose: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedCall:
    """The API answered 401 to the token of this generation: refresh it once."""

    service: str
    owner: str | None = None
    generation: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewCall:
    """A new vault token in place of the request's own: it is the reply's `access_token`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCall:
    """A vault token for a sub-agent, narrower than the request's own: it is the reply's `access_token`."""

    #: None, here and below: as the request's own.
    services: tuple[str, ...] | None = None
    #: Services with other scopes than these are left out.
    scopes: tuple[str, ...] | None = None
    owner: str | None = None
    #: The agent that acts with it.
    actor: str | None = None
    #: Seconds; it ends with the request's own vault token at the latest.
    ttl: float | None = None
    #: Thumbprint (RFC 7638) of the key it is bound to.
    key: str | None = None


Call = TokenCall | RejectedCall | RenewCall | ChildCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message from an agent."""

    calls: tuple[Call, ...]
    #: By the agent's clock, in seconds since the epoch.
    sent_at: float
    #: Seconds from sending within which an answer is of use.
    deadline_seconds: float = DEFAULT_DEADLINE_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
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


def service_of(call: Call) -> str:
    """The service that a call is about; empty: it is about the vault token itself."""
    return call.service if isinstance(call, TokenCall | RejectedCall) else ""


_OPERATIONS: Final[Mapping[type[Call], str]] = {
    TokenCall: "token",
    RejectedCall: "rejected",
    RenewCall: "renew",
    ChildCall: "child",
}
_CODES: Final = frozenset(code.value for code in Code)
_REQUEST_FIELDS: Final = frozenset({"v", "sent_at", "deadline", "calls"})
_CALL_FIELDS: Final = {
    operation: frozenset({"op", *kind.__dataclass_fields__}) for kind, operation in _OPERATIONS.items()
}


def encode_request(request: Request) -> bytes:
    """Raises: MalformedFrame when `decode_request` would refuse it."""
    fields = {
        "v": VERSION,
        "sent_at": request.sent_at,
        "deadline": request.deadline_seconds,
        "calls": [_call_fields(call) for call in request.calls],
    }
    try:
        body = bytes(msgpack.packb(fields))
    except (ValueError, OverflowError):
        raise MalformedFrame("A text is not Unicode, or a number has more than 64 bits.") from None
    decode_request(body)
    return body


def decode_request(body: bytes) -> Request:
    """Raises: MalformedFrame for anything but what `encode_request` makes."""
    fields = _versioned(body, MAX_BODY_BYTES)
    frame.only(fields, _REQUEST_FIELDS)
    calls = frame.items(fields, "calls")
    if not 0 < len(calls) <= MAX_CALLS:
        raise MalformedFrame(f"A request holds 1 to {MAX_CALLS} calls.")
    return Request(
        sent_at=frame.instant(fields, "sent_at"),
        deadline_seconds=frame.seconds(fields, "deadline"),
        calls=tuple(_decoded_call(call) for call in calls),
    )


def encode_replies(replies: Iterable[tuple[int, Reply]]) -> bytes:
    """A message's replies, each with its call's index. Raises: MalformedFrame when they are too large."""
    pairs = [[index, _reply_fields(reply)] for index, reply in replies]
    body = bytes(msgpack.packb({"v": VERSION, "replies": pairs}))
    if len(body) > MAX_REPLY_BYTES:
        raise MalformedFrame(f"A message of replies is at most {MAX_REPLY_BYTES} bytes long.")
    return body


def decode_replies(body: bytes) -> list[tuple[int, Reply]]:
    """Raises: MalformedFrame. Fields of a later version are passed over: an old client goes on working."""
    fields = _versioned(body, MAX_REPLY_BYTES)
    return [_decoded_pair(pair) for pair in frame.items(fields, "replies")]


def _versioned(body: bytes, max_bytes: int) -> frame.Fields:
    fields = frame.read(body, max_bytes=max_bytes)
    if frame.integer(fields, "v") != VERSION:
        raise MalformedFrame(f"A frame of this protocol has v = {VERSION}.")
    return fields


def _call_fields(call: Call) -> dict[str, Any]:
    return {"op": _OPERATIONS[type(call)]} | _set_fields(call)


def _reply_fields(reply: Reply) -> dict[str, Any]:
    return _set_fields(reply) | {"code": reply.code.value}


def _set_fields(value: Call | Reply) -> dict[str, Any]:
    names = type(value).__dataclass_fields__
    return {name: item for name in names if (item := getattr(value, name)) not in (None, "", ())}


def _decoded_call(fields: object) -> Call:
    if not isinstance(fields, dict):
        raise MalformedFrame("A call is a map.")
    operation = frame.text(fields, "op")
    frame.only(fields, _CALL_FIELDS.get(operation, frozenset()))
    match operation:
        case "token":
            return _decoded_token_call(fields)
        case "rejected":
            return RejectedCall(
                service=frame.text(fields, "service"),
                owner=frame.optional(frame.text, fields, "owner"),
                generation=frame.integer(fields, "generation"),
            )
        case "child":
            return _decoded_child_call(fields)
        case _:
            return RenewCall()


def _decoded_token_call(fields: frame.Fields) -> TokenCall:
    return TokenCall(
        service=frame.text(fields, "service"),
        owner=frame.optional(frame.text, fields, "owner"),
        min_ttl=frame.optional(frame.seconds, fields, "min_ttl"),
        scopes=frame.texts(fields, "scopes") or None,
        purpose=frame.optional(frame.text, fields, "purpose") or "",
    )


def _decoded_child_call(fields: frame.Fields) -> ChildCall:
    if () in (_narrowed(fields, "services"), _narrowed(fields, "scopes")):
        raise MalformedFrame("A child's vault token that is good for nothing is not made.")
    return ChildCall(
        services=_narrowed(fields, "services"),
        scopes=_narrowed(fields, "scopes"),
        owner=frame.optional(frame.text, fields, "owner"),
        actor=frame.optional(frame.text, fields, "actor"),
        ttl=frame.optional(frame.seconds, fields, "ttl"),
        key=frame.optional(frame.text, fields, "key"),
    )


def _narrowed(fields: frame.Fields, name: str) -> tuple[str, ...] | None:
    return None if fields.get(name) is None else frame.texts(fields, name)


def _decoded_pair(pair: object) -> tuple[int, Reply]:
    match pair:
        case [int(index), dict(fields)] if 0 <= index < MAX_CALLS and not isinstance(index, bool):
            return index, _decoded_reply(fields)
        case _:
            raise MalformedFrame("A reply is a pair of a call's index and a map.")


def _decoded_reply(fields: frame.Fields) -> Reply:
    return Reply(
        code=_decoded_code(fields),
        service=frame.optional(frame.any_text, fields, "service") or "",
        access_token=frame.optional(frame.any_text, fields, "access_token"),
        token_type=frame.optional(frame.any_text, fields, "token_type"),
        expires_at=frame.optional(frame.instant, fields, "expires_at"),
        expires_in=frame.optional(frame.seconds, fields, "expires_in"),
        scopes=frame.texts(fields, "scopes"),
        generation=frame.optional(frame.integer, fields, "generation"),
        reason=frame.optional(frame.any_text, fields, "reason") or "",
        connect_url=frame.optional(frame.any_text, fields, "connect_url"),
        missing_scopes=frame.texts(fields, "missing_scopes"),
        retry_after=frame.optional(frame.seconds, fields, "retry_after"),
    )


def _decoded_code(fields: frame.Fields) -> Code:
    text = frame.text(fields, "code")
    if text not in _CODES:
        raise MalformedFrame("A reply has a code that this client does not know: upgrade it.")
    return Code(text)
