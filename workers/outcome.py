"""What a provider's answer means. Whatever it sends is turned into one of two values, and nothing raises."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from shared.model import ExpiryUnit, Provider, RefusalKind
from shared.secret import Secret
from workers import refusal_code
from workers.answer import CLOSED, Answer
from workers.pace import PAUSE_SECONDS

#: No token is believed to live longer: ten years, in seconds.
LONGEST_LIFE_SECONDS: Final = 10 * 365 * 86_400
LONGEST_RETRY_AFTER_SECONDS: Final = 86_400.0
# Slack names the holder where RFC 6749 §7.1 wants a scheme.
_TOKEN_TYPES: Final = {"bearer": "Bearer", "bot": "Bearer", "user": "Bearer", "dpop": "DPoP"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A token was issued."""

    access_token: Secret
    token_type: str
    #: None: the provider did not say.
    expires_in_seconds: float | None
    #: None: as asked for (RFC 6749 §5.1), or as before.
    scopes: tuple[str, ...] | None
    #: None: the old one goes on (RFC 6749 §6).
    refresh_token: Secret | None
    #: None: the provider did not say, as most do not.
    refresh_token_expires_in_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """No token was issued."""

    kind: RefusalKind
    #: An OAuth error code or `http_503`; never free text of the provider's.
    code: str
    retry_after_seconds: float | None = None


Outcome = Issued | Refused
NO_ANSWER: Final = Refused(kind=RefusalKind.AMBIGUOUS, code="no_answer")
CONNECTION_CLOSED: Final = Refused(kind=RefusalKind.AMBIGUOUS, code="connection_closed")
NOT_SENT: Final = Refused(kind=RefusalKind.TRANSIENT, code="not_sent")


def read(answer: Answer, provider: Provider, now: datetime, *, code_exchange: bool = False) -> Outcome:
    """The outcome of a token request: a non-empty access token is success, whatever the status says, and
    nothing else is. `code_exchange`: it answers an authorization code, and no refresh."""
    if answer.status is None:
        return NOT_SENT
    if answer.status == CLOSED:
        return CONNECTION_CLOSED
    fields = _fields(answer.body)
    path = provider.answer_path.exchange if code_exchange else provider.answer_path.refresh
    issued = _issued(_within(fields, path), provider)
    return issued or _refused(answer.status, answer.retry_after, fields, provider, now)


def rest_seconds(answer: Answer, now: datetime) -> float | None:
    """For how long the status alone asks to be left alone. None: it does not."""
    wait = _retry_after(answer.retry_after, now)
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        return PAUSE_SECONDS if wait is None else wait
    return wait if answer.status == HTTPStatus.SERVICE_UNAVAILABLE else None


def _fields(body: bytes) -> Mapping[str, Any]:
    """The members of a JSON object or a form; none for anything else."""
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text)
    except UnicodeDecodeError:
        return {}
    except (ValueError, RecursionError):
        return _form(text)
    return value if isinstance(value, dict) else {}


def _form(text: str) -> Mapping[str, Any]:
    try:
        return dict(parse_qsl(text.strip(), max_num_fields=64))
    except ValueError:
        return {}


def _within(fields: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The members at a path; none where it leads nowhere."""
    for step in path.split(".") if path else ():
        found = fields.get(step)
        fields = found if isinstance(found, dict) else {}
    return fields


def _issued(fields: Mapping[str, Any], provider: Provider) -> Issued | None:
    access_token = _text(fields.get("access_token"))
    # RFC 6749 appendix A.12: printable ASCII, and so fit for a header.
    if access_token is None or not (access_token.isascii() and access_token.isprintable()):
        return None
    kind = _text(fields.get("token_type")) or "Bearer"
    refresh_token = _text(fields.get("refresh_token"))
    return Issued(
        access_token=Secret(access_token),
        token_type=_TOKEN_TYPES.get(kind.lower(), kind),
        expires_in_seconds=_expires_in(fields.get("expires_in"), provider.expires_in_unit),
        scopes=_scopes(fields.get("scope"), provider.scope_separator),
        refresh_token=None if refresh_token is None else Secret(refresh_token),
        # Not of the RFC: GitHub, Google and Microsoft say it so.
        refresh_token_expires_in_seconds=_expires_in(
            fields.get("refresh_token_expires_in"), provider.expires_in_unit
        ),
    )


def _text(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        value.encode()  # JSON can spell lone surrogates
    except UnicodeEncodeError:
        return None
    return value


def _expires_in(value: object, unit: ExpiryUnit) -> float | None:
    """Seconds from a number or its text. Zero and nonsense are as good as nothing said."""
    seconds = _number(value)
    if seconds is None or seconds <= 0:
        return None
    if unit is ExpiryUnit.MILLISECONDS:
        seconds /= 1000
    return min(seconds, LONGEST_LIFE_SECONDS)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _scopes(value: object, separator: str) -> tuple[str, ...] | None:
    if isinstance(value, list):
        return tuple(scope for item in value if (scope := _text(item))) or None
    text = _text(value)
    if text is None:
        return None
    # Commas too: GitHub and Slack answer with them whatever was asked.
    return tuple(scope for scope in re.split(rf"[\s,]|{re.escape(separator)}", text) if scope) or None


def _refused(
    status: int, retry_after: str | None, fields: Mapping[str, Any], provider: Provider, now: datetime
) -> Refused:
    code = refusal_code.find(fields, provider.errors) or f"http_{status}"
    wait = _retry_after(retry_after, now)
    kind = provider.errors.get(code) or _kind(status, code, wait)
    return Refused(kind=kind, code=code, retry_after_seconds=wait)


def _kind(status: int, code: str, retry_after_seconds: float | None) -> RefusalKind:
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        # RFC 9110 §15.6.4: not handled, so nothing is spent.
        return RefusalKind.TRANSIENT if retry_after_seconds is None else RefusalKind.RATE_LIMITED
    if status == HTTPStatus.TOO_MANY_REQUESTS or code in refusal_code.RATE_LIMITED:
        return RefusalKind.RATE_LIMITED
    # An OAuth error under 5xx is no verdict: it may come from a proxy, or after the rotation.
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        return RefusalKind.AMBIGUOUS
    if code in refusal_code.DEAD:
        return RefusalKind.DEAD
    if code in refusal_code.CLIENT_CONFIG:
        return RefusalKind.CLIENT_CONFIG
    return _kind_by_status(status, code)


def _kind_by_status(status: int, code: str) -> RefusalKind:
    if not code.startswith("http_"):
        return RefusalKind.TRANSIENT
    if status == HTTPStatus.UNAUTHORIZED:
        return RefusalKind.CLIENT_CONFIG
    # A success that cannot be read may be a rotation whose answer was cut short.
    return RefusalKind.AMBIGUOUS if status < HTTPStatus.MULTIPLE_CHOICES else RefusalKind.TRANSIENT


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from a number or an HTTP date (RFC 9110 §10.2.3)."""
    if value is None:
        return None
    seconds = _number(value.strip())
    if seconds is None:
        seconds = _seconds_until(value, now)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_RETRY_AFTER_SECONDS)


def _seconds_until(http_date: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
    except (ValueError, TypeError, OverflowError):
        return None
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
