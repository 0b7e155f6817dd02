"""What each of the vault's processes may not do, under the accounts of `deploy/`.

That each may do all it has to is what every acceptance test shows: its processes run under these accounts.
"""

import asyncio
import os
import re
import subprocess
from urllib.parse import urlsplit

import aio_pika
import psycopg
import pytest
from aio_pika.exceptions import ProbableAuthenticationError
from aiormq.exceptions import ChannelAccessRefused
from psycopg import sql
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError
from services import accounts
from services.accounts import DEPLOY, PASSWORDS, ROLES, as_role
from services.pool import Pool

from shared import topology
from shared.adapters.amqp_bus import AmqpBus
from shared.adapters.sql.migration import RIGHTS
from shared.adapters.sql.store import migrate
from shared.adapters.sql.tables import metadata
from shared.messages import EventType
from shared.topology import (
    DEAD_QUEUE,
    DUE_KEY,
    DUE_QUEUE,
    EVENTS_EXCHANGE,
    REFRESH_EXCHANGE,
    RPC_EXCHANGE,
    RPC_KEY,
    RPC_QUEUE,
    URGENT_QUEUE,
)

PATIENCE_SECONDS = 60.0
PROCESSES = tuple(role for role in ROLES if role != "operator")
QUEUES = (RPC_QUEUE, DUE_QUEUE, URGENT_QUEUE, DEAD_QUEUE, *topology.RETRY_QUEUES.values())
CONSUMES = {"serve": {RPC_QUEUE}, "refresher": {DUE_QUEUE, URGENT_QUEUE}, "janitor": {DEAD_QUEUE}}
EVENTS = {(EVENTS_EXCHANGE, event.value) for event in EventType}
#: Exchange and key of what a process may publish, of all that is ever published.
MESSAGES = {
    (RPC_EXCHANGE, RPC_KEY),
    (REFRESH_EXCHANGE, DUE_KEY),
    ("", RPC_QUEUE),
    *EVENTS,
}
PUBLISHES = {
    "serve": {(REFRESH_EXCHANGE, DUE_KEY), ("", RPC_QUEUE)},
    "gateway": {(REFRESH_EXCHANGE, DUE_KEY)},
    "refresher": {event for event in EVENTS if event[1].startswith(("credential.", "provider."))}
    | {("", RPC_QUEUE)},
    "scheduler": {(REFRESH_EXCHANGE, DUE_KEY)},
    "janitor": EVENTS,
}
KEYS = ("tok:s:o", "epoch:agent:a", "provider:p", "alive:r", "proof:d", "other")
READS = {
    "serve": {"tok:s:o", "epoch:agent:a", "provider:p"},
    "gateway": {"tok:s:o", "epoch:agent:a", "provider:p", "proof:d"},
    "refresher": {"tok:s:o", "provider:p", "alive:r"},
    "scheduler": set(),
    "janitor": {"tok:s:o", "epoch:agent:a", "alive:r"},
}
WRITES = {
    "serve": {"tok:s:o"},
    "gateway": {"tok:s:o", "epoch:agent:a", "proof:d"},  # where admins revoke
    "refresher": {"tok:s:o", "provider:p", "alive:r"},
    "scheduler": set(),
    "janitor": {"tok:s:o", "epoch:agent:a"},
}
COMMANDS = (
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "CONFIG GET *",
    "ACL LIST",
    "MONITOR",
    "SAVE",
    "SHUTDOWN NOSAVE",
    "REPLICAOF NO ONE",
    "CLIENT LIST",
    "SUBSCRIBE all",
    "DEL tok:s:o",
)
TABLES = tuple(metadata.tables)
INSERTS = {
    "serve": {"transport_keys"},
    "gateway": {"enrolments", "consents", "transport_keys", "revocations", "handbacks", "outbox"},
    "refresher": {"grants", "intents", "handbacks", "outbox", "audit_log", "audit_tiles"},
    "scheduler": set(),
    "janitor": {"outbox", "audit_log", "audit_tiles", "audit_checkpoints"},
}
UPDATES = {
    "serve": set(),
    "gateway": {"catalogue", "agents", "revocations", "grants"},  # of what a revocation changes
    "refresher": {"grants", "intents", "enrolments", "handbacks", "audit_tiles", "audit_tree"},
    "scheduler": {"grants"},  # of one column
    "janitor": {"grants", "intents", "audit_tiles", "audit_tree"},
}
CHANGED_ALONE = ("announced_until", "revoked_at", "version")
DELETES = {
    "serve": set(),
    "gateway": {"consents"},
    "refresher": {"outbox", "handbacks"},
    "scheduler": set(),
    "janitor": {
        "intents",
        "outbox",
        "revocations",
        "enrolments",
        "consents",
        "transport_keys",
        "audit_log",
        "audit_checkpoints",
    },
}


