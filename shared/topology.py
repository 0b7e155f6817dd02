"""RabbitMQ's exchanges, queues and bindings: what `dispenser init` declares and every adapter speaks of.

Queue types and dead-lettering must be arguments; lengths and lives are here too, so that a broker without
policies is bounded from its first message (https://www.rabbitmq.com/docs/parameters#policies).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

RPC_EXCHANGE: Final = "vault.rpc"
RPC_KEY: Final = "token.get"
RPC_QUEUE: Final = "vault.rpc.token"
REPLY_PREFIX: Final = "vault.reply."
EVENTS_EXCHANGE: Final = "vault.events"
REFRESH_EXCHANGE: Final = "vault.refresh"
DUE_KEY: Final = "due"
URGENT_KEY: Final = "urgent"
DUE_QUEUE: Final = "vault.refresh.due"
URGENT_QUEUE: Final = "vault.refresh.urgent"
DEAD_EXCHANGE: Final = "vault.dlx"
DEAD_KEY: Final = "refresh.dead"
DEAD_QUEUE: Final = "vault.refresh.dead"
#: Seconds a refresh waits before it is tried again, by retry queue.
RETRY_QUEUES: Final[Mapping[int, str]] = {
    10: "vault.refresh.retry.10s",
    60: "vault.refresh.retry.60s",
    300: "vault.refresh.retry.300s",
}
#: The header that counts a refresh event's tries.
ATTEMPT_HEADER: Final = "attempt"
DELIVERY_LIMIT: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: Literal["direct", "topic"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A durable queue, with the bindings that feed it."""

    name: str
    arguments: Mapping[str, str | int]
    bindings: tuple[tuple[str, str], ...] = field(default=())  # (exchange, routing key)


EXCHANGES: Final = (
    Exchange(name=RPC_EXCHANGE, type="direct"),
    Exchange(name=EVENTS_EXCHANGE, type="topic"),
    Exchange(name=REFRESH_EXCHANGE, type="direct"),
    Exchange(name=DEAD_EXCHANGE, type="direct"),
)

# A request is worthless seconds later, so replicating it buys nothing: classic.
_RPC = Queue(
    name=RPC_QUEUE,
    arguments={
        "x-queue-type": "classic",
        "x-max-length": 5000,
        "x-overflow": "reject-publish",
        "x-message-ttl": 10_000,
    },
    bindings=((RPC_EXCHANGE, RPC_KEY),),
)


def _refresh(name: str, key: str) -> Queue:
    return Queue(
        name=name,
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": DEAD_EXCHANGE,
            "x-dead-letter-routing-key": DEAD_KEY,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": 200_000,
        },
        bindings=((REFRESH_EXCHANGE, key),),
    )


def _retry(seconds: int, name: str) -> Queue:
    return Queue(
        name=name,
        arguments={
            "x-queue-type": "quorum",
            "x-message-ttl": seconds * 1000,
            "x-dead-letter-exchange": REFRESH_EXCHANGE,
            "x-dead-letter-routing-key": DUE_KEY,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
            "x-max-length": 200_000,
        },
    )


QUEUES: Final = (
    _RPC,
    _refresh(DUE_QUEUE, DUE_KEY),
    _refresh(URGENT_QUEUE, URGENT_KEY),
    *(_retry(seconds, name) for seconds, name in RETRY_QUEUES.items()),
    Queue(
        name=DEAD_QUEUE,
        arguments={"x-queue-type": "quorum", "x-max-length": 100_000},
        bindings=((DEAD_EXCHANGE, DEAD_KEY),),
    ),
)


def retry_queue(delay_seconds: float) -> str:
    """The retry queue whose wait is nearest above the delay, or the longest there is."""
    fitting = [seconds for seconds in sorted(RETRY_QUEUES) if seconds >= delay_seconds]
    return RETRY_QUEUES[fitting[0] if fitting else max(RETRY_QUEUES)]
