from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, start_http_server

#: Seconds: a cached token takes a few milliseconds, a refresh up to the deadline.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts replies by door and code. No label tells of an agent, an owner or a token."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        replies = Counter(
            "dispenser_replies", "Replies to agents' calls.", ["door", "code"], registry=registry
        )
        seconds = Histogram(
            "dispenser_reply_seconds",
            "Seconds from a call to its reply.",
            ["door"],
            registry=registry,
            buckets=BUCKETS,
        )
        dropped = Counter(
            "dispenser_dropped_requests",
            "Requests that were not answered: misaddressed, or of a sender that was refused too often.",
            ["door", "why"],
            registry=registry,
        )
        # Labels are looked up under a lock each time: of so few, each is kept.
        self._reply_count = cache(replies.labels)
        self._reply_seconds = cache(seconds.labels)
        self._dropped_count = cache(dropped.labels)

    def dropped(self, door: str, why: str) -> None:
        """A request was not answered at all."""
        self._dropped_count(door, why).inc()

    def replied(self, door: str, code: str, seconds: float) -> None:
        """One call was answered."""
        self._reply_count(door, code).inc()
        self._reply_seconds(door).observe(seconds)

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
