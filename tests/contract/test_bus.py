"""What every bus does, over memory and over a real RabbitMQ."""

import asyncio

import pytest
from contract.bus_places import PATIENCE, BusPlace, MemoryPlace, RabbitPlace, until

from shared.errors import QueueFull, Unroutable
from shared.ports import Ack, Bus, DeadLetter, Delivery, Outgoing, RetryLater, Settlement
from shared.topology import (
    ATTEMPT_HEADER,
    DEAD_QUEUE,
    DELIVERY_LIMIT,
    DUE_KEY,
    DUE_QUEUE,
    EVENTS_EXCHANGE,
    REFRESH_EXCHANGE,
    RETRY_QUEUES,
    RPC_EXCHANGE,
    RPC_KEY,
    RPC_QUEUE,
    URGENT_KEY,
    URGENT_QUEUE,
)


@pytest.fixture(params=["memory", "rabbitmq"])
async def place(request):
    if request.param == "memory":
        place = MemoryPlace()
    else:
        place = await RabbitPlace.open(request.getfixturevalue("vhost"))
    yield place
    await place.close()


class Recorder:
    """A handler that keeps what it gets, holds it while told to, and settles everything alike."""

    def __init__(self, settlement: Settlement, *, hold: bool = False) -> None:
        self.arrived: asyncio.Queue[Delivery] = asyncio.Queue()
        self.release = asyncio.Event()
        self.finished = 0
        self._settlement = settlement
        if not hold:
            self.release.set()

    async def __call__(self, delivery: Delivery) -> Settlement:
        self.arrived.put_nowait(delivery)
        await self.release.wait()
        self.finished += 1
        return self._settlement

    async def next(self) -> Delivery:
        return await asyncio.wait_for(self.arrived.get(), PATIENCE)


async def _consuming(place: BusPlace, queue: str, handler, *, prefetch: int = 10) -> Bus:
    bus = await place.bus()
    await bus.consume(queue, handler, prefetch=prefetch)
    await until(lambda: asyncio.sleep(0, bus.connected))
    return bus


def _due(body: bytes = b"event", **more) -> Outgoing:
    return Outgoing(exchange=REFRESH_EXCHANGE, routing_key=DUE_KEY, body=body, **more)


async def test_a_published_message_reaches_the_consumer_of_its_queue(place: BusPlace):
    recorder = Recorder(Ack())
    bus = await _consuming(place, DUE_QUEUE, recorder)
    await bus.publish(_due(b"hello", headers={"attempt": 2, "word": "x"}, message_id="m1"))
    delivery = await recorder.next()
    assert delivery.body == b"hello"
    assert (delivery.headers["attempt"], delivery.headers["word"]) == (2, "x")
    assert delivery.routing_key == DUE_KEY
    assert (delivery.reply_to, delivery.correlation_id, delivery.user_id) == (None, None, None)
    assert delivery.expiration_seconds is None
    assert not delivery.redelivered


async def test_a_key_leads_to_its_own_queue_alone(place: BusPlace):
    bus = await place.bus()
    await bus.publish(Outgoing(exchange=REFRESH_EXCHANGE, routing_key=URGENT_KEY, body=b"now"))
    assert await place.depth(DUE_QUEUE) == 0
    assert (await place.taken(URGENT_QUEUE))[1] == b"now"


async def test_publishing_to_where_no_queue_is_bound_says_so(place: BusPlace):
    bus = await place.bus()
    with pytest.raises(Unroutable, match="dispenser init"):
        await bus.publish(Outgoing(exchange=REFRESH_EXCHANGE, routing_key="nowhere", body=b""))


async def test_publishing_to_an_exchange_that_is_not_there_says_so_and_harms_nothing(place: BusPlace):
    bus = await place.bus()
    with pytest.raises(Unroutable, match=r"vault\.nothing"):
        await bus.publish(Outgoing(exchange="vault.nothing", routing_key="x", body=b""))
    await bus.publish(_due(b"after"))
    assert (await place.taken(DUE_QUEUE))[1] == b"after"


async def test_an_event_that_nobody_subscribed_to_is_no_failure(place: BusPlace):
    bus = await place.bus()
    await bus.publish(Outgoing(exchange=EVENTS_EXCHANGE, routing_key="credential.refreshed", body=b"{}"))


