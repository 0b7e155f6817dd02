"""What a durable audit record costs each token."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bench.row import Row
from bench.stage import Stage
from bench.subject import Subject, costs

CALLERS = (1, 64)
UNAUDITED = (sys.executable, "-P", str(Path(__file__).with_name("unaudited.py")))


async def audit_cost(stage: Stage) -> AsyncIterator[Row]:
    """A dispenser as it is, and one whose audit forgets."""
    for callers in CALLERS:
        found = {}
        for name, command in (("durable", None), ("none", UNAUDITED)):
            pids = stage.pids("serve", command=command)
            subject = Subject(name=name, caller=stage.caller(), pids=pids)
            found |= await costs([subject], callers, stage.seconds)
            stage.ended("serve")
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
