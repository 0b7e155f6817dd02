"""The bus on a RabbitMQ that goes away, comes back, refuses, and is lied to."""

import asyncio
import logging
import struct
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
import pamqp.encode
import pytest
from integration.line import Line
from services import rabbitmq
from services.server import Server
from structlog.testing import capture_logs

from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.amqp_connection import AmqpConnection
from shared.adapters.amqp_direct_channel import DirectChannel
from shared.errors import BusUnavailable, ConfigurationError, QueueFull, Unroutable
from shared.ports import Ack, Delivery, Outgoing, Settlement
from shared.topology import DUE_KEY, DUE_QUEUE, REFRESH_EXCHANGE, RPC_EXCHANGE, RPC_KEY, RPC_QUEUE

PATIENCE = 60.0
CANARY = "tok-CANARY-9f2c"
WAITING = "Waiting for the broker"


class Inbox:
    """A handler that keeps what it gets."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    async def __call__(self, delivery: Delivery) -> Settlement:
        self._arrived.put_nowait(delivery)
        return Ack()

    async def next(self) -> Delivery:
        return await asyncio.wait_for(self._arrived.get(), PATIENCE)


@pytest.fixture
async def line(vhost):
    line = Line(vhost, default_port=5672)
    await line.lay()
    yield line
    await line.cut()


@pytest.fixture
async def buses():
    opened: list[AmqpBus] = []

    def make(url: str, **options) -> AmqpBus:
        bus = AmqpBus(url, name="test", **options)
        opened.append(bus)
        return bus

    yield make
    for bus in opened:
        await bus.close()


async def _started(bus: AmqpBus) -> AmqpBus:
    await asyncio.wait_for(bus.start(), PATIENCE)
    await bus.declare()
    return bus


async def _until(holds) -> None:
    """Wait for what another process will do, which nothing here can announce."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


def _due(body: bytes = b"event") -> Outgoing:
    return Outgoing(exchange=REFRESH_EXCHANGE, routing_key=DUE_KEY, body=body)


