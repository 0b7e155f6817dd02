"""Two dispenser processes beside one."""

from collections.abc import AsyncIterator

from bench.row import Row
from bench.stage import Stage
from bench.subject import Subject, costs

CALLERS = 64


async def more_processes(stage: Stage) -> AsyncIterator[Row]:
    """Every caller on a connection of its own; the broker and the callers want cores too."""
    found = {}
    for arguments in (("serve",), ("serve", "--processes", "2")):
        subject = Subject(name="ours", caller=stage.caller(), pids=stage.pids(*arguments))
        found[arguments] = (await costs([subject], CALLERS, stage.seconds))["ours"]
        stage.ended(*arguments)
    one, two = found.values()
    yield Row(
        name="two dispensers, one dispenser: answers",
        ours=two.load.per_second,
        theirs=one.load.per_second,
        unit="1/s",
    )
