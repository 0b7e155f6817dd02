"""What a durable audit record costs each token."""

import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from bench.row import Row
from bench.stage import Stage
from bench.subject import ROUNDS, Cost, Subject, cost, together

CALLERS = (1, 64)
UNAUDITED = (sys.executable, "-P", str(Path(__file__).with_name("unaudited.py")))


async def audit_cost(stage: Stage) -> AsyncIterator[Row]:
    """A dispenser as it is, and one whose audit forgets."""
    for callers in CALLERS:
        found = await _in_turns(stage, callers)
        yield Row(
            name=f"{callers} at once, no audit: CPU per answer",
            ours=found["durable"].cpu_microseconds,
            theirs=found["none"].cpu_microseconds,
            unit="µs",
        )
        yield Row(
            name=f"{callers} at once, no audit: p50",
            ours=found["durable"].load.percentile(0.5) * 1000,
            theirs=found["none"].load.percentile(0.5) * 1000,
            unit="ms",
        )


async def _in_turns(stage: Stage, callers: int) -> Mapping[str, Cost]:
    """Both take their requests from one queue, so one runs at a time."""
    found: dict[str, list[Cost]] = defaultdict(list)
    rounds = stage.count(ROUNDS)
    for _ in range(rounds):
        for name, command in (("durable", None), ("none", UNAUDITED)):
            subject = Subject(name=name, caller=stage.caller(), pids=stage.pids("serve", command=command))
            found[name].append(await cost(subject, callers, stage.seconds / rounds))
            stage.ended("serve")
    return {name: together(parts) for name, parts in found.items()}
