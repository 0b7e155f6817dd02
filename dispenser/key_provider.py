"""What a key management service has to do for the vault, to be written by whoever has one.

A package offers it as an entry point of the group `dispenser.key_providers`, a function of one text:

    [project.entry-points."dispenser.key_providers"]
    acme-kms = "acme_dispenser:key_provider"      # def key_provider(argument: str) -> KeyProvider

With `DISPENSER_KEY_PROVIDER=acme-kms:projects/vault/keys/7` that function is called with what follows the
colon, and the keyring lies on disk and in variables as what `wrap` made of it.
"""

from typing import Final, Protocol

#: The group of entry points.
GROUP: Final = "dispenser.key_providers"


class KeyProvider(Protocol):
    """Wraps the keyring, a few kilobytes. Called seldom: when a process starts and when the keyring changes.

    It may take its time, since it is called in a thread of its own, and may raise anything: of an exception
    its class alone is shown, so that no message can tell a secret.
    """

    def wrap(self, keyring: bytes) -> bytes:
        """The keyring so that nobody can read or alter it without the service."""

    def unwrap(self, wrapped: bytes) -> bytes:
        """What `wrap` was given. Raises where it was altered."""
