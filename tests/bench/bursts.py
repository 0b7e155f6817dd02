"""Many callers in one client process, whose calls of one tick travel together."""

from collections.abc import AsyncIterator
from functools import partial

from bench.echo_caller import echo_caller
from bench.peers import echo_aio_pika
from bench.program import peers
from bench.round_trips import ECHO
from bench.row import Row
from bench.stage import SERVE, Stage
from bench.subject import Subject, costs

CALLERS = 64


async def bursts(stage: Stage) -> AsyncIterator[Row]:
    """Both on one connection, sixty-four callers on it."""
    with peers(("echo_aio_pika", stage.broker_url)) as echo:
        ours = Subject(name="ours", caller=stage.caller(), pids=stage.pids(SERVE))
        bare = Subject(
            name=ECHO, caller=partial(echo_caller, stage.broker_url, echo_aio_pika.QUEUE), pids=echo
        )
        found = await costs(stage, [ours, bare], CALLERS, connections=1)
        yield Row(
            name=f"{CALLERS} callers in one process, {ECHO}: answers",
            ours=found["ours"].load.per_second,
            theirs=found[ECHO].load.per_second,
            unit="1/s",
            goal=20.0,
        )
        yield Row(
            name=f"{CALLERS} callers in one process, {ECHO}: CPU per answer",
            ours=found["ours"].cpu_microseconds,
            theirs=found[ECHO].cpu_microseconds,
            unit="µs",
            better="lower",
        )
