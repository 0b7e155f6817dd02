"""How the audit names an access token: an HMAC finds its records again without telling the token."""

from functools import lru_cache

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

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
    digest = _keyed(key).copy()
    digest.update(access_token.encode())
    return digest.finalize().hex()[:DIGITS]


@lru_cache(maxsize=16)
def _keyed(key: bytes) -> HMAC:
    """Made once for each key: to make one takes three times as long as to use it."""
    return HMAC(key, SHA256())
