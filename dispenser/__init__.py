"""The token vault that AI agents ask over a message queue."""

from dispenser.client.child import ChildToken
from dispenser.client.errors import (
    Closed,
    DeadlineExceeded,
    Denied,
    InsufficientScope,
    InvalidRequest,
    Misconfigured,
    NotFound,
    Overloaded,
    ProviderDown,
    RateLimited,
    ReauthorizationRequired,
    TtlUnavailable,
    Unauthenticated,
    Unroutable,
    VaultError,
    VaultUnreachable,
)
from dispenser.client.token import Token
from dispenser.client.vault import Vault

# aio_pika and httpx are loaded by the first vault that uses them, not here.
__all__ = [
    "ChildToken",
    "Closed",
    "DeadlineExceeded",
    "Denied",
    "InsufficientScope",
    "InvalidRequest",
    "Misconfigured",
    "NotFound",
    "Overloaded",
    "ProviderDown",
    "RateLimited",
    "ReauthorizationRequired",
    "Token",
    "TtlUnavailable",
    "Unauthenticated",
    "Unroutable",
    "Vault",
    "VaultError",
    "VaultUnreachable",
]
