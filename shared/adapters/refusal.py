"""What a bus says of a message that it did not take."""

from shared.errors import QueueFull, Unroutable


def unroutable(exchange: str, routing_key: str) -> Unroutable:
    """No queue is bound there."""
    where = exchange or "the default exchange"
    return Unroutable(
        f"No queue is bound to {where} for {routing_key!r}. Run `dispenser init` against this broker."
    )


def queue_full(routing_key: str) -> QueueFull:
    """A queue is bound there and at its limit."""
    return QueueFull(
        f"The broker refused a message for {routing_key!r}: its queue is at its limit. Start more consumers."
    )