async def _publish_at_last(bus: AmqpBus, message: Outgoing) -> None:
    """As a caller does for whom at least once is enough."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(BusUnavailable):
                return await bus.publish(message)


async def _publish_on_and_on(bus: AmqpBus, message: Outgoing) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            await bus.publish(message)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_after_a_restart_of_the_broker_all_goes_on(broker: Server, buses, end):
    bus, inbox = buses(rabbitmq.create_vhost(broker.address)), Inbox()
    await _started(bus)
    await bus.consume(DUE_QUEUE, inbox, prefetch=5)
    await bus.publish(_due(b"before"))
    assert (await inbox.next()).body == b"before"
    await asyncio.to_thread(getattr(broker, end))
    await _until(lambda: not bus.connected)
    await asyncio.to_thread(broker.start)
    await _publish_at_last(bus, _due(b"after"))
    assert (await inbox.next()).body == b"after"
    await _until(lambda: bus.connected)


async def test_an_outage_is_told_once_and_its_end_too(line: Line, buses):
    bus = await _started(buses(line.url))
    with capture_logs() as logs:
        await line.cut()
        await _until(lambda: not bus.connected)
        # Several attempts fail meanwhile: the waits start at a tenth of a second.
        with pytest.raises(BusUnavailable):
            await buses(line.url, patience_seconds=0.6).publish(_due())
        await line.lay()
        await _until(lambda: bus.connected)
    assert [entry["event"] for entry in logs] == [WAITING, "The broker is back"]


async def test_a_bus_waits_for_a_broker_that_is_not_there_yet(line: Line, buses):
    await line.cut()
    bus = buses(line.url)
    starting = asyncio.create_task(bus.start())
    with capture_logs() as logs:
        await _until(lambda: WAITING in [entry["event"] for entry in logs])
        assert not starting.done()
        await line.lay()
        await asyncio.wait_for(starting, PATIENCE)
    assert bus.connected


async def test_a_publish_waits_for_the_connection_to_come_back(line: Line, buses):
    bus = await _started(buses(line.url))
    await line.cut()
    await _until(lambda: not bus.connected)
    publishing = asyncio.create_task(bus.publish(_due()))
    await line.lay()
    await publishing


async def test_a_publish_waits_in_vain_for_so_long_and_no_longer(line: Line, buses):
    bus = await _started(buses(line.url, patience_seconds=0.2))
    await line.cut()
    await _until(lambda: not bus.connected)
    with pytest.raises(BusUnavailable, match="DISPENSER_BROKER_URL"):
        await bus.publish(_due())


async def test_a_publish_over_a_line_that_went_silent_waits_for_so_long_and_no_longer(line: Line, buses):
    bus = await _started(buses(line.url, patience_seconds=0.5))
    line.answers.clear()
    with pytest.raises(BusUnavailable, match="not confirmed"):
        await bus.publish(_due())
    line.answers.set()
    await _publish_at_last(bus, _due())


async def test_a_broker_that_is_out_of_memory_takes_nothing_until_it_has_room(
    private_broker: Callable[..., Server], buses
):
    broker = private_broker()
    inbox, bus = Inbox(), await _started(buses(broker.url, patience_seconds=0.5))
    await bus.consume(DUE_QUEUE, inbox, prefetch=5)
    broker.control("set_vm_memory_high_watermark", "0")
    with pytest.raises(BusUnavailable, match="not confirmed"):
        await _publish_on_and_on(bus, _due(b"before"))  # the alarm is heard a moment after it is given
    broker.control("set_vm_memory_high_watermark", "0.6")
    await _publish_at_last(bus, _due(b"after"))
    while (await inbox.next()).body != b"after":
        pass


async def test_publishes_share_the_line_and_a_cut_fails_those_without_a_confirm(line: Line, vhost, buses):
    bus = await _started(buses(line.url))
    await bus.publish(_due())
    line.answers.clear()
    publishing = [asyncio.create_task(bus.publish(_due())) for _ in range(50)]
    async with await aio_pika.connect(vhost) as beside:
        channel = await beside.channel()
        depth = 0
        while depth < 51:
            queue = await channel.declare_queue(DUE_QUEUE, passive=True)
            depth = queue.declaration_result.message_count
    assert not any(one.done() for one in publishing)
    await line.cut()
    line.answers.set()
    outcomes = await asyncio.gather(*publishing, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {BusUnavailable}


async def test_a_message_in_hand_when_the_line_is_cut_comes_again(line: Line, buses):
    held, inbox = asyncio.Event(), Inbox()

    async def hold_the_first(delivery: Delivery) -> Settlement:
        await inbox(delivery)
        if not delivery.redelivered:
            await held.wait()
        return Ack()

    bus = await _started(buses(line.url))
    await bus.consume(DUE_QUEUE, hold_the_first, prefetch=1)
    await bus.publish(_due(b"twice"))
    assert not (await inbox.next()).redelivered
    await line.cut()
    await _until(lambda: not bus.connected)
    await line.lay()
    assert (await inbox.next()).redelivered
    held.set()
    await bus.drain()


async def test_draining_ends_though_the_broker_has_gone(line: Line, buses):
    held, inbox = asyncio.Event(), Inbox()

    async def hold(delivery: Delivery) -> Settlement:
        await inbox(delivery)
        await held.wait()
        return Ack()

    bus = await _started(buses(line.url))
    await bus.consume(DUE_QUEUE, hold, prefetch=1)
    await bus.publish(_due())
    await inbox.next()
    await line.cut()
    held.set()
    await asyncio.wait_for(bus.drain(), PATIENCE)


async def test_a_queue_that_was_deleted_is_consumed_again_once_it_is_back(vhost, buses):
    bus, inbox = await _started(buses(vhost)), Inbox()
    await bus.consume(DUE_QUEUE, inbox, prefetch=1)
    await _until(lambda: bus.connected)
    with capture_logs() as logs:
        async with await aio_pika.connect(vhost) as beside:
            await (await beside.channel()).queue_delete(DUE_QUEUE)
        await _until(lambda: not bus.connected)
        await _until(lambda: any("dispenser init" in entry["event"] for entry in logs))
    await bus.declare()
    await bus.publish(_due(b"back"))
    assert (await inbox.next()).body == b"back"
    assert bus.connected


async def test_a_missing_queue_leaves_publishing_alone(vhost, buses):
    bus = await _started(buses(vhost))
    await bus.consume("vault.missing", Inbox(), prefetch=1)
    await bus.publish(_due())
    assert not bus.connected


async def test_a_wrong_password_is_told_and_never_shown(vhost, buses, caplog):
    caplog.set_level(logging.DEBUG)
    parts = urlsplit(vhost)
    host = parts.netloc.rpartition("@")[2]
    url = urlunsplit(parts._replace(netloc=f"guest:{quote(CANARY)}@{host}"))
    with capture_logs() as logs:
        starting = asyncio.create_task(buses(url).start())
        await _until(lambda: logs)
        starting.cancel()
    assert logs[0]["event"] == WAITING
    assert "password" in logs[0]["reason"]
    assert CANARY not in f"{logs} {caplog.text}"


async def test_a_missing_vhost_is_told(vhost, buses):
    with capture_logs() as logs:
        starting = asyncio.create_task(buses(f"{vhost}-missing").start())
        await _until(lambda: logs)
        starting.cancel()
    assert "virtual host" in logs[0]["reason"]
    assert logs[0]["vhost"].endswith("-missing")


async def test_user_info_may_be_percent_encoded(vhost, buses):
    url = vhost.replace("guest:guest@", "%67uest:gu%65st@")
    assert url != vhost
    await _started(buses(url))


async def test_what_is_said_on_a_channel_while_it_closes_costs_nobody_the_connection(vhost):
    connection = AmqpConnection(vhost, name="test")
    try:
        await asyncio.wait_for(connection.start(), PATIENCE)
        channel = await connection.direct_channel()
        closing = asyncio.create_task(_closed(channel))
        while not channel.driver.is_closed:
            await channel.publish("nobody", b"late", correlation_id="1", expiration_seconds=1.0)
            await asyncio.sleep(0)
        await closing
        again = await connection.direct_channel()
        await again.driver.queue_declare(exclusive=True)
        assert not again.is_closed
    finally:
        await connection.close()


async def _closed(channel: DirectChannel) -> None:
    async with channel.closing():
        pass


@pytest.mark.parametrize("url", [f"amqp://user:{CANARY}@host:port/", f"amqp://user:{CANARY}@[host/"])
def test_a_bad_url_is_refused_without_being_shown(url):
    with pytest.raises(ConfigurationError) as refused:
        AmqpBus(url, name="test")
    assert CANARY not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_declaring_names_every_queue_that_differs(vhost, buses):
    async with await aio_pika.connect(vhost) as beside:
        channel = await beside.channel()
        await channel.declare_queue(RPC_QUEUE, durable=True)
        await channel.declare_exchange(REFRESH_EXCHANGE, "topic", durable=True)
    bus = buses(vhost)
    await bus.start()
    with pytest.raises(ConfigurationError) as refused:
        await bus.declare()
    assert [mistake.split(":")[0] for mistake in refused.value.mistakes] == [REFRESH_EXCHANGE, RPC_QUEUE]
    assert "dispenser init" in str(refused.value)


async def test_no_body_reaches_a_log(vhost, buses, caplog):
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="aiormq")  # a process of ours would have quieted it
    body = CANARY.encode()

    async def reply_and_fail(delivery: Delivery) -> Settlement:
        arrived.set()
        await bus.reply("vault.reply.nobody", "c1", body, 5)
        raise ValueError(delivery.body)

    arrived = asyncio.Event()
    with capture_logs() as logs:
        bus = await _started(buses(vhost))
        await bus.consume(DUE_QUEUE, reply_and_fail, prefetch=1)
        await bus.publish(_due(body))
        with pytest.raises(Unroutable):
            await bus.publish(Outgoing(exchange=RPC_EXCHANGE, routing_key="nowhere", body=body))
        await asyncio.wait_for(arrived.wait(), PATIENCE)
        # What the driver says of a returned message that it has forgotten.
        logging.getLogger("aiormq.channel").error("Unhandled message %r returning", body)
        await _until(lambda: any(entry["event"] == "A handler failed" for entry in logs))
    assert "Prepare to send" in caplog.text
    assert CANARY not in f"{logs} {caplog.text}"
    assert repr(body)[2:-1] not in caplog.text


@pytest.mark.parametrize("place", ["property", "header"])
async def test_properties_that_cannot_be_decoded_cut_nobodys_connection(vhost, buses, monkeypatch, place):
    bus, inbox = await _started(buses(vhost)), Inbox()
    await bus.consume(RPC_QUEUE, inbox, prefetch=1)
    now = datetime.now(UTC)
    hostile = aio_pika.Message(
        b"hostile", timestamp=now if place == "property" else None, headers={"at": now}
    )
    async with await aio_pika.connect(vhost) as agent:
        exchange = await (await agent.channel()).get_exchange(RPC_EXCHANGE)
        with monkeypatch.context() as patched:
            the_last_moment = struct.pack(">Q", 2**64 - 1)
            patched.setattr(pamqp.encode, "timestamp", lambda _: the_last_moment)
            patched.setitem(pamqp.encode.METHODS, "timestamp", lambda _: the_last_moment)
            await exchange.publish(hostile, RPC_KEY)
        await exchange.publish(aio_pika.Message(b"honest"), RPC_KEY)
    delivery = await inbox.next()
    assert (delivery.body, delivery.headers, delivery.reply_to) == (b"hostile", {}, None)
    assert not delivery.redelivered
    assert (await inbox.next()).body == b"honest"


async def test_a_full_queue_fails_no_other_publish(vhost, buses):
    bus = await _started(buses(vhost))
    # As agents' are, past the disk: on a slow one the first would have ended before the queue is full.
    request = Outgoing(exchange=RPC_EXCHANGE, routing_key=RPC_KEY, body=b"?", expiration_seconds=60.0)
    outcomes = await asyncio.gather(*(bus.publish(request) for _ in range(5003)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome] == [QueueFull] * 3
    await bus.publish(_due())
