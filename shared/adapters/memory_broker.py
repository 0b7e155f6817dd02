from collections.abc import Callable
from typing import Final

import structlog

from shared.adapters.memory_queue import MemoryQueue
from shared.adapters.refusal import unroutable
from shared.adapters.topic import topic_matches
from shared.errors import QueueFull, Unroutable
from shared.ports import Delivery
from shared.topology import EVENTS_EXCHANGE, QUEUES

#: Gets (correlation id, body).
ReplyCallback = Callable[[str, bytes], None]
EventCallback = Callable[[Delivery], None]

DEFAULT_EXCHANGE: Final = ""

_log = structlog.get_logger()


class MemoryBroker:
    """What the buses of one event loop share: the topology's queues, reply queues and event subscribers.

    Everything happens in the order in which it was asked for, and time is the loop's.
    """

    def __init__(self) -> None:
        self.queues = {queue.name: MemoryQueue(queue, self._dead_letter) for queue in QUEUES}
        self._bound: dict[tuple[str, str], list[MemoryQueue]] = {}
        for queue in QUEUES:
            for place in ((DEFAULT_EXCHANGE, queue.name), *queue.bindings):
                self._bound.setdefault(place, []).append(self.queues[queue.name])
        self._replies: dict[str, ReplyCallback] = {}
        self._subscribers: list[tuple[str, EventCallback]] = []

    def publish(self, exchange: str, delivery: Delivery) -> None:
        """Put a copy into every queue that is bound there. Raises: Unroutable, QueueFull."""
        if exchange == EVENTS_EXCHANGE:
            self._announce(delivery)
            return
        queues = self._bound.get((exchange, delivery.routing_key))
        if not queues:
            raise unroutable(exchange, delivery.routing_key)
        for queue in queues:
            queue.put(delivery)

    def reply(self, reply_to: str, correlation_id: str, body: bytes) -> None:
        """Hand a reply to whoever declared the queue; to nobody, silently."""
        if callback := self._replies.get(reply_to):
            callback(correlation_id, body)

    def declare_reply_queue(self, name: str, callback: ReplyCallback) -> None:
        self._replies[name] = callback

    def subscribe(self, pattern: str, callback: EventCallback) -> None:
        """Hear the lifecycle events whose routing key matches the topic pattern."""
        self._subscribers.append((pattern, callback))

    def _announce(self, event: Delivery) -> None:
        # An event that nobody subscribed to is no failure.
        for pattern, callback in self._subscribers:
            if topic_matches(pattern, event.routing_key):
                callback(event)

    def _dead_letter(self, exchange: str, delivery: Delivery) -> None:
        try:
            self.publish(exchange, delivery)
        except (Unroutable, QueueFull) as error:
            _log.error("A dead letter was dropped", routing_key=delivery.routing_key, error=error.code)
