"""What an answer of the HTTP door says, as the wire protocol's reply."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from dispenser.protocol import Code, Reply

#: What a status means without a code: a proxy in between has none, nor have the errors of RFC 6749 §5.2.
_BY_STATUS: Final[Mapping[int, Code]] = {
    400: Code.INVALID_REQUEST,
    401: Code.UNAUTHENTICATED,
    403: Code.DENIED,
    404: Code.NOT_FOUND,
    429: Code.RATE_LIMITED,
    502: Code.OVERLOADED,
    503: Code.OVERLOADED,
    504: Code.DEADLINE_EXCEEDED,
}
#: Of RFC 6749 §5.2 and RFC 9449, where the status does not tell.
_BY_ERROR: Final[Mapping[str, Code]] = {
    "invalid_scope": Code.DENIED,
    "invalid_dpop_proof": Code.UNAUTHENTICATED,
}


def reply(status: int, document: object, *, retry_after: str | None, service: str) -> Reply:
    """The reply in a JSON document. Raises: ValueError for a document that is none of this door's."""
    fields = document if isinstance(document, dict) else {}
    if status in (200, 202, 204):
        return _granted(fields, service)
    return Reply(
        code=_code(status, fields),
        service=service,
        reason=_text(fields, "detail") or _text(fields, "error_description") or "",
        connect_url=_text(fields, "connect_url"),
        missing_scopes=_texts(fields, "missing_scopes"),
        retry_after=_retry_after(fields, retry_after),
    )


def _granted(fields: Mapping[str, Any], service: str) -> Reply:
    expires_at = _text(fields, "expires_at")
    return Reply(
        code=Code.OK,
        service=service,
        access_token=_text(fields, "access_token"),
        token_type=_text(fields, "token_type"),
        expires_in=_number(fields, "expires_in"),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at).timestamp(),
        scopes=tuple((_text(fields, "scope") or "").split()),
        generation=_generation(fields),
    )


def _code(status: int, fields: Mapping[str, Any]) -> Code:
    """The problem's own code (RFC 9457 §3.2), else what its status means."""
    if fields.get("code") in list(Code) and fields["code"] != Code.OK:
        return Code(fields["code"])
    if fields.get("error") in _BY_ERROR:
        return _BY_ERROR[fields["error"]]
    if status not in _BY_STATUS:
        raise ValueError(f"HTTP status {status}")
    return _BY_STATUS[status]


def _retry_after(fields: Mapping[str, Any], header: str | None) -> float | None:
    """The member, else the header's seconds (RFC 9110 §10.2.3); its other form, a date, is passed over."""
    member = _number(fields, "retry_after")
    if member is not None or header is None or not (header.isascii() and header.isdigit()):
        return member
    return float(header)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"`{name}` is not a text")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = fields.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"`{name}` is not a list of texts")
    return tuple(values)


def _number(fields: Mapping[str, Any], name: str) -> float | None:
    value = fields.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"`{name}` is not a number")
    return value if value is None else float(value)


def _generation(fields: Mapping[str, Any]) -> int | None:
    value = _number(fields, "generation")
    return None if value is None else int(value)
