from collections.abc import Callable

from dispenser import replies
from dispenser.catalogue_view import CatalogueView
from dispenser.decision import Hand, Refresh, Refuse, Want, decide, provider_down
from dispenser.lookup import Lookup
from dispenser.protocol import Code, RejectedCall, Reply
from dispenser.question import Question
from dispenser.refresh_wait import RefreshWait
from shared.errors import BusUnavailable, QueueFull, StoreUnavailable, Unroutable
from shared.messages import Reason
from shared.model import AccessToken, Grant, Owner, ServiceName
from shared.ports import Clock

UNSURE = "The vault cannot reach its database, and without it this cannot be answered safely."
UNHEARD = "The vault cannot reach the broker to ask for a refresh."
NEVER_ISSUED = "No token of that generation was ever issued: report the one that was rejected."


class SecondLook:
    """Answers what the cache alone could not: from the database, or after a refresh, which may take time."""

    def __init__(
        self,
        *,
        lookup: Lookup,
        wait: RefreshWait,
        catalogue: CatalogueView,
        clock: Clock,
        connect_url: Callable[[ServiceName, Owner], str],
    ) -> None:
        self._lookup = lookup
        self._wait = wait
        self._catalogue = catalogue
        self._clock = clock
        self._connect_url = connect_url

    async def reply(self, asked: Question, token: AccessToken | None) -> Reply:
        """To a call that is allowed. `token`: what the cache had. Raises nothing for what the world does."""
        try:
            if isinstance(asked.call, RejectedCall):
                return await self._rejected(asked, asked.call.generation, token)
            return await self._refreshed(asked, token)
        except StoreUnavailable:
            return replies.overloaded(asked.call.service, UNSURE)
        except (BusUnavailable, QueueFull, Unroutable):
            return replies.overloaded(asked.call.service, UNHEARD)

    async def _refreshed(self, asked: Question, token: AccessToken | None) -> Reply:
        """Look into the database and, where that does not do, wait for one refresh."""
        first_generation: int | None = None
        while True:
            grant, stored = await self._lookup.stored(asked.place)
            token = _newest(token, stored)
            match decide(grant, token, asked.want, self._clock()):
                case Hand(token=found):
                    return self._handed(asked, found)
                case Refuse() as refusal:
                    return self._refused(asked, refusal)
                case Refresh(grant=due, meanwhile=meanwhile):
                    first_generation = due.generation if first_generation is None else first_generation
                    if due.generation > first_generation:
                        return self._refused(asked, _SHORT_LIVED)
                    instead = await self._waited(asked, due, meanwhile)
                    if instead is not None:
                        return instead if meanwhile is None else self._handed(asked, meanwhile)

    async def _rejected(self, asked: Question, generation: int, token: AccessToken | None) -> Reply:
        """An API refused the token of a generation: refresh once, however many report it.

        A token that nothing renews stays for others: one agent's word must not end it for all.
        """
        while True:
            grant, stored = await self._lookup.stored(asked.place)
            newest = _newest(token, stored)
            if newest is not None and newest.generation > generation:
                return Reply(code=Code.OK, service=asked.call.service, generation=newest.generation)
            if grant is not None and generation > grant.generation:
                # The database has each before an agent does. To wait for it would be to refresh on and on.
                return Reply(code=Code.INVALID_REQUEST, service=asked.call.service, reason=NEVER_ISSUED)
            match decide(grant, None, Want(), self._clock()):
                case Refuse() as refusal:
                    return self._refused(asked, refusal)
                case Refresh(grant=due):
                    instead = await self._waited(asked, due, None, Reason.REJECTED)
                    if instead is not None:
                        return instead

    async def _waited(
        self, asked: Question, grant: Grant, meanwhile: AccessToken | None, reason: Reason = Reason.MISS
    ) -> Reply | None:
        """Wait for the refresh. None: look again. A reply: what to say where there is nothing to hand out."""
        left = (asked.asking.deadline - self._clock()).total_seconds()
        if left <= 0:
            return replies.deadline_exceeded(asked.call.service)
        provider = self._catalogue.current.services[asked.place[0]].provider
        try:
            left_alone_until = await self._wait(grant, provider, reason, left)
        except (BusUnavailable, QueueFull, Unroutable):
            if meanwhile is None:
                raise
            return replies.overloaded(asked.call.service, UNHEARD)
        if left_alone_until is None:
            return None
        return self._refused(asked, provider_down(left_alone_until, self._clock()))

    def _handed(self, asked: Question, token: AccessToken) -> Reply:
        return replies.handed(asked.place[0], token, asked.max_ttl_seconds, self._clock())

    def _refused(self, asked: Question, refusal: Refuse) -> Reply:
        return replies.refused(asked.place[0], refusal, self._connect_url(*asked.place))


_SHORT_LIVED = Refuse(
    code=Code.TTL_UNAVAILABLE,
    reason="Even a fresh token of this provider does not live so long: ask for a shorter min_ttl.",
)


def _newest(one: AccessToken | None, other: AccessToken | None) -> AccessToken | None:
    found = [token for token in (one, other) if token is not None]
    return max(found, key=lambda token: token.generation, default=None)
