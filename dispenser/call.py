"""What an agent may ask for. Nouns without slots, so that a `Form` can read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgpack

from dispenser import form, frame
from dispenser.form import Form
from dispenser.frame import MalformedFrame

#: Calls whose spelling is kept, of 16 KiB at most.
_REMEMBERED: Final = 256


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class RejectedCall:
    """The API answered 401 to the token of this generation: refresh it once."""

    service: str
    owner: str | None = None
    generation: int


@dataclass(frozen=True, kw_only=True)
class RenewCall:
    """A new vault token in place of the request's own: it is the reply's `access_token`."""


@dataclass(frozen=True, kw_only=True)
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


def service_of(call: Call) -> str:
    """The service that a call is about; empty: it is about the vault token itself."""
    return call.service if isinstance(call, TokenCall | RejectedCall) else ""


def pack_call(call: Call) -> bytes:
    """Raises: MalformedFrame for what `read_call` would refuse."""
    if isinstance(call, TokenCall):
        try:
            return _packed_token(call.service, call.owner, call.min_ttl, call.scopes, call.purpose)
        except TypeError:
            # What has no hash is no field of a call either.
            return _packed(call)
    return _packed(call)


@lru_cache(_REMEMBERED, typed=True)
def _packed_token(
    service: str, owner: str | None, min_ttl: float | None, scopes: tuple[str, ...] | None, purpose: str
) -> bytes:
    """An agent asks for the same few over and over. Kept by type: what equals a good call need not be one."""
    return _packed(TokenCall(service=service, owner=owner, min_ttl=min_ttl, scopes=scopes, purpose=purpose))


def _packed(call: Call) -> bytes:
    operation, fields = _OPERATIONS[type(call)], form.written(call)
    try:
        _FORMS[operation].checked(fields.items())
        return bytes(msgpack.packb({"op": operation} | fields))
    except UnicodeEncodeError:
        raise MalformedFrame("A text is not Unicode.") from None


def read_call(pairs: object) -> Call:
    """A call as it was unpacked. Raises: MalformedFrame."""
    fields = frame.once(pairs)
    operation = frame.text(fields.pop("op", None), "op")
    if operation not in _FORMS:
        frame.refuse(operation, "op")
    call: Call = _FORMS[operation].read(fields.items())
    return call


def _scopes(value: object, name: str) -> tuple[str, ...] | None:
    return frame.texts(value, name) or None


def _narrowed(value: object, name: str) -> tuple[str, ...]:
    texts = frame.texts(value, name)
    if not texts:
        raise MalformedFrame("A child's vault token that is good for nothing is not made.")
    return texts


_OPERATIONS: Final[Mapping[type[Call], str]] = {
    TokenCall: "token",
    RejectedCall: "rejected",
    RenewCall: "renew",
    ChildCall: "child",
}
_FORMS: Final[Mapping[str, Form[Any]]] = {
    "token": Form(
        TokenCall,
        {
            "service": frame.text,
            "owner": frame.text,
            "min_ttl": frame.seconds,
            "scopes": _scopes,
            "purpose": frame.text,
        },
    ),
    "rejected": Form(RejectedCall, {"service": frame.text, "owner": frame.text, "generation": frame.integer}),
    "renew": Form(RenewCall, {}),
    "child": Form(
        ChildCall,
        {
            "services": _narrowed,
            "scopes": _narrowed,
            "owner": frame.text,
            "actor": frame.text,
            "ttl": frame.seconds,
            "key": frame.text,
        },
    ),
}
