import asyncio
from collections.abc import Callable
from typing import Any

from simulation.network import Network
from simulation.process import Process
from simulation.weather import Weather

from shared.adapters.memory_broker import MemoryBroker
from shared.adapters.memory_queue import Held, MemoryQueue, Subscription
from shared.adapters.redelivery import REQUEUE_PAUSE_SECONDS, retried
from shared.errors import BusUnavailable, VaultError
from shared.ports import DeadLetter, Delivery, Handler, Outgoing, RetryLater, Settlement

#: Share of messages that arrive twice, where anything goes wrong at all.
_TWICE = 0.03
_RECONNECT_SECONDS = 2.0


class BusPort:
    """A process's connection to the broker."""

    def __init__(self, broker: MemoryBroker, network: Network, process: Process, weather: Weather) -> None:
        self._broker = broker
        self._network = network
        self._process = process
        self._weather = weather
        self._consumers: list[_Consumer] = []

    @property
    def connected(self) -> bool:
        return True

    async def start(self) -> None:
        """It connects by itself."""

    async def declare(self) -> None:
        """The topology is there."""

    async def publish(self, message: Outgoing) -> None:
        await self._network.call(
            "bus", f"bus.publish {message.routing_key}", lambda: self._put(message), _unavailable
        )

    async def reply(self, reply_to: str, correlation_id: str, body: bytes, expiration_seconds: float) -> None:
        """Nobody asks over the bus here."""

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> None:
        consumer = _Consumer(self, self._broker.queues[queue], handler, prefetch)
        self._consumers.append(consumer)
        self._network.later(self._weather.seconds(), consumer.subscribe)

    async def drain(self) -> None:
        for consumer in self._consumers:
            await consumer.drain()

    async def close(self) -> None:
        self.lose()

    def lose(self) -> None:
        """The connection is gone: what was in hand goes to others."""
        for consumer in self._consumers:
            consumer.lose()

    def sever(self) -> None:
        """The connection is gone, those who handled its messages are cancelled, and it is made anew."""
        for consumer in self._consumers:
            consumer.lose()
            consumer.cancel()
            self._network.later(_RECONNECT_SECONDS, consumer.subscribe)

    def _put(self, message: Outgoing) -> None:
        delivery = Delivery(
            body=message.body,
            headers=dict(message.headers),
            routing_key=message.routing_key,
            correlation_id=None,
            reply_to=None,
            user_id=None,
            expiration_seconds=message.expiration_seconds,
            redelivered=False,
        )
        self._broker.publish(message.exchange, delivery)
        if self._weather.rates.get("bus") and self._weather.chance.random() < _TWICE:
            self._broker.publish(message.exchange, delivery)

    def later(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Have the broker do something."""
        self._network.later(self._weather.seconds(), callback, *arguments)

    def begin(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Have the process do something."""
        asyncio.get_running_loop().call_soon(callback, *arguments, context=self._process.context)

    @property
    def alive(self) -> bool:
        return self._process.alive


class _Consumer:
    """One subscription, as the broker and as the process see it."""

    def __init__(self, bus: BusPort, queue: MemoryQueue, handler: Handler, prefetch: int) -> None:
        self._bus = bus
        self._queue = queue
        self._handler = handler
        self._subscription = Subscription(take=self._take, prefetch=prefetch)
        self._subscribed = False
        #: What the broker takes to be in hand.
        self._held: set[Held] = set()
        self._hands: dict[Held, asyncio.Task[None]] = {}

    # The broker's side.

    def subscribe(self) -> None:
        if self._bus.alive and not self._subscribed:
            self._subscribed = True
            self._queue.subscribe(self._subscription)

    def lose(self) -> None:
        if self._subscribed:
            self._queue.unsubscribe(self._subscription)
            self._subscribed = False
        held, self._held = sorted(self._held, key=lambda one: one.delivery.body), set()
        for one in held:
            self._queue.requeue(one, self._subscription)

    def _take(self, held: Held) -> None:
        self._held.add(held)
        self._bus.later(self._bus.begin, self._begin, held)

    def _settled(self, held: Held, settle: Callable[[Held, Subscription], None]) -> None:
        if held in self._held:  # else the connection was lost, and with it the right to settle
            self._held.discard(held)
            settle(held, self._subscription)

    # The process's side.

    async def drain(self) -> None:
        self._bus.later(self._unsubscribe)
        while self._hands:
            await asyncio.wait(list(self._hands.values()))

    def cancel(self) -> None:
        for task in list(self._hands.values()):
            task.cancel()

    def _unsubscribe(self) -> None:
        if self._subscribed:
            self._queue.unsubscribe(self._subscription)
            self._subscribed = False

    def _begin(self, held: Held) -> None:
        if held not in self._held:
            return
        self._hands[held] = task = asyncio.get_running_loop().create_task(self._handle(held))
        task.add_done_callback(lambda _: self._hands.pop(held, None))

    async def _handle(self, held: Held) -> None:
        try:
            settlement = await self._handler(held.delivery)
        except Exception:  # noqa: BLE001 - whatever a handler raises, the message goes back
            await asyncio.sleep(REQUEUE_PAUSE_SECONDS)
            self._bus.later(self._settled, held, self._queue.requeue)
        else:
            await self._settle(held, settlement)

    async def _settle(self, held: Held, settlement: Settlement) -> None:
        settle = self._queue.dead_letter if isinstance(settlement, DeadLetter) else self._queue.settle
        if isinstance(settlement, RetryLater):
            try:
                await self._bus.publish(retried(held.delivery, settlement.delay_seconds))
            except VaultError:
                settle = self._queue.requeue
        self._bus.later(self._settled, held, settle)


def _unavailable() -> BusUnavailable:
    return BusUnavailable("The simulated broker does not answer.")
