"""How the audit names an access token: an HMAC finds its records again without telling the token."""

import hmac

from shared.keyring import Keyring

DIGITS = 32


def fingerprint(keys: Keyring, access_token: str | None) -> str:
    """By the current key; empty where there is no token. Raises: KeyMissing."""
    if access_token is None:
        return ""
    _, key = keys.primary_key("audit", keys.audit)
    return _fingerprint(key, access_token)


def fingerprints(keys: Keyring, access_token: str) -> set[str]:
    """By every key that records may have been made with."""
    return {_fingerprint(key, access_token) for key in keys.audit.values()}


def _fingerprint(key: bytes, access_token: str) -> str:
    return hmac.digest(key, access_token.encode(), "sha256").hex()[:DIGITS]