async def test_a_full_queue_refuses_more(place: BusPlace):
    bus = await place.bus()
    request = Outgoing(exchange=RPC_EXCHANGE, routing_key=RPC_KEY, body=b"?")
    for _ in range(10):
        await asyncio.gather(*(bus.publish(request) for _ in range(500)))
    with pytest.raises(QueueFull, match="consumers"):
        await bus.publish(request)


async def test_a_message_whose_handler_raises_is_delivered_again(place: BusPlace):
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    async def fail_once(delivery: Delivery) -> Settlement:
        arrived.put_nowait(delivery)
        if not delivery.redelivered:
            raise RuntimeError
        return Ack()

    bus = await _consuming(place, DUE_QUEUE, fail_once)
    await bus.publish(_due(b"again"))
    first = await asyncio.wait_for(arrived.get(), PATIENCE)
    second = await asyncio.wait_for(arrived.get(), PATIENCE)
    assert (first.body, first.redelivered) == (b"again", False)
    assert (second.body, second.redelivered) == (b"again", True)


async def test_a_message_whose_handler_always_raises_becomes_a_dead_letter(place: BusPlace):
    deliveries = 0

    async def fail(_: Delivery) -> Settlement:
        nonlocal deliveries
        deliveries += 1
        raise RuntimeError

    bus = await _consuming(place, DUE_QUEUE, fail)
    await bus.publish(_due(b"poison"))
    assert (await place.taken(DEAD_QUEUE))[1] == b"poison"
    assert deliveries == DELIVERY_LIMIT + 1


async def test_a_handler_whose_own_call_is_cancelled_gets_its_message_again(place: BusPlace):
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    async def cancelled_once(delivery: Delivery) -> Settlement:
        arrived.put_nowait(delivery)
        if not delivery.redelivered:
            raise asyncio.CancelledError
        return Ack()

    bus = await _consuming(place, DUE_QUEUE, cancelled_once, prefetch=1)
    await bus.publish(_due())
    await asyncio.wait_for(arrived.get(), PATIENCE)
    assert (await asyncio.wait_for(arrived.get(), PATIENCE)).redelivered


async def test_what_nobody_can_handle_becomes_a_dead_letter_at_once(place: BusPlace):
    recorder = Recorder(DeadLetter())
    bus = await _consuming(place, DUE_QUEUE, recorder)
    await bus.publish(_due(b"nonsense"))
    assert (await place.taken(DEAD_QUEUE))[1] == b"nonsense"
    assert recorder.arrived.qsize() == 1


@pytest.mark.parametrize(("delay_seconds", "seconds"), [(1, 10), (10, 10), (11, 60), (9999, 300)])
async def test_what_is_to_be_tried_later_waits_in_the_retry_queue_above(
    place: BusPlace, delay_seconds, seconds
):
    bus = await _consuming(place, DUE_QUEUE, Recorder(RetryLater(delay_seconds)))
    await bus.publish(_due(b"later", headers={"word": "x"}))
    headers, body = await place.taken(RETRY_QUEUES[seconds])
    assert body == b"later"
    assert (headers[ATTEMPT_HEADER], headers["word"]) == (1, "x")
    assert await place.depth(DUE_QUEUE) == 0


async def test_each_retry_is_counted(place: BusPlace):
    bus = await _consuming(place, DUE_QUEUE, Recorder(RetryLater(1)))
    await bus.publish(_due(headers={ATTEMPT_HEADER: 3}))
    assert (await place.taken(RETRY_QUEUES[10]))[0][ATTEMPT_HEADER] == 4


async def test_what_waited_in_a_retry_queue_is_due_again(place: BusPlace):
    recorder = Recorder(Ack())
    bus = await _consuming(place, DUE_QUEUE, recorder)
    # Its own time is shorter than the queue's: the way back is the same.
    waiting = Outgoing(
        exchange="",
        routing_key=RETRY_QUEUES[300],
        body=b"back",
        headers={ATTEMPT_HEADER: 1},
        expiration_seconds=0.05,
    )
    await bus.publish(waiting)
    delivery = await recorder.next()
    assert (delivery.body, delivery.routing_key) == (b"back", DUE_KEY)
    assert delivery.headers[ATTEMPT_HEADER] == 1


