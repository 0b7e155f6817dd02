import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Final

from dispenser.testing.refusal import Refusal
from dispenser.testing.tokens import Family

#: RFC 6749 §4.1.2 recommends ten minutes at most.
LIFETIME_SECONDS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What an owner agreed to, and for whom."""

    client_id: str
    redirect_uri: str
    owner: str
    scopes: tuple[str, ...]
    #: The S256 challenge (RFC 7636 §4.2).
    challenge: str
    given_at: float


class Codes:
    """Authorization codes: each works once."""

    def __init__(self) -> None:
        self._open: dict[str, Consent] = {}
        self._redeemed: dict[str, Family] = {}

    def issue(self, consent: Consent) -> str:
        code = "code_" + secrets.token_urlsafe(24)
        self._open[code] = consent
        return code

    def redeem(self, code: str, *, client_id: str, redirect_uri: str, verifier: str, now: float) -> Family:
        """The family that begins with this code. Raises: Refusal.

        A code presented twice has leaked: its tokens are revoked (RFC 6749 §4.1.2)."""
        if family := self._redeemed.get(code):
            family.revoked = True
            raise Refusal("invalid_grant", "The code was used before; its tokens are revoked.")
        consent = self._open.pop(code, None)
        if consent is None or now >= consent.given_at + LIFETIME_SECONDS:
            raise Refusal("invalid_grant", "The code is unknown or has expired.")
        if (client_id, redirect_uri) != (consent.client_id, consent.redirect_uri):
            raise Refusal("invalid_grant", "The code was issued to another client or redirect URI.")
        if challenge_of(verifier) != consent.challenge:
            raise Refusal("invalid_grant", "The code verifier does not match the challenge (RFC 7636 §4.6).")
        family = self._redeemed[code] = Family(client_id, consent.owner, consent.scopes, now)
        return family


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier (RFC 7636 §4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
