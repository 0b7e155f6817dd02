from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import structlog

from shared.envelope import open_spooled, seal_spooled
from shared.errors import SealBroken
from shared.keyring import Keyring
from shared.model import GrantId
from shared.ports import Clock, Closed, HttpRequest, NoAnswer, NotAsked, NotSent, ProviderHttp
from workers.answer import CLOSED, Answer
from workers.spool import Spool, SpoolUnavailable
from workers.spool_entry import Entry, Pending

log = structlog.get_logger()


class TokenEndpoint:
    """Asks providers, and has every answer sealed on disk before anybody reads it."""

    def __init__(self, http: ProviderHttp, spool: Spool, keys: Keyring, clock: Clock) -> None:
        self._http = http
        self._spool = spool
        self._keys = keys
        self._clock = clock
        self._in_hand: set[str] = set()
        #: Whose answers were left behind, by entry.
        self._left: dict[str, GrantId] = {}

    @asynccontextmanager
    async def reserved(self, entry: Entry) -> AsyncIterator[None]:
        """Room in the spool for one answer. Raises: SpoolUnavailable, before anything is sent."""
        # First, so that a replay never mistakes it for one that was left behind.
        self._in_hand.add(entry.id)
        try:
            await self._spool.reserve(entry)
            yield
        finally:
            self._in_hand.discard(entry.id)

    async def ask(self, entry: Entry, request: HttpRequest, hear: Callable[[Answer], None]) -> Answer | None:
        """Send once. None: the answer is lost. `hear`: is told of the answer before it is on disk."""
        sent_at, client = self._clock(), request.client
        try:
            answer = Answer.of(await self._http.send(request), sent_at, client)
        except NotSent as error:
            if isinstance(error, NotAsked):
                log.warning("A provider is not asked", why=str(error))
            answer = Answer(status=None, sent_at=sent_at, client=client)
        except Closed:
            answer = Answer(status=CLOSED, sent_at=sent_at, client=client)
        except NoAnswer:
            return None
        hear(answer)
        await self._keep(entry, answer)
        return answer

    async def sweep(self) -> None:
        """Remove spool files that nobody needs any more. Raises: SpoolUnavailable."""
        if swept := await self._spool.sweep():
            log.info("Spool files with nothing in them are removed", files=swept)

    async def tell(self, request: HttpRequest) -> Answer | None:
        """Send what may be sent again, so that no answer has to be kept. None: there is none."""
        sent_at = self._clock()
        try:
            return Answer.of(await self._http.send(request), sent_at)
        except (NotSent, NoAnswer):
            return None

    async def left_behind(self) -> list[Pending]:
        """Entries that nobody in this process has in hand. Raises: SpoolUnavailable."""
        left = [found for found in await self._spool.pending() if found.entry.id not in self._in_hand]
        self._left = {found.entry.id: found.entry.grant_id for found in left if found.sealed is not None}
        return left

    async def kept(self, entry_id: str) -> Answer | None:
        """What an earlier request for an entry left behind. Raises: SpoolUnavailable, KeyMissing."""
        found = next((one for one in await self.left_behind() if one.entry.id == entry_id), None)
        return None if found is None else self.opened(found)

    @property
    def answered(self) -> Collection[str]:
        """The entries whose answers were left behind."""
        return self._left.keys()

    def holds(self, grant_id: GrantId) -> bool:
        """An answer for the grant was left behind: its credential is not sent again before that has ended."""
        return grant_id in self._left.values()

    def opened(self, found: Pending) -> Answer | None:
        """The answer of an entry left behind. None: there is no whole one. Raises: KeyMissing."""
        entry, sealed = found.entry, found.sealed
        if sealed is None:
            return None
        try:
            return Answer.unpack(
                open_spooled(self._keys, entry.grant_id, entry.owner, entry.generation, sealed)
            )
        except SealBroken:
            log.critical("A spooled answer does not open, and counts as lost", entry=entry.id)
            return None

    async def forget(self, entry_id: str) -> None:
        """The answer has come to its end. A file that stays is found done by the next replay."""
        self._left.pop(entry_id, None)
        try:
            await self._spool.delete(entry_id)
        except SpoolUnavailable as error:
            log.warning("A spool file is not deleted", entry=entry_id, why=str(error))

    async def _keep(self, entry: Entry, answer: Answer) -> None:
        sealed = seal_spooled(self._keys, entry.grant_id, entry.owner, entry.generation, answer.pack())
        try:
            await self._spool.write(entry, sealed)
        except SpoolUnavailable as error:
            # Room was reserved, so the disk itself fails. The database may still take the answer.
            log.critical("A provider's answer is not on disk: it must not be lost now", why=str(error))
