"""What a token costs the servers behind, where they run on this machine."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import psutil
from bench.load import closed_loop
from bench.program import cpu_seconds, family
from bench.row import Row
from bench.stage import SERVE, Stage
from bench.subject import Subject, connected

CALLERS = 64


async def servers(stage: Stage) -> AsyncIterator[Row]:
    """RabbitMQ and Redis, under single requests and under sixty-four calls to a message."""
    stage.start(SERVE)
    pids = {"RabbitMQ": _listening(stage.broker_url), "Redis": _listening(stage.cache_url)}
    for load, connections in (("one call to a message", None), ("64 calls to a message", 1)):
        found = await _cpu_microseconds(stage, pids, connections)
        for name, microseconds in found.items():
            yield Row(name=f"{name}, {load}: CPU per answer", ours=microseconds, unit="µs", better="lower")


async def _cpu_microseconds(
    stage: Stage, pids: dict[str, list[int]], connections: int | None
) -> dict[str, float]:
    ours = Subject(name="ours", caller=stage.caller(), pids=stage.pids(SERVE))
    async with connected(ours, CALLERS, stage.seconds, connections) as asks:
        before = {name: cpu_seconds(found) for name, found in pids.items()}
        load = await closed_loop(asks, stage.seconds)
        return {
            name: (cpu_seconds(found) - before[name]) / len(load.latencies) * 1e6
            for name, found in pids.items()
            if found
        }


def _listening(url: str) -> list[int]:
    """The process that has a local address, and those it started; none where it is elsewhere."""
    port = urlsplit(url).port
    found = [
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid
    ]
    return family(found[0]) if found else []
