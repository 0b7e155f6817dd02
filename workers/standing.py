import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from shared.model import Provider
from shared.ports import Clock
from workers import outcome
from workers.answer import Answer
from workers.circuit import Circuit
from workers.pace import Pace

#: Messages of one provider in hand at once while it does not move, so that it leaves room for the others: a
#: quarter of what is taken from a queue.
MOST_IN_HAND: Final = 125
#: Seconds without an end of any turn after which a provider does not move.
STALLED_SECONDS: Final = 5.0
#: Seconds that a message waits for its turn before it goes back to the broker.
PATIENCE_SECONDS: Final = 20.0
#: Turns for each request that may be under way: one that is, and one that is claimed and has its room.
BEGUN_FOR_EACH: Final = 2


class Crowded(Exception):
    """A provider's turn does not come soon: others have asked before."""


@dataclass(slots=True, kw_only=True)
class Standing:
    """How a provider and this refresher stand with each other."""

    clock: Clock
    #: Requests under way at once.
    asked: asyncio.Semaphore
    #: Those, and as many that get ready meanwhile.
    turns: asyncio.Semaphore
    #: Requests begun in a second. None: as they come.
    per_second: int | None
    circuit: Circuit = field(default_factory=Circuit)
    pace: Pace = field(default_factory=Pace)
    #: Messages that have a turn or wait for one.
    in_hand: int = 0
    #: When a turn last ended, by the loop's clock.
    moved_at: float = 0.0

    @classmethod
    def towards(cls, provider: Provider, clock: Clock) -> "Standing":
        """At the beginning."""
        at_once = provider.max_concurrency
        return cls(
            clock=clock,
            asked=asyncio.Semaphore(at_once),
            turns=asyncio.Semaphore(BEGUN_FOR_EACH * at_once),
            per_second=provider.max_requests_per_second,
        )

    @property
    def crowded(self) -> bool:
        """So much waits for a provider that does not move that more would take the room of the others."""
        return self.in_hand >= MOST_IN_HAND and _time() - self.moved_at >= STALLED_SECONDS

    def hear(self, answer: Answer) -> None:
        """Whoever has its turn next learns at once that the provider wants to be left alone."""
        now = self.clock()
        if (seconds := outcome.rest_seconds(answer, now)) is not None:
            self.pace.pause(seconds, now)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """One of the provider's turns, in the order of asking, until it is ended or left. Raises: Crowded."""
        turn = await self._come()
        try:
            await asyncio.sleep(self.pace.take_place(self.per_second, self.clock()))
            yield turn
        finally:
            turn.end()

    async def _come(self) -> "Turn":
        self.moved_at = self.moved_at if self.in_hand else _time()
        self.in_hand += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.turns.acquire()
        except BaseException as error:
            self.in_hand -= 1
            if isinstance(error, TimeoutError):
                raise Crowded from None
            raise
        return Turn(self)

    def admits(self, now: datetime) -> bool:
        """A request may be sent. Where the circuit was open, one goes on trial."""
        return not self.pace.pause_seconds(now) and self.circuit.admits(now)

    @property
    def closed_until(self) -> tuple[datetime | None, datetime | None]:
        """What the provider has said of when it may be asked again."""
        return self.circuit.open_until, self.pace.paused_until


class Turn:
    """The right to get ready for a request to a provider, and to send it."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._asking = False
        self._ended = False
        self._known = standing.closed_until

    def begin(self, now: datetime) -> bool:
        """The provider may be asked, as far as is known by now."""
        admitted = self._standing.admits(now)
        self._known = self._standing.closed_until
        return admitted

    async def to_ask(self) -> bool:
        """Wait until no more requests are under way than the provider is said to bear. False: one of them has
        brought word that it is not to be asked now."""
        await self._standing.asked.acquire()
        self._asking = True
        return self.is_open

    @property
    def is_open(self) -> bool:
        """Nobody has brought such word since the turn began."""
        return self._standing.closed_until == self._known

    def end(self) -> None:
        """Let the next one ask. Again: nothing."""
        if self._ended:
            return
        self._ended = True
        standing = self._standing
        if self._asking:
            standing.asked.release()
        standing.turns.release()
        standing.in_hand -= 1
        standing.moved_at = _time()


def _time() -> float:
    return asyncio.get_running_loop().time()
