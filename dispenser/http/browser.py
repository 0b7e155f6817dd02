"""The cookie that ties a consent to the browser it began in (RFC 9700 §4.7)."""

import hashlib
import hmac
import re
from typing import Final

from fastapi import Request, Response

from dispenser.http.door import Door

#: Seconds: longer than any consent takes.
LIFETIME_SECONDS: Final = 3600
COOKIE_BYTES: Final = 32
_COOKIE = re.compile(rf"[0-9a-f]{{{2 * COOKIE_BYTES}}}")


def mark(door: Door, request: Request, response: Response) -> None:
    """Give the browser its cookie; one that has it keeps it, so that two tabs do not disturb each other."""
    name, secure = _name(door)
    response.set_cookie(
        name,
        known(door, request) or door.entropy(COOKIE_BYTES).hex(),
        max_age=LIFETIME_SECONDS,
        path="/",
        secure=secure,
        httponly=True,
        samesite="lax",  # the provider sends the browser back from another site, by a top-level GET
    )


def known(door: Door, request: Request) -> str | None:
    """The browser's cookie, where it has one of ours."""
    value = request.cookies.get(_name(door)[0], "")
    return value if _COOKIE.fullmatch(value) else None


def hashed(cookie: str) -> bytes:
    """What a consent keeps of the cookie."""
    return hashlib.sha256(cookie.encode()).digest()


def same(door: Door, request: Request, browser_hash: bytes) -> bool:
    """The request comes from the browser that began the consent."""
    cookie = known(door, request)
    return cookie is not None and hmac.compare_digest(hashed(cookie), browser_hash)


def _name(door: Door) -> tuple[str, bool]:
    # `__Host-` keeps a neighbouring subdomain from planting a cookie of its own (RFC 6265bis §4.1.3.2).
    secure = door.settings.public_url.startswith("https://")
    return ("__Host-vault-consent" if secure else "vault-consent"), secure
