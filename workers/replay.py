import structlog

from shared.errors import KeyMissing
from shared.model import EnrolmentId, IntentId
from workers.bench import Bench
from workers.conclusion import Conclusion
from workers.enrolment import Enrolments
from workers.settlement import Result, Skipped
from workers.spool_entry import Entry, Pending, Purpose
from workers.token_endpoint import TokenEndpoint

log = structlog.get_logger()


class Replay:
    """Takes up what broke off: answers that wait in the spool, and intents that lost theirs."""

    def __init__(self, bench: Bench, conclusion: Conclusion, enrolments: Enrolments) -> None:
        self._bench = bench
        self._conclusion = conclusion
        self._enrolments = enrolments

    async def at_start(self) -> None:
        """Before this refresher sends anything: its own open intents without a spool file count as lost too.

        Raises: StoreUnavailable, SpoolUnavailable.
        """
        await self._bench.endpoint.sweep()
        await self.spooled()
        # Those that wait for the database or a key are not lost: the next replay has them.
        waiting = {found.entry.id for found in await self._endpoint.left_behind()}
        for intent in await self._bench.store.rotations.open_intents(holder=self._bench.name):
            if intent.id in waiting:
                continue
            log.warning("An intent of an earlier process is open without an answer", intent=intent.id)
            await self._conclusion.conclude(intent, None)

    async def spooled(self) -> None:
        """Conclude every entry that nobody has in hand, and give back what was claimed unheard.

        Raises: StoreUnavailable, SpoolUnavailable.
        """
        await self._bench.claims.give_back()
        for found in await self._endpoint.left_behind():
            try:
                result = await self._concluded(found)
            except KeyMissing as error:
                log.critical("A spooled answer waits for a key", entry=found.entry.id, why=str(error))
            else:
                log.info("A spooled answer is replayed", entry=found.entry.id, result=type(result).__name__)

    @property
    def _endpoint(self) -> TokenEndpoint:
        return self._bench.endpoint

    async def _concluded(self, found: Pending) -> Result:
        if found.entry.purpose is Purpose.ROTATION:
            return await self._rotation(found)
        return await self._enrolment(found)

    async def _rotation(self, found: Pending) -> Result:
        known = await self._bench.store.rotations.intent(IntentId(found.entry.id))
        if known is None:
            return await self._unknown(found.entry)
        return await self._conclusion.conclude(known[0], self._endpoint.opened(found))

    async def _enrolment(self, found: Pending) -> Result:
        enrolment = await self._bench.store.enrolments.get(EnrolmentId(found.entry.id))
        if enrolment is None:
            return await self._unknown(found.entry)
        return await self._enrolments.conclude(enrolment, self._endpoint.opened(found))

    async def _unknown(self, entry: Entry) -> Result:
        log.critical(
            "A spooled answer belongs to nothing in the database; its file is removed", entry=entry.id
        )
        await self._endpoint.forget(entry.id)
        return Skipped("unknown")
