from datetime import UTC, datetime, timedelta

import structlog

from shared.errors import StoreUnavailable
from shared.model import Grant, GrantId, Intent
from shared.ports import Claim, Clock, RotationStore, Unclaimed
from workers.decision import LEASE_SECONDS
from workers.pulse import Pulse

log = structlog.get_logger()


class Claims:
    """Takes the right to rotate grants, and gives back what it took without hearing of it.

    A claim whose confirmation is lost may stand in the database. Nothing was sent for it, so nobody has to
    wait until its holder counts as gone.
    """

    def __init__(self, rotations: RotationStore, clock: Clock, holder: str) -> None:
        self._rotations = rotations
        self._clock = clock
        self._holder = holder
        #: Which grant was claimed at which moment, without an answer.
        self._unheard: set[tuple[GrantId, datetime]] = set()
        self._last = datetime.min.replace(tzinfo=UTC)
        self._pulse = Pulse()

    async def take(self, grant: Grant) -> Claim | Unclaimed:
        """Claim a grant at its generation, for `LEASE_SECONDS`. Raises: StoreUnavailable."""
        await self.give_back()
        await self._pulse.wait()
        now = self._moment()
        lease_until = now + timedelta(seconds=LEASE_SECONDS)
        try:
            return await self._rotations.claim(
                grant.id, grant.generation, holder=self._holder, now=now, lease_until=lease_until
            )
        except StoreUnavailable:
            self._unheard.add((grant.id, now))
            raise

    async def release(self, intent: Intent, why: str) -> None:
        """End an intent for which nothing was sent; one that the database does not end now is given back
        later. Raises: StoreUnavailable."""
        try:
            await self._rotations.release(intent, why, self._clock())
        except StoreUnavailable:
            self._unheard.add((intent.grant_id, intent.opened_at))
            raise

    async def give_back(self) -> None:
        """End the intents of claims that were not answered. Raises: StoreUnavailable."""
        if not self._unheard:
            return
        now = self._clock()
        for intent in await self._rotations.open_intents(holder=self._holder):
            if (intent.grant_id, intent.opened_at) in self._unheard:
                await self._rotations.release(intent, "unheard", now)
                log.info("A claim that was not confirmed is given back", intent=intent.id)
        # A commit that is still on its way may land later: looked for as long as its lease would run.
        oldest = now - timedelta(seconds=LEASE_SECONDS)
        self._unheard = {unheard for unheard in self._unheard if unheard[1] > oldest}

    def _moment(self) -> datetime:
        """Now, or a little later where that is taken: a claim is found again by its moment."""
        now = self._clock()
        taken = now <= self._last < now + timedelta(seconds=1)
        self._last = self._last + timedelta.resolution if taken else now
        return self._last
