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
        #: By digest: a name, and until when it is good.
        self._known: dict[bytes, tuple[str, float]] = {}

    async def named(self, token: str) -> str | None:
        """Whose token it is. None: no admin's. Raises: StoreUnavailable."""
        digest, now = hashlib.sha256(token.encode()).digest(), asyncio.get_running_loop().time()
        name, until = self._known.get(digest, ("", 0.0))
        if until > now:
            return name
        found = await self._store.named(digest)
        if found is not None:
            self._remember(digest, found, now + REMEMBERED_SECONDS)
        return found

    def _remember(self, digest: bytes, name: str, until: float) -> None:
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[digest] = (name, until)
