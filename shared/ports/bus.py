from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish, persistent unless it expires."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    message_id: str | None = None
    content_type: str = "application/msgpack"
    #: Seconds after which nobody needs it.
    expiration_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as a consumer gets it."""

    body: bytes
    headers: Mapping[str, Any]
    routing_key: str
    correlation_id: str | None
    reply_to: str | None
    #: Validated by the broker: the user that published (https://www.rabbitmq.com/docs/validated-user-id).
    user_id: str | None
    expiration_seconds: float | None
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Ack:
    """Done with."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Nobody can handle it: to the dead letters."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again: through the retry queue nearest above the delay, counted in the attempt header."""

    delay_seconds: float


Settlement = Ack | DeadLetter | RetryLater

Handler = Callable[[Delivery], Awaitable[Settlement]]


class Bus(Protocol):
    """The broker. Reconnects by itself, for ever; what cannot wait raises BusUnavailable."""

    @property
    def connected(self) -> bool:
        """Connected and consuming all that was asked for."""

    async def start(self) -> None:
        """Connect. Waits for the broker as long as it takes, and says so in the log."""

    async def declare(self) -> None:
        """Declare the topology. For `dispenser init` alone."""

    async def publish(self, message: Outgoing) -> None:
        """Publish, and return once the broker has confirmed.

        Raises: BusUnavailable, Unroutable, QueueFull.
        """

    async def reply(self, reply_to: str, correlation_id: str, body: bytes, expiration_seconds: float) -> None:
        """Answer a request: at most once, unconfirmed, dropped when nobody listens."""

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> None:
        """Hand every message to the handler, up to `prefetch` at once, on this and every later connection."""

    async def drain(self) -> None:
        """Take no more messages, and wait until those in hand are settled."""

    async def close(self) -> None:
        """Disconnect for good."""
