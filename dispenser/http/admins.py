import asyncio
import hashlib
from typing import Final

from shared.ports import AdminStore

#: A removed admin token stops working within this many seconds.
REMEMBERED_SECONDS: Final = 1.0
MAX_REMEMBERED: Final = 1024


class Admins:
    """Tells admin tokens from other texts, by SHA-256: no comparison can leak where two tokens differ."""

    def __init__(self, store: AdminStore) -> None:
        self._store = store
        self._known_until: dict[bytes, float] = {}

    async def known(self, token: str) -> bool:
        """An admin's token. Raises: StoreUnavailable."""
        digest, now = hashlib.sha256(token.encode()).digest(), asyncio.get_running_loop().time()
        if self._known_until.get(digest, 0.0) > now:
            return True
        known = await self._store.known(digest)
        if known:
            self._remember(digest, now + REMEMBERED_SECONDS)
        return known

    def _remember(self, digest: bytes, until: float) -> None:
        if len(self._known_until) >= MAX_REMEMBERED:
            self._known_until.clear()
        self._known_until[digest] = until