async def test_no_more_than_the_prefetch_is_in_hand(place: BusPlace):
    recorder = Recorder(Ack(), hold=True)
    bus = await _consuming(place, DUE_QUEUE, recorder, prefetch=3)
    for number in range(7):
        await bus.publish(_due(bytes([number])))
    held = [(await recorder.next()).body for _ in range(3)]
    assert held == [b"\0", b"\1", b"\2"]
    assert await place.depth(DUE_QUEUE) == 4
    assert recorder.arrived.empty()
    recorder.release.set()
    rest = [(await recorder.next()).body for _ in range(4)]
    assert rest == [b"\3", b"\4", b"\5", b"\6"]


async def test_draining_waits_for_what_is_in_hand_and_takes_no_more(place: BusPlace):
    recorder = Recorder(Ack(), hold=True)
    bus = await _consuming(place, DUE_QUEUE, recorder, prefetch=1)
    await bus.publish(_due(b"in hand"))
    await recorder.next()
    draining = asyncio.create_task(bus.drain())
    await until(lambda: asyncio.sleep(0, not bus.connected))
    await bus.publish(_due(b"too late"))
    assert not draining.done()
    recorder.release.set()
    await asyncio.wait_for(draining, PATIENCE)
    assert recorder.finished == 1
    await bus.close()
    assert (await place.taken(DUE_QUEUE))[1] == b"too late"
    assert await place.depth(DUE_QUEUE) == 0


async def test_what_a_closed_bus_had_in_hand_goes_to_another(place: BusPlace):
    dying, heir = Recorder(Ack(), hold=True), Recorder(Ack())
    bus = await _consuming(place, DUE_QUEUE, dying)
    await bus.publish(_due(b"inherited"))
    await dying.next()
    await bus.close()
    await _consuming(place, DUE_QUEUE, heir)
    delivery = await heir.next()
    assert (delivery.body, delivery.redelivered) == (b"inherited", True)
    assert dying.finished == 0


async def test_a_request_brings_what_a_reply_needs(place: BusPlace):
    recorder = Recorder(Ack())
    await _consuming(place, RPC_QUEUE, recorder)
    await place.request(b"?", reply_to="vault.reply.guest.1", correlation_id="c1")
    delivery = await recorder.next()
    assert (delivery.reply_to, delivery.correlation_id) == ("vault.reply.guest.1", "c1")
    assert (delivery.user_id, delivery.expiration_seconds) == ("guest", 9)


async def test_a_reply_reaches_its_queue(place: BusPlace):
    bus = await place.bus()
    arrived = await place.replies("vault.reply.guest.1")
    await bus.reply("vault.reply.guest.1", "c1", b"!", 5)
    assert await asyncio.wait_for(arrived.get(), PATIENCE) == ("c1", b"!")


async def test_a_reply_to_nobody_is_dropped_in_silence(place: BusPlace):
    bus = await place.bus()
    await bus.reply("vault.reply.guest.gone", "c1", b"!", 5)
    arrived = await place.replies("vault.reply.guest.2")
    await bus.reply("vault.reply.guest.2", "c2", b"!", 5)
    assert await asyncio.wait_for(arrived.get(), PATIENCE) == ("c2", b"!")


async def test_a_request_nobody_takes_in_time_is_gone(place: BusPlace):
    bus = await place.bus()
    await bus.publish(
        Outgoing(exchange=RPC_EXCHANGE, routing_key=RPC_KEY, body=b"?", expiration_seconds=0.05)
    )

    async def empty() -> bool:
        return await place.depth(RPC_QUEUE) == 0

    await until(empty)


async def test_declaring_twice_changes_nothing(place: BusPlace):
    bus = await place.bus()
    await bus.publish(_due(b"kept"))
    await bus.declare()
    assert (await place.taken(DUE_QUEUE))[1] == b"kept"


async def test_a_bus_consumes_several_queues(place: BusPlace):
    due, urgent = Recorder(Ack()), Recorder(Ack())
    bus = await _consuming(place, DUE_QUEUE, due)
    await bus.consume(URGENT_QUEUE, urgent, prefetch=1)
    await bus.publish(_due(b"1"))
    await bus.publish(Outgoing(exchange=REFRESH_EXCHANGE, routing_key=URGENT_KEY, body=b"2"))
    assert ((await due.next()).body, (await urgent.next()).body) == (b"1", b"2")
