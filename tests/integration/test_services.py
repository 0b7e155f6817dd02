"""The servers that the tests rely on: real, each test's place its own, back at their address after a fall."""

from collections.abc import Callable

import aio_pika
import httpx
import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError
from services import postgresql, rabbitmq, redis
from services.server import Server, free_port


async def test_a_broker_delivers_what_is_published(vhost):
    async with await aio_pika.connect(vhost) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("letters")
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), routing_key="letters")
        message = await queue.get(timeout=10)
        await message.ack()
    assert message.body == b"hello"


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_finds_its_vhost_empty(vhost, turn):
    async with await aio_pika.connect(vhost) as connection:
        channel = await connection.channel()
        await channel.default_exchange.publish(aio_pika.Message(b"left over"), routing_key="same-name")
        queue = await channel.declare_queue("same-name", durable=True)
        await channel.default_exchange.publish(aio_pika.Message(b"left over"), routing_key="same-name")
        assert queue.declaration_result.message_count == 0


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_finds_its_redis_database_empty(redis_database, turn):
    with Redis.from_url(redis_database) as client:
        assert client.dbsize() == 0
        client.set("left", "over")


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_finds_its_database_empty(database_url, turn):
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE left_over (id int)")


def test_a_killed_broker_comes_back_at_its_address(broker: Server):
    url = broker.url
    broker.kill()
    assert not rabbitmq.answers(broker.address)
    broker.start()
    assert rabbitmq.answers(broker.address)
    assert url == broker.url


async def test_a_durable_message_outlives_a_kill(broker: Server):
    url = rabbitmq.create_vhost(broker.address)
    message = aio_pika.Message(b"kept", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        arguments = {"x-queue-type": "quorum"}
        await channel.declare_queue("kept", durable=True, arguments=arguments)
        await channel.default_exchange.publish(message, routing_key="kept")
    broker.kill()
    broker.start()
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue("kept")
        kept = await queue.get(timeout=30)
        await kept.ack()
    assert kept.body == b"kept"


def test_a_killed_redis_comes_back_empty(redis_server: Server):
    with Redis.from_url(redis_server.url) as client:
        client.set("cached", "once")
        redis_server.kill()
        with pytest.raises(RedisError):
            client.ping()
        redis_server.start()
        assert client.get("cached") is None


def test_a_killed_postgresql_keeps_what_was_committed(postgresql_server: Server):
    with psycopg.connect(postgresql_server.url) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    postgresql_server.kill()
    assert not postgresql.answers(postgresql_server.address)
    postgresql_server.start()
    with psycopg.connect(postgresql_server.url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        connection.execute("DROP TABLE kept")


def test_a_stopped_server_starts_again(redis_server: Server):
    redis_server.stop()
    assert not redis.answers(redis_server.address)
    redis_server.start()
    assert redis.answers(redis_server.address)


def test_a_private_broker_has_the_plugins_and_settings_it_was_asked_for(
    private_broker: Callable[..., Server],
):
    port = free_port()
    private_broker(plugins=["rabbitmq_prometheus"], conf=f"prometheus.tcp.port = {port}")
    assert "rabbitmq_build_info" in httpx.get(f"http://127.0.0.1:{port}/metrics").text
