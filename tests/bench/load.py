"""Callers, all at once or at a pace, and how long each call took."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Ask = Callable[[], Awaitable[object]]
#: A call that is not answered by then never will be. One watch is kept for all calls: one over each would be
#: measured with it.
ANSWER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Calls in a span of time, and the seconds that each took."""

    seconds: float
    latencies: Sequence[float]

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Seconds within which this share of the calls was answered."""
        ordered = sorted(self.latencies)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def closed_loop(callers: Sequence[Ask], seconds: float) -> Measured:
    """Every caller asks once at least, and again as soon as it is answered."""
    clock = asyncio.get_running_loop().time
    latencies: list[float] = []
    began = clock()

    async def caller(ask: Ask) -> None:
        answered = clock()
        # Before it looks at the time: opening hundreds of connections takes longer than a warm-up does.
        while True:
            asked = answered
            await ask()
            answered = clock()
            latencies.append(answered - asked)
            if answered >= began + seconds:
                break

    async with asyncio.timeout(seconds + ANSWER_SECONDS):
        await asyncio.gather(*(caller(ask) for ask in callers))
    return Measured(clock() - began, latencies)


async def paced(callers: Sequence[Ask], per_second: float, seconds: float) -> Measured:
    """Calls begin at their moment, whether earlier ones were answered or not: a wait counts from there."""
    clock = asyncio.get_running_loop().time
    latencies: list[float] = []
    began = clock()

    async def call(ask: Ask, due: float) -> None:
        await ask()
        latencies.append(clock() - due)

    async with asyncio.timeout(seconds + ANSWER_SECONDS), asyncio.TaskGroup() as calls:
        for number in range(int(per_second * seconds)):
            due = began + number / per_second
            await asyncio.sleep(due - clock())
            calls.create_task(call(callers[number % len(callers)], due))
    return Measured(clock() - began, latencies)
