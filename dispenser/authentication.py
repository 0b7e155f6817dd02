from collections import OrderedDict
from typing import Final

from dispenser.vault_token import Identity, verify
from shared.keyring import Keyring
from shared.ports import Clock

#: Verified tokens remembered in each process: checking a signature costs a hundred microseconds.
REMEMBERED: Final = 10_000


class Authentication:
    """Tells whom a vault token was made for."""

    def __init__(self, keys: Keyring, vault: str, clock: Clock) -> None:
        self._keys = keys
        self._vault = vault
        self._clock = clock
        self._verified: OrderedDict[str, Identity] = OrderedDict()
        self._verified_with = keys.signing_public

    def remembered(self, vault_token: str) -> Identity | None:
        """Whom a vault token was made for that was verified before, at no cost."""
        if self._verified_with is not self._keys.signing_public:
            # A key may be gone, and with it every token that it signed.
            self._verified.clear()
            self._verified_with = self._keys.signing_public
        known = self._verified.get(vault_token)
        if known is not None and self._clock() >= known.expires_at:
            del self._verified[vault_token]
            return None
        return known

    def identify(self, vault_token: str) -> Identity:
        """Whom a vault token was made for, revoked since or not. Raises: InvalidVaultToken."""
        if (known := self.remembered(vault_token)) is not None:
            return known
        identity = verify(self._keys, vault_token, vault=self._vault, now=self._clock())
        self._remember(vault_token, identity)
        return identity

    def _remember(self, vault_token: str, identity: Identity) -> None:
        self._verified[vault_token] = identity
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
