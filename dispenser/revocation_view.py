from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from dispenser.vault_token import LONGEST_TTL_SECONDS
from shared.model import RevocationKind
from shared.ports import Clock, RevocationStore

#: Vault tokens older than this are over by themselves, so older revocations need not be known.
HORIZON: Final = timedelta(seconds=LONGEST_TTL_SECONDS)
#: A revocation is dated before it commits, by a clock that may differ: so far back each look goes.
OVERLAP: Final = timedelta(seconds=60)

Subject = tuple[RevocationKind, str]


class RevocationView:
    """The revocations that matter, in memory. Whoever owns the view polls `look`.

    The cache makes a revocation hold from the next request on; this view holds when the cache has lost it.
    """

    def __init__(self, store: RevocationStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._moments: dict[Subject, datetime] = {}
        self._seen_until: datetime | None = None

    @property
    def moments(self) -> Mapping[Subject, datetime]:
        """Up to which moment each subject's vault tokens are void."""
        return self._moments

    async def look(self) -> None:
        """Learn what was revoked since the last look. Raises: StoreUnavailable."""
        now = self._clock()
        since = now - HORIZON if self._seen_until is None else self._seen_until - OVERLAP
        for revoked in await self._store.since(since):
            self._moments[revoked.kind, revoked.subject] = revoked.revoked_at
        self._seen_until = now
        self._moments = {s: moment for s, moment in self._moments.items() if moment > now - HORIZON}
