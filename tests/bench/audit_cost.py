"""What a durable audit record costs each token."""

import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

from acceptance.installation import COMMAND
from bench.row import Row
from bench.stage import SERVE, Stage
from bench.subject import ROUNDS, Cost, Subject, cost, together

CALLERS = (1, 64)
UNAUDITED = (sys.executable, "-P", str(Path(__file__).with_name("unaudited.py")))


async def audit_cost(stage: Stage) -> AsyncIterator[Row]:
    """A dispenser as it is, and one whose audit forgets."""
    none, durable = await _in_turns(stage)
    for callers in CALLERS:
        yield Row(
            name=f"{callers} at once, no audit: CPU per answer",
            ours=durable[callers].cpu_microseconds,
            theirs=none[callers].cpu_microseconds,
            unit="µs",
            better="lower",
        )
        yield Row(
            name=f"{callers} at once, no audit: p50",
            ours=durable[callers].load.percentile(0.5) * 1000,
            theirs=none[callers].load.percentile(0.5) * 1000,
            unit="ms",
            better="lower",
        )


async def _in_turns(stage: Stage) -> list[dict[int, Cost]]:
    """Without and with an audit, by callers. Both take requests from one queue, so one runs at a time."""
    commands = (UNAUDITED, COMMAND)
    found: dict[tuple[tuple[str, ...], int], list[Cost]] = defaultdict(list)
    rounds = stage.count(ROUNDS)
    stage.start(SERVE)
    for _ in range(rounds):
        for command in commands:
            stage.restart(SERVE, command)
            subject = Subject(name="ours", caller=stage.caller(), pids=stage.pids(SERVE))
            for callers in CALLERS:
                found[command, callers].append(await cost(subject, callers, stage.seconds / rounds))
    return [{callers: together(found[command, callers]) for callers in CALLERS} for command in commands]
