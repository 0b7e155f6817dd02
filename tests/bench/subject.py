"""What answers callers, ours or a peer, and what a load of them costs it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from bench.load import Ask, Measured, closed_loop
from bench.program import cpu_seconds
from bench.stage import Stage

#: Subjects take turns, so that a machine's slow minute is shared by all.
ROUNDS = 3
#: Of a measurement; every caller asks once at least.
WARM_UP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """`caller` opens one caller's connection; `pids` are the processes that answer."""

    name: str
    caller: Callable[[], AbstractAsyncContextManager[Ask]]
    pids: Sequence[int]


@dataclass(frozen=True, slots=True)
class Cost:
    """A load, and the CPU time that answering it took."""

    load: Measured
    cpu_seconds: float

    @property
    def cpu_microseconds(self) -> float:
        """Per answer, user and system."""
        return self.cpu_seconds / len(self.load.latencies) * 1e6


@asynccontextmanager
async def connected(
    subject: Subject, callers: int, seconds: float, connections: int | None = None
) -> AsyncIterator[list[Ask]]:
    """So many callers, each on a connection of its own or all on so many, warmed up for so many seconds."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(subject.caller()) for _ in range(connections or callers)]
        asks = [opened[number % len(opened)] for number in range(callers)]
        await closed_loop(asks, WARM_UP * seconds)
        yield asks


async def costs(
    stage: Stage, subjects: Sequence[Subject], callers: int, *, connections: int | None = None
) -> Mapping[str, Cost]:
    """Each subject's cost by name, in turns, from a closed loop of so many callers."""
    found: dict[str, list[Cost]] = {subject.name: [] for subject in subjects}
    rounds = stage.count(ROUNDS)
    for _ in range(rounds):
        for subject in subjects:
            found[subject.name].append(await cost(subject, callers, stage.seconds / rounds, connections))
    return {name: together(parts) for name, parts in found.items()}


async def cost(subject: Subject, callers: int, seconds: float, connections: int | None = None) -> Cost:
    """Of one round."""
    async with connected(subject, callers, seconds, connections) as asks:
        before = cpu_seconds(subject.pids)
        load = await closed_loop(asks, seconds)
        return Cost(load, cpu_seconds(subject.pids) - before)


def together(parts: Sequence[Cost]) -> Cost:
    """Of several rounds."""
    seconds = sum(part.load.seconds for part in parts)
    latencies = [latency for part in parts for latency in part.load.latencies]
    return Cost(Measured(seconds, latencies), sum(part.cpu_seconds for part in parts))
