from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

#: Seconds: a cached token takes a few milliseconds, a refresh up to the deadline.
BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counts replies by door and code. No label tells of an agent, an owner or a token."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._replies = Counter(
            "dispenser_replies", "Replies to agents' calls.", ["door", "code"], registry=registry
        )
        self._seconds = Histogram(
            "dispenser_reply_seconds",
            "Seconds from a call to its reply.",
            ["door"],
            registry=registry,
            buckets=BUCKETS,
        )

    def replied(self, door: str, code: str, seconds: float) -> None:
        """One call was answered."""
        self._replies.labels(door, code).inc()
        self._seconds.labels(door).observe(seconds)

    def exposition(self) -> bytes:
        """Everything in the registry, as Prometheus reads it."""
        return generate_latest(self._registry)