@pytest.fixture
async def broker(server_pool: Pool, vhost: str) -> str:
    accounts.admit_to_rabbitmq(server_pool.shared("rabbitmq"), vhost)
    bus = AmqpBus(as_role(vhost, "operator"), name="operator")
    await bus.start()
    await bus.declare()
    await bus.close()
    return vhost


@pytest.fixture
def cache(redis_database: str) -> str:
    accounts.admit_to_redis(redis_database)
    return redis_database


@pytest.fixture
def database(database_url: str) -> str:
    accounts.admit_to_postgresql(database_url)
    migrate(as_role(database_url, "operator"))
    return database_url


@pytest.mark.parametrize("role", PROCESSES)
async def test_a_process_consumes_from_its_own_queues_alone(broker: str, role: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), await aio_pika.connect(as_role(broker, role)) as connection:
        taken = set()
        for name in QUEUES:
            channel = await connection.channel()
            queue = await channel.get_queue(name)
            try:
                await queue.consume(_ignore)
            except ChannelAccessRefused:
                continue
            taken.add(name)
    assert taken == CONSUMES.get(role, set())


@pytest.mark.parametrize("role", PROCESSES)
async def test_a_process_publishes_its_own_messages_alone(broker: str, role: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), await aio_pika.connect(as_role(broker, role)) as connection:
        published = set()
        for name, key in MESSAGES:
            channel = await connection.channel()
            exchange = await channel.get_exchange(name, ensure=False) if name else channel.default_exchange
            try:
                await exchange.publish(aio_pika.Message(b""), key, mandatory=False)
            except ChannelAccessRefused:
                continue
            published.add((name, key))
    assert published == PUBLISHES[role]


@pytest.mark.parametrize("role", PROCESSES)
async def test_a_process_declares_and_removes_nothing(broker: str, role: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), await aio_pika.connect(as_role(broker, role)) as connection:
        for attempt in (_declare, _delete):
            with pytest.raises(ChannelAccessRefused):
                await attempt(await connection.channel())


async def _declare(channel: aio_pika.abc.AbstractChannel) -> None:
    await channel.declare_queue("vault.reply.tracker.0", exclusive=True)


async def _delete(channel: aio_pika.abc.AbstractChannel) -> None:
    await channel.queue_delete(RPC_QUEUE)


async def _ignore(message: aio_pika.abc.AbstractIncomingMessage) -> None:
    await message.reject(requeue=True)


async def test_a_wrong_password_opens_nothing(broker: str, cache: str) -> None:
    with pytest.raises(ProbableAuthenticationError):
        await aio_pika.connect(as_role(broker, "serve").replace("serve-of", "guessed-of"))
    with (
        Redis.from_url(as_role(cache, "serve").replace("serve-of", "guessed-of")) as redis,
        pytest.raises(AuthenticationError),
    ):
        redis.ping()


@pytest.mark.parametrize("role", PROCESSES)
def test_a_process_reads_and_writes_its_own_keys_alone(cache: str, role: str) -> None:
    with Redis.from_url(as_role(cache, role)) as redis:
        assert {key for key in KEYS if _allowed(redis, "MGET", key)} == READS[role]
        assert {key for key in KEYS if _allowed(redis, "SET", key, "value")} == WRITES[role]


@pytest.mark.parametrize("role", ROLES)
def test_no_process_commands_the_cache(cache: str, role: str) -> None:
    with Redis.from_url(as_role(cache, role)) as redis:
        assert [command for command in COMMANDS if _allowed(redis, *command.split())] == []


