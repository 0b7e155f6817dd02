import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.adapters.refusal import queue_full
from shared.ports import Delivery
from shared.topology import Queue

#: Takes a dead message to an exchange.
DeadLetters = Callable[[str, Delivery], None]
Take = Callable[["Held"], None]


@dataclass(eq=False, slots=True)
class Held:
    """A message in a queue, or out of it in a consumer's hand."""

    delivery: Delivery
    deliveries: int = 0
    #: When it will have outlived its queue's or its own time.
    expiry: asyncio.TimerHandle | None = None
    expired: bool = False


@dataclass(eq=False, slots=True)
class Subscription:
    """A consumer's claim on up to `prefetch` messages at once."""

    take: Take
    prefetch: int
    in_hand: int = 0


class MemoryQueue:
    """A queue with RabbitMQ's bounds: length, lives, dead letters, delivery limit, prefetch.

    One difference: a message expires when its time has come, not when it reaches the head.
    """

    def __init__(self, queue: Queue, dead_letters: DeadLetters) -> None:
        self._arguments = queue.arguments
        self._dead_letters = dead_letters
        self._ready: deque[Held] = deque()
        self._subscriptions: deque[Subscription] = deque()

    def __len__(self) -> int:
        """Messages that no consumer has in hand."""
        return len(self._ready)

    def take(self) -> Delivery | None:
        """The oldest waiting message, out of the queue; as `basic.get` without acknowledgement."""
        if not self._ready:
            return None
        held = self._ready.popleft()
        if held.expiry:
            held.expiry.cancel()
        return held.delivery

    def put(self, delivery: Delivery) -> None:
        """Raises: QueueFull."""
        self._make_room(delivery)
        held = Held(delivery)
        self._let_expire(held)
        self._ready.append(held)
        self._hand_out()

    def subscribe(self, subscription: Subscription) -> None:
        self._subscriptions.append(subscription)
        self._hand_out()

    def unsubscribe(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)

    def settle(self, held: Held, subscription: Subscription) -> None:
        """It is done with."""
        if held.expiry:
            held.expiry.cancel()
        subscription.in_hand -= 1
        self._hand_out()

    def dead_letter(self, held: Held, subscription: Subscription) -> None:
        """Nobody can handle it."""
        self._bury(held)
        self.settle(held, subscription)

    def requeue(self, held: Held, subscription: Subscription) -> None:
        """Back to the head, or to the dead letters after one delivery too many."""
        limit = self._number("x-delivery-limit")
        if held.expired or (limit is not None and held.deliveries > limit):
            self.dead_letter(held, subscription)
            return
        held.delivery = replace(held.delivery, redelivered=True)
        self._ready.appendleft(held)
        subscription.in_hand -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give the oldest messages to the consumers with room, in turn."""
        while self._ready and (subscription := self._next_with_room()):
            held = self._ready.popleft()
            held.deliveries += 1
            subscription.in_hand += 1
            subscription.take(held)

    def _make_room(self, delivery: Delivery) -> None:
        limit = self._number("x-max-length")
        if limit is None or len(self._ready) < limit:
            return
        if self._arguments.get("x-overflow") == "reject-publish":
            raise queue_full(delivery.routing_key)
        self._bury(self._ready.popleft())

    def _next_with_room(self) -> Subscription | None:
        for _ in range(len(self._subscriptions)):
            subscription = self._subscriptions[0]
            self._subscriptions.rotate(-1)
            if subscription.in_hand < subscription.prefetch:
                return subscription
        return None

    def _let_expire(self, held: Held) -> None:
        milliseconds = self._number("x-message-ttl")
        lives = (held.delivery.expiration_seconds, milliseconds and milliseconds / 1000)
        given = [life for life in lives if life is not None]
        if given:
            held.expiry = asyncio.get_running_loop().call_later(min(given), self._expire, held)

    def _expire(self, held: Held) -> None:
        held.expired = True
        if held in self._ready:
            self._ready.remove(held)
            self._bury(held)

    def _bury(self, held: Held) -> None:
        if held.expiry:
            held.expiry.cancel()
        exchange = self._arguments.get("x-dead-letter-exchange")
        if exchange is not None:
            # Its own life ends with its first death, or it would die at every stop (RabbitMQ does the same).
            key = str(self._arguments.get("x-dead-letter-routing-key", held.delivery.routing_key))
            dead = replace(held.delivery, routing_key=key, expiration_seconds=None, redelivered=False)
            self._dead_letters(str(exchange), dead)

    def _number(self, argument: str) -> int | None:
        value = self._arguments.get(argument)
        return None if value is None else int(value)
