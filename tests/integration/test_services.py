"""The servers that the tests rely on: real, each test's place its own, back at their address after a fall."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aio_pika
import httpx
import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError
from services import keeper, postgresql, rabbitmq, redis
from services.server import Server, free_port

from shared.topology import RPC_QUEUE


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
        queue = await channel.declare_queue(RPC_QUEUE, durable=True)
        assert queue.declaration_result.message_count == 0
        await channel.default_exchange.publish(aio_pika.Message(b"left over"), routing_key=RPC_QUEUE)


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


def test_the_keeper_ends_what_the_tests_left_however_they_ended(tmp_path: Path):
    folder = tmp_path / "session"
    server = redis.private(folder / "redis")
    server.start()
    with subprocess.Popen([sys.executable, keeper.__file__, folder], stdin=subprocess.PIPE):
        pass  # its standard input closes, as when the process that holds it dies
    assert not redis.answers(server.address)
    assert not folder.exists()
    server.close()


def test_in_ci_a_missing_server_ends_the_session_at_once(tmp_path: Path):
    done = _pytest_without_servers(tmp_path, CI="true")
    assert done.returncode == 1
    assert "redis is missing: set DISPENSER_TEST_REDIS_URL" in done.stdout + done.stderr


def test_elsewhere_what_needs_a_missing_server_is_skipped_and_the_header_says_so(tmp_path: Path):
    done = _pytest_without_servers(tmp_path, CI="")
    assert done.returncode == 0
    assert "redis: NONE, TESTS THAT NEED IT ARE SKIPPED" in done.stdout
    assert "1 skipped" in done.stdout


def _pytest_without_servers(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one test that needs Redis where nothing is installed nor may be."""
    tests = Path(__file__).parents[1]
    (folder / "conftest.py").write_text(
        "from services import debian, pool, redis\n"
        "debian.can_install = lambda: False\n"
        "pool.engine_answers = lambda: False\n"
        "redis.binary = lambda: None\n"
        f"exec(open({str(tests / 'conftest.py')!r}).read())\n"
    )
    (folder / "test_it.py").write_text("def test_it(redis_database): ...\n")
    inherited = {
        name: os.environ[name] for name in os.environ if not name.startswith(("DISPENSER_", "PYTEST_"))
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder, folder]
    return subprocess.run(
        command,
        cwd=folder,
        env={**inherited, "PYTHONPATH": f"{tests}:{tests.parent}", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
