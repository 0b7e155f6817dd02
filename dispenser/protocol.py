"""What agents and dispensers say to each other: msgpack frames with hard limits, the same at both ends.

A *request* is one message with one vault token and up to 64 calls. Its *replies* come in one or more
messages, each a list of pairs of a call's index and its reply, so that a call which has to wait holds up
no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import msgpack

VERSION: Final = 1
MAX_BODY_BYTES: Final = 16 * 1024
MAX_CALLS: Final = 64
MAX_DEPTH: Final = 6
MAX_TEXT_BYTES: Final = 4096
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


class MalformedFrame(ValueError):
    """A body that is not a frame of this protocol."""


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


Call = TokenCall | RejectedCall


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One message from an agent."""

    vault_token: str = field(repr=False)
    calls: tuple[Call, ...]
    #: Same id, same request: for the audit, and so that a repetition is recognized.
    id: str
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


def encode_request(request: Request) -> bytes:
    """Raises: MalformedFrame when it would be refused for its size."""
    body = msgpack.packb(
        {
            "v": VERSION,
            "id": request.id,
            "token": request.vault_token,
            "deadline": request.deadline_seconds,
            "calls": [_call_fields(call) for call in request.calls],
        }
    )
    if len(body) > MAX_BODY_BYTES or not 0 < len(request.calls) <= MAX_CALLS:
        raise MalformedFrame(f"A request holds 1 to {MAX_CALLS} calls in at most {MAX_BODY_BYTES} bytes.")
    return bytes(body)


def decode_request(body: bytes) -> Request:
    """Raises: MalformedFrame for anything but exactly what `encode_request` makes."""
    fields = _frame(body, MAX_BODY_BYTES)
    calls = _field(fields, "calls", list)
    if not 0 < len(calls) <= MAX_CALLS:
        raise MalformedFrame(f"A request holds 1 to {MAX_CALLS} calls.")
    return Request(
        id=_field(fields, "id", str),
        vault_token=_field(fields, "token", str),
        deadline_seconds=_seconds(fields, "deadline") or DEFAULT_DEADLINE_SECONDS,
        calls=tuple(_decoded_call(call) for call in calls),
    )


def encode_replies(replies: Iterable[tuple[int, Reply]]) -> bytes:
    """A message's replies, each with the index of its call."""
    return bytes(
        msgpack.packb({"v": VERSION, "replies": [[index, _reply_fields(reply)] for index, reply in replies]})
    )


def decode_replies(body: bytes) -> list[tuple[int, Reply]]:
    """Raises: MalformedFrame."""
    pairs = _field(_frame(body, MAX_REPLY_BYTES), "replies", list)
    return [_decoded_reply(pair) for pair in pairs]


def _call_fields(call: Call) -> dict[str, Any]:
    operation = "token" if isinstance(call, TokenCall) else "rejected"
    return {"op": operation} | _set_fields(call)


def _reply_fields(reply: Reply) -> dict[str, Any]:
    return _set_fields(reply) | {"code": reply.code.value}


def _set_fields(value: Call | Reply) -> dict[str, Any]:
    names = type(value).__dataclass_fields__
    return {name: item for name in names if (item := getattr(value, name)) not in (None, "", ())}


def _decoded_call(fields: object) -> Call:
    if not isinstance(fields, dict):
        raise MalformedFrame("A call is a map.")
    service = _field(fields, "service", str)
    owner = _optional(fields, "owner", str)
    match fields.get("op"):
        case "token":
            return TokenCall(
                service=service,
                owner=owner,
                min_ttl=_seconds(fields, "min_ttl"),
                scopes=_texts(fields, "scopes"),
                purpose=_optional(fields, "purpose", str) or "",
            )
        case "rejected":
            return RejectedCall(service=service, owner=owner, generation=_field(fields, "generation", int))
        case _:
            raise MalformedFrame("A call's op is `token` or `rejected`.")


def _decoded_reply(pair: object) -> tuple[int, Reply]:
    if not (isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int)):  # noqa: PLR2004 - a pair
        raise MalformedFrame("A reply is a pair of index and map.")
    index, fields = pair
    if not isinstance(fields, dict):
        raise MalformedFrame("A reply is a map.")
    known = Reply.__dataclass_fields__
    # Fields of a later version are passed over: an old client goes on working.
    arguments: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k in known
    }
    try:
        return index, Reply(**arguments | {"code": Code(fields.get("code", ""))})
    except ValueError:
        raise MalformedFrame("A reply has a code this client does not know: upgrade it.") from None


def _frame(body: bytes, max_bytes: int) -> dict[str, Any]:
    if len(body) > max_bytes:
        raise MalformedFrame(f"A frame is at most {max_bytes} bytes long.")
    try:
        frame = msgpack.unpackb(
            body,
            object_pairs_hook=_unique,
            ext_hook=_no_extension,
            max_str_len=max_bytes,
            max_bin_len=0,
            max_array_len=4 * MAX_CALLS,
            max_map_len=32,
            max_ext_len=0,
        )
    except MalformedFrame:
        raise
    except (ValueError, msgpack.UnpackException, RecursionError, UnicodeDecodeError):
        raise MalformedFrame("The body is not msgpack as this protocol has it.") from None
    if not isinstance(frame, dict) or frame.get("v") != VERSION or _depth(frame) > MAX_DEPTH:
        raise MalformedFrame(f"A frame is a map with v = {VERSION}, at most {MAX_DEPTH} levels deep.")
    return frame


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs) or not all(isinstance(key, str) for key in fields):
        raise MalformedFrame("A map's keys are texts, each once.")
    return fields


def _no_extension(_code: int, _data: bytes) -> object:
    raise MalformedFrame("Extension types are not part of this protocol.")


def _depth(value: object) -> int:
    """Levels of nesting, without recursion on what a stranger sent."""
    level, inside = 0, [value]
    while inside and level <= MAX_DEPTH:
        level += 1
        inside = [item for outer in inside for item in _items(outer)]
    return level


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _field(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MalformedFrame(f"`{name}` is missing or not a {kind.__name__}.")
    if isinstance(value, str) and len(value) > MAX_TEXT_BYTES:
        raise MalformedFrame(f"`{name}` is longer than {MAX_TEXT_BYTES}.")
    return value


def _optional(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    return None if fields.get(name) is None else _field(fields, name, kind)


def _seconds(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise MalformedFrame(f"`{name}` is a number of seconds, not negative.")
    return float(value)


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    values = _optional(fields, name, list)
    if values is None:
        return None
    if not all(isinstance(value, str) for value in values):
        raise MalformedFrame(f"`{name}` is a list of texts.")
    return tuple(values)
