from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: Seconds: a cached token takes a few milliseconds, a refresh up to the deadline.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BOUNDS: Final = tuple(map(floatToGoString, (*BUCKETS, float("inf"))))


class Metrics(Collector):
    """Counts replies by door and code. No label tells of an agent, an owner or a token.

    One thread counts, with plain numbers: the library's own counters take a lock or two for each call.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._replies: Counter[tuple[str, str]] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()
        #: By door: how many replies fell into each bucket, and their seconds together.
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * len(_BOUNDS))
        self._seconds: dict[str, float] = defaultdict(float)

    def dropped(self, door: str, why: str) -> None:
        """A request was not answered at all."""
        self._dropped[door, why] += 1

    def replied(self, door: str, code: str, seconds: float, calls: int = 1) -> None:
        """Calls were answered, after so many seconds each."""
        self._replies[door, code] += calls
        self._buckets[door][bisect_left(BUCKETS, seconds)] += calls
        self._seconds[door] += calls * seconds

    def collect(self) -> Iterable[Metric]:
        """For the registry."""
        yield _counted("dispenser_replies", "Replies to agents' calls.", "code", self._replies)
        seconds = HistogramMetricFamily(
            "dispenser_reply_seconds", "Seconds from a call to its reply.", labels=["door"]
        )
        for door, counts in list(self._buckets.items()):
            buckets = list(zip(_BOUNDS, accumulate(counts), strict=True))
            seconds.add_metric([door], buckets, self._seconds[door])
        yield seconds
        yield _counted(
            "dispenser_dropped_requests",
            "Requests that were not answered: misaddressed, or of a sender that was refused too often.",
            "why",
            self._dropped,
        )

    def exposition(self) -> bytes:
        """Everything in the registry, as Prometheus reads it."""
        return generate_latest(self._registry)

    @contextmanager
    def served(self, host: str, port: int) -> Iterator[None]:
        """At /metrics on a port of their own, for a process without an HTTP door. Raises: OSError."""
        server, thread = start_http_server(port, addr=host, registry=self._registry)
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _counted(name: str, what: str, label: str, counts: Counter[tuple[str, str]]) -> Metric:
    family = CounterMetricFamily(name, what, labels=["door", label])
    for labels, count in list(counts.items()):
        family.add_metric(labels, count)
    return family
