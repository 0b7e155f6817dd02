"""The vault token, as its agent reads it: to know its own name and when to renew."""

import binascii
import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass, field
from typing import Any, Final

#: The share of its life after which a vault token is renewed.
RENEWED_AFTER: Final = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A vault token and what its claims say. Nothing here is verified: that is the vault's part."""

    text: str = field(repr=False)
    #: `sub`: also the user at RabbitMQ where the vault token is its password.
    agent: str
    #: `iat` and `exp`, in seconds since the epoch; None: unknown, so never renewed.
    issued_at: float | None
    expires_at: float | None
    #: `cnf.jkt`: thumbprint of the key it is bound to.
    key: str | None = None
    #: No renewal goes beyond this, in seconds since the epoch; None: there is no such end.
    until: float | None = None

    def renewal_in_seconds(self, now: float) -> float | None:
        """Seconds until it is to be renewed; None: never, or in vain. `now` in seconds since the epoch."""
        if self.expires_at is None or (self.until is not None and self.expires_at >= self.until):
            return None
        issued_at = now if self.issued_at is None else self.issued_at
        return max(0.0, issued_at + RENEWED_AFTER * (self.expires_at - issued_at) - now)


def read(text: str) -> Credential:
    """The credential in a vault token's text. Raises: ValueError, never with the text in it."""
    claims = _claims(text)
    agent = claims.get("sub")
    if not isinstance(agent, str) or not agent:
        raise ValueError("it names no agent (`sub`)")
    confirmation = claims.get("cnf")
    return Credential(
        text=text,
        agent=agent,
        issued_at=_instant(claims, "iat"),
        expires_at=_instant(claims, "exp"),
        until=_instant(claims, "until"),
        key=confirmation.get("jkt") if isinstance(confirmation, dict) else None,
    )


def _claims(text: str) -> dict[str, Any]:
    parts = text.split(".")
    if len(parts) != 3 or not text.isascii():  # noqa: PLR2004 - RFC 7515 §7.1: header, payload, signature
        raise ValueError("it is not a JWT")
    try:
        claims = json.loads(urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        raise ValueError("its claims cannot be read") from None
    if not isinstance(claims, dict):
        raise ValueError("its claims are not an object")  # noqa: TRY004 - what was read is wrong, not a type
    return claims


def _instant(claims: dict[str, Any], name: str) -> float | None:
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
