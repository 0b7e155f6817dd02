"""Failures of the world and of configurations. An expected refusal is a value, not one of these.

No token, secret or response body ever enters a message.
"""

from collections.abc import Sequence
from typing import ClassVar


class VaultError(Exception):
    """The root of everything the vault raises on purpose."""

    #: Stable, for programs.
    code: ClassVar[str] = "vault_error"
    #: The same call may succeed later without anybody's help.
    retryable: ClassVar[bool] = False


class StoreUnavailable(VaultError):
    """The database did not answer. Check DISPENSER_DATABASE_URL and that the server is up."""

    code = "store_unavailable"
    retryable = True


class StoreNotMigrated(VaultError):
    """The database has no tables, or older ones. Run `dispenser init`."""

    code = "store_not_migrated"


class BusUnavailable(VaultError):
    """The broker did not answer in time. Check DISPENSER_BROKER_URL and that RabbitMQ is up."""

    code = "bus_unavailable"
    retryable = True


class IssuerUnavailable(VaultError):
    """The issuer's keys cannot be read. Check its `issuer` and `jwks_url` as declared, and the network."""

    code = "issuer_unavailable"
    retryable = True


class Unroutable(VaultError):
    """No queue is bound where a message was sent. Run `dispenser init` against this broker."""

    code = "unroutable"


class QueueFull(VaultError):
    """The broker refused a message because the queue is at its limit. Start more consumers."""

    code = "queue_full"
    retryable = True


class CacheUnavailable(VaultError):
    """The cache did not answer. Check DISPENSER_CACHE_URL and that Redis is up."""

    code = "cache_unavailable"
    retryable = True


class AuditUnavailable(VaultError):
    """The audit journal cannot be written. Free space or mend DISPENSER_HOME; until then no token leaves."""

    code = "audit_unavailable"
    retryable = True


class SealBroken(VaultError):
    """A sealed value does not open: altered, moved to another row, or sealed under another key."""

    code = "seal_broken"


class KeyMissing(VaultError):
    """A key is not in this process's keyring. Give the role its keys, or run `dispenser init`."""

    code = "key_missing"


class KeyProviderFailed(VaultError):
    """The keyring does not unwrap. Check DISPENSER_KEY_PROVIDER, and that the service behind it is up."""

    code = "key_provider_failed"
    retryable = True


class MalformedMessage(VaultError):
    """A message is not what its queue carries."""

    code = "malformed_message"


class ConfigurationError(VaultError):
    """Something a person wrote is wrong. Holds every mistake, each with its place."""

    code = "configuration"

    def __init__(self, mistakes: Sequence[str]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(self.mistakes))


class OtherClient(ConfigurationError):
    """A grant was given to another client than is declared. Declare that one again, or connect anew."""

    code = "other_client"