def _allowed(redis: Redis, *command: str) -> bool:
    try:
        redis.execute_command(*command)
    except NoPermissionError:
        return False
    return True


@pytest.mark.parametrize("role", PROCESSES)
@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("INSERT INTO {table} SELECT * FROM {table} WHERE false", INSERTS),
        ("UPDATE {table} SET {column} = NULL WHERE false", UPDATES),
        ("DELETE FROM {table} WHERE false", DELETES),
        ("TRUNCATE {table}", {}),
        ("DROP TABLE {table}", {}),
        ("ALTER TABLE {table} ADD COLUMN extra int", {}),
    ],
)
def test_a_process_changes_its_own_tables_alone(
    database: str, role: str, statement: str, allowed: dict[str, set[str]]
) -> None:
    with psycopg.connect(database) as administrator:
        administrator.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(f"vault_{role}")))
        changed = {table for table in TABLES if _done(administrator, _filled(statement, table))}
    assert changed == allowed.get(role, set())


def _filled(statement: str, table: str) -> str:
    # A column that a role may change though not the others, and any where a table has no such.
    columns = [column.name for column in metadata.tables[table].columns]
    column = next((name for name in CHANGED_ALONE if name in columns), columns[0])
    if statement.startswith("INSERT"):
        return f"INSERT INTO {table} DEFAULT VALUES ON CONFLICT DO NOTHING"
    return statement.format(table=table, column=column)


def _done(connection: psycopg.Connection, statement: str) -> bool:
    """Whether the role has the right; what else the table says to such a row does not matter."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    except psycopg.errors.IntegrityError:
        return True
    return True


def test_admin_tokens_are_read_by_the_gateway_alone(database: str) -> None:
    readers = set()
    with psycopg.connect(database) as administrator:
        for role in PROCESSES:
            administrator.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(f"vault_{role}")))
            if _done(administrator, "SELECT FROM admins"):
                readers.add(role)
    assert readers == {"gateway"}


def test_a_scheduler_cannot_end_a_lease_or_change_a_credential(database: str) -> None:
    with psycopg.connect(database) as administrator:
        administrator.execute("SET ROLE vault_scheduler")
        for column in ("lease_until", "sealed_credential", "generation", "state"):
            assert not _done(administrator, f"UPDATE grants SET {column} = NULL WHERE false"), column


@pytest.mark.parametrize("role", ROLES)
def test_a_role_makes_no_roles_and_no_databases(database: str, role: str) -> None:
    with psycopg.connect(as_role(database, role), autocommit=True) as connection:
        for statement in (
            "CREATE ROLE intruder",
            "CREATE DATABASE intruder",
            "COPY admins FROM PROGRAM 'id'",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_every_table_has_its_rights() -> None:
    """A table that no role is granted anything on is one whose rights were forgotten. `admins` is written by
    `dispenser init` alone."""
    granted = set(re.findall(r"\w+", RIGHTS.read_text()))
    assert set(TABLES) <= granted


def test_rights_are_taken_back_where_a_newer_version_has_none(database: str) -> None:
    with psycopg.connect(database) as administrator:
        administrator.execute("GRANT ALL ON admins TO vault_scheduler")
    migrate(as_role(database, "operator"))
    with psycopg.connect(database) as administrator:
        administrator.execute("SET ROLE vault_scheduler")
        assert not _done(administrator, "SELECT FROM admins")


@pytest.mark.parametrize("password", ["", "with'quote", 'with"quote', "with space", "with\\backslash", "a&b"])
def test_a_password_that_a_file_would_not_take_as_it_is_is_refused_by_name(password: str) -> None:
    environment = PASSWORDS | {"REDIS_SERVE_PASSWORD": password, "PATH": os.environ["PATH"]}
    command = ["sh", str(DEPLOY / "fill"), str(DEPLOY / "redis/users.acl")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert "REDIS_SERVE_PASSWORD" in ended.stderr
    assert not password or password not in ended.stderr


def test_roles_have_passwords_of_their_own_on_each_server() -> None:
    assert len({urlsplit(as_role("redis://host", role)).password for role in ROLES}) == len(ROLES)
