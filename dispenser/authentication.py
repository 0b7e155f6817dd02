from collections import OrderedDict
from datetime import timedelta
from typing import Final

from dispenser import revocation
from dispenser.joining import Joining
from dispenser.revocation import Epochs
from dispenser.vault_token import LONGEST_TTL_SECONDS, Identity, verify
from shared.keyring import Keyring
from shared.model import Revocation
from shared.ports import Clock, RevocationStore

#: Vault tokens older than this are over by themselves, so older revocations need not be known.
REVOCATION_HORIZON: Final = timedelta(seconds=LONGEST_TTL_SECONDS)
#: Verified tokens remembered in each process: checking a signature costs a hundred microseconds.
REMEMBERED: Final = 10_000


class Authentication:
    """Tells whom a vault token speaks for, and whether that still holds."""

    def __init__(self, keys: Keyring, vault: str, revocations: RevocationStore, clock: Clock) -> None:
        self._keys = keys
        self._vault = vault
        self._clock = clock
        self._store = revocations
        self._rows = Joining(self._read_rows)
        self._verified: OrderedDict[str, Identity] = OrderedDict()

    def identify(self, vault_token: str) -> Identity:
        """Whom a vault token was made for, revoked since or not. Raises: InvalidVaultToken."""
        remembered = self._verified.get(vault_token)
        if remembered is not None:
            if self._clock() < remembered.expires_at:
                return remembered
            del self._verified[vault_token]
        identity = verify(self._keys, vault_token, vault=self._vault, now=self._clock())
        self._remember(vault_token, identity)
        return identity

    async def revoked(self, identity: Identity, in_cache: Epochs) -> bool:
        """Ask the database where the cache may have lost an epoch. Raises: StoreUnavailable."""
        if revocation.revoked(identity, in_cache):
            return True
        if in_cache.complete:
            return False
        return revocation.revoked(identity, revocation.from_store(identity, await self._rows(None)))

    async def _read_rows(self, _: None) -> list[Revocation]:
        return await self._store.since(self._clock() - REVOCATION_HORIZON)

    def _remember(self, vault_token: str, identity: Identity) -> None:
        self._verified[vault_token] = identity
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
