"""Whose turn it is: every agent waits in a lane of its own, and the lanes take turns."""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Generic, TypeVar

#: Requests that wait in one lane at most.
MOST_WAITING: Final = 1000
Waiter = TypeVar("Waiter")


class Place(Enum):
    """What a request that comes is told."""

    GO = "go"
    WAIT = "wait"
    FULL = "full"


@dataclass(slots=True)
class _Lane(Generic[Waiter]):
    #: Calls begun and not ended, those that stand aside among them.
    in_hand: int = 0
    #: Calls begun, counted so that lanes compare: the next turn is the one's who has had the least.
    served: float = 0.0
    #: (calls, the most in hand at once, who waits).
    waiting: deque[tuple[int, int, Waiter]] = field(default_factory=deque)

    def has_room(self, calls: int, most: int) -> bool:
        # A request of more calls than may be in hand at once goes alone.
        return not self.in_hand or self.in_hand + calls <= most


class Lanes(Generic[Waiter]):
    """Start-time fair queueing over agents, by calls (Goyal, Vin and Cheng, SIGCOMM 1996).

    `slots` calls are at work at once. One that waits for something slow stands aside and leaves its slot to
    others; it still counts as its agent's.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._at_work = 0
        self._lanes: dict[str, _Lane[Waiter]] = {}
        #: Those of the lanes in which somebody waits.
        self._waiting: dict[str, _Lane[Waiter]] = {}
        #: What the lane whose turn was last had been served: nobody saves up turns by not asking.
        self._level = 0.0

    def come(self, agent: str, calls: int, most: int, waiter: Waiter) -> Place:
        """A request of so many calls, of which its agent may have at most so many in hand."""
        lane = self._lanes.get(agent) or _Lane(served=self._level)
        if not lane.waiting and self._at_work < self._slots and lane.has_room(calls, most):
            self._lanes[agent] = lane
            self._begin(lane, calls)
            return Place.GO
        if len(lane.waiting) >= MOST_WAITING:
            return Place.FULL
        self._lanes[agent] = self._waiting[agent] = lane
        lane.waiting.append((calls, most, waiter))
        return Place.WAIT

    def ended(self, agent: str, calls: int = 1) -> list[Waiter]:
        """Calls have come to their end. Returns whose turn it now is."""
        lane = self._lanes[agent]
        lane.in_hand -= calls
        self._at_work -= calls
        self._leave_if_empty(agent, lane)
        return self._next()

    def aside(self) -> list[Waiter]:
        """A call waits for something slow. Returns whose turn it now is."""
        self._at_work -= 1
        return self._next()

    def back(self) -> None:
        """It goes on, at once: it has waited long enough."""
        self._at_work += 1

    def withdraw(self, agent: str, waiter: Waiter) -> None:
        """Whoever waited does so no longer."""
        lane = self._lanes[agent]
        lane.waiting = deque(entry for entry in lane.waiting if entry[2] != waiter)
        if not lane.waiting:
            self._waiting.pop(agent, None)
        self._leave_if_empty(agent, lane)

    def _next(self) -> list[Waiter]:
        turns: list[Waiter] = []
        while self._at_work < self._slots:
            able = [agent for agent, lane in self._waiting.items() if lane.has_room(*lane.waiting[0][:2])]
            if not able:
                break
            agent = min(able, key=lambda name: self._waiting[name].served)
            lane = self._waiting[agent]
            calls, _, waiter = lane.waiting.popleft()
            if not lane.waiting:
                del self._waiting[agent]
            self._begin(lane, calls)
            turns.append(waiter)
        return turns

    def _begin(self, lane: _Lane[Waiter], calls: int) -> None:
        self._level = max(self._level, lane.served)
        lane.served = self._level + calls
        lane.in_hand += calls
        self._at_work += calls

    def _leave_if_empty(self, agent: str, lane: _Lane[Waiter]) -> None:
        if not lane.in_hand and not lane.waiting:
            del self._lanes[agent]
