"""Two dispenser processes beside one."""

from collections.abc import AsyncIterator

from bench.program import family
from bench.row import Row
from bench.stage import SERVE, Stage
from bench.subject import Cost, Subject, costs

CALLERS = 64


async def more_processes(stage: Stage) -> AsyncIterator[Row]:
    """Every caller on a connection of its own; the broker and the callers want cores too."""
    one = await _cost(stage, stage.pids(SERVE))
    second = stage.vault.start(*SERVE)
    two = await _cost(stage, stage.pids(SERVE) + family(second.pid))
    second.stop()
    yield Row(
        name="two dispensers, one dispenser: answers",
        ours=two.load.per_second,
        theirs=one.load.per_second,
        unit="1/s",
    )


async def _cost(stage: Stage, pids: list[int]) -> Cost:
    subject = Subject(name="ours", caller=stage.caller(), pids=pids)
    return (await costs(stage, [subject], stage.callers(CALLERS)))[subject.name]
