"""Round trips with everything on, beside echoes and a REST service: how many, how late, at what cost."""

from collections.abc import AsyncIterator
from functools import partial

from bench.echo_caller import echo_caller
from bench.load import paced
from bench.peers import echo_aio_pika, echo_faststream
from bench.program import peers
from bench.rest_caller import rest_caller
from bench.row import Row
from bench.stage import SERVE, Stage
from bench.subject import Cost, Subject, connected, costs
from services.server import free_port

CALLERS = (1, 64, 512)
HALF_LOAD_CALLERS = 64
ECHO = "aio-pika echo"


async def round_trips(stage: Stage) -> AsyncIterator[Row]:
    """One message per request: every caller has a connection of its own."""
    port = free_port()
    with peers(
        ("echo_aio_pika", stage.broker_url),
        ("echo_aio_pika", stage.broker_url, "--uvloop"),
        ("echo_faststream", stage.broker_url),
        ("rest_service", stage.cache_url, str(port)),
    ) as (echo, faster_echo, faststream, rest):
        echoing = partial(echo_caller, stage.broker_url)
        ours = Subject(name="ours", caller=stage.caller(), pids=stage.pids(SERVE))
        bare = Subject(name=ECHO, caller=partial(echoing, echo_aio_pika.QUEUE), pids=[echo])
        others = [
            Subject(
                name=f"{ECHO} on uvloop",
                caller=partial(echoing, echo_aio_pika.QUEUE_ON_UVLOOP),
                pids=[faster_echo],
            ),
            Subject(name="FastStream RPC", caller=partial(echoing, echo_faststream.QUEUE), pids=[faststream]),
            Subject(name="FastAPI + Redis over HTTP", caller=partial(rest_caller, port), pids=[rest]),
        ]
        for callers in CALLERS:
            at_once = stage.callers(callers)
            found = await costs(stage, [ours, bare, *others], at_once)
            for name in (ECHO, *(other.name for other in others)):
                title = f"{at_once} at once, {name}"
                for row in _compared(title, found["ours"], found[name], judged=name == ECHO):
                    yield row
            if callers == HALF_LOAD_CALLERS:
                slower = min(found[subject.name].load.per_second for subject in (ours, bare))
                yield await _half_load(stage, ours, bare, slower / 2)


def _compared(name: str, ours: Cost, theirs: Cost, *, judged: bool) -> list[Row]:
    mine, other = ours.load, theirs.load
    return [
        Row(
            name=f"{name}: answers",
            ours=mine.per_second,
            theirs=other.per_second,
            unit="1/s",
            goal=1.0 if judged else None,
        ),
        Row(
            name=f"{name}: CPU per answer",
            ours=ours.cpu_microseconds,
            theirs=theirs.cpu_microseconds,
            unit="µs",
            goal=1.0 if judged else None,
            better="lower",
        ),
        *(
            Row(
                name=f"{name}: p{percent}",
                ours=mine.percentile(percent / 100) * 1000,
                theirs=other.percentile(percent / 100) * 1000,
                unit="ms",
                better="lower",
            )
            for percent in (50, 99)
        ),
    ]


async def _half_load(stage: Stage, ours: Subject, bare: Subject, per_second: float) -> Row:
    """Both at half of what the slower one can."""
    late = []
    for subject in (ours, bare):
        async with connected(subject, stage.callers(HALF_LOAD_CALLERS), stage.seconds) as asks:
            late.append((await paced(asks, per_second, stage.seconds)).percentile(0.99) * 1000)
    return Row(
        name=f"half load, {ECHO}: p99", ours=late[0], theirs=late[1], unit="ms", goal=2.0, better="lower"
    )
