import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from dispenser import replies
from dispenser.allowance import Allowances
from dispenser.lanes import Lanes, Place
from dispenser.limits import Limits
from dispenser.protocol import Reply
from shared.model import AgentName

#: Calls at work at once in one process, those that wait for a refresh or the database not counted.
SLOTS: Final = 512
#: Vault tokens that are new to this process, checked in a second for one sender: each costs a signature.
STRANGERS_PER_SECOND: Final = 1000
#: Refusals that one sender is told in a second; beyond, its requests are dropped unanswered.
REFUSALS_PER_SECOND: Final = 1000
REFUSALS_AT_ONCE: Final = 5000
CROWDED: Final = "This agent has more requests in hand than the vault holds for one."
LATE: Final = "The vault has more requests than it can answer in time."

Turn = asyncio.Future[None]


class Admission:
    """Lets calls in, each agent's at its own pace and in its own lane, before anything is done for them."""

    def __init__(self, slots: int = SLOTS) -> None:
        self._lanes: Lanes[Turn] = Lanes(slots)
        self._calls = Allowances()
        self._strangers = Allowances()
        self._refusals = Allowances()

    def stranger(self, sender: str) -> Reply | None:
        """A vault token new to this process may be checked; or the refusal.

        `sender`: whom the door knows it from without the token, such as the broker's user. Nobody can be
        kept out by others who send forged tokens in its name.
        """
        wait = self._strangers.spend(
            sender, 1, _now(), per_second=STRANGERS_PER_SECOND, at_once=STRANGERS_PER_SECOND
        )
        return replies.rate_limited(wait) if wait else None

    async def admit(
        self, agent: AgentName, limits: Limits, calls: int, deadline_seconds: float
    ) -> Reply | None:
        """Wait for a turn of so many calls. None: they may begin, and `ended` is owed for each."""
        wait = self._calls.spend(
            agent,
            calls,
            _now(),
            per_second=limits.max_requests_per_second,
            at_once=limits.max_requests_per_second,
        )
        if wait:
            return replies.rate_limited(wait)
        turn: Turn = asyncio.get_running_loop().create_future()
        match self._lanes.come(agent, calls, limits.max_concurrency, turn):
            case Place.GO:
                return None
            case Place.FULL:
                return replies.overloaded("", CROWDED)
            case Place.WAIT:
                return await self._waited(agent, calls, turn, deadline_seconds)

    def ended(self, agent: AgentName, calls: int = 1) -> None:
        """Calls have come to their end."""
        _begin(self._lanes.ended(agent, calls))

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While something slow is waited for, others go on."""
        _begin(self._lanes.aside())
        try:
            yield
        finally:
            self._lanes.back()

    def is_worth_a_reply(self, sender: str) -> bool:
        """A refusal is told, unless its sender has been told too many: answering costs what others need."""
        told = self._refusals.spend(
            sender, 1, _now(), per_second=REFUSALS_PER_SECOND, at_once=REFUSALS_AT_ONCE
        )
        return told == 0.0

    async def _waited(
        self, agent: AgentName, calls: int, turn: Turn, deadline_seconds: float
    ) -> Reply | None:
        try:
            async with asyncio.timeout(deadline_seconds):
                await asyncio.shield(turn)
        except TimeoutError:
            if not turn.done():
                self._lanes.withdraw(agent, turn)
                return replies.overloaded("", LATE)
        except asyncio.CancelledError:
            if turn.done():
                self.ended(agent, calls)
            else:
                self._lanes.withdraw(agent, turn)
            raise
        return None


def _begin(turns: Sequence[Turn]) -> None:
    for turn in turns:
        turn.set_result(None)


def _now() -> float:
    return asyncio.get_running_loop().time()
