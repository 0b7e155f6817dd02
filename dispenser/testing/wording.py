"""How a provider words its answers: the same tokens and refusals in other clothes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlencode

from starlette.responses import JSONResponse, Response

from dispenser.testing.behaviour import Behaviour
from dispenser.testing.refusal import Refusal

#: RFC 6749 §5.1.
NO_STORE: Final = {"Cache-Control": "no-store"}
PAUSE_SECONDS: Final = 1


def granted(
    body: Mapping[str, Any], behaviour: Behaviour, *, grant_type: str, accepts_json: bool
) -> Response:
    """A success (RFC 6749 §5.1), in the provider's own form."""
    members = {"authorization_code": behaviour.exchange_member, "refresh_token": behaviour.refresh_member}
    if member := members.get(grant_type, ""):
        body = {"ok": True, member: body}
    if behaviour.form_unless_asked and not accepts_json:
        return form(body)
    return JSONResponse(body, headers=NO_STORE)


def refused(refusal: Refusal, behaviour: Behaviour, *, basic: bool) -> Response:
    """A refusal (RFC 6749 §5.2), in the provider's own form. `basic`: the client tried that scheme."""
    code = behaviour.codes.get(refusal.code, refusal.code)
    described = {"error": code, "error_description": refusal.description}
    match behaviour.refusals:
        case "in_200":
            return JSONResponse(described, headers=NO_STORE)
        case "ok_false":
            return JSONResponse({"ok": False, "error": code}, headers=NO_STORE)
        case "sentences":
            body = {"errors": [f"{code} - {refusal.description}"]}
            return JSONResponse(body, refusal.status, NO_STORE)
    challenge = {"WWW-Authenticate": "Basic"} if basic and refusal.code == "invalid_client" else {}
    return JSONResponse(described, refusal.status, NO_STORE | challenge)


def too_many(now: float, behaviour: Behaviour) -> Response:
    """429, with the moment from which on the provider takes requests again."""
    again = str(PAUSE_SECONDS)
    if behaviour.retry_after == "date":
        # Its grain is a second, so the next whole one.
        again = format_datetime(datetime.fromtimestamp(int(now) + 1 + PAUSE_SECONDS, UTC), usegmt=True)
    return JSONResponse({"error": "rate_limited"}, 429, {"Retry-After": again})


def form(body: Mapping[str, Any]) -> Response:
    """The same as a form."""
    return Response(urlencode(body), media_type="application/x-www-form-urlencoded")
