"""A vault on servers to which every connection of its own is TLS, for which a private authority vouches.

RabbitMQ runs with what `dispenser init` wrote for it, so an agent's vault token is its password there; each
process has its own role's accounts. The servers write down all that they can.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from acceptance.installation import COMMAND, Installation, admit
from redis import Redis
from services import postgresql
from services.accounts import as_role
from services.authority import Authority, Certificate
from services.server import Server

from dispenser.broker_configuration import CONFIGURATION_FILE, FOLDER


@dataclass
class Secured:
    """The vault, not yet set up, and its servers."""

    vault: Installation
    broker: Server
    cache: Server
    database: Server

    def url(self, user: str = "", password: str = "") -> str:
        """RabbitMQ's address, without a user unless there is one."""
        host = self.broker.tls_url.rpartition("@")[2].rstrip("/")
        return f"amqps://{user}:{password}@{host}" if user else f"amqps://{host}"

    def without_tls(self, role: str) -> dict[str, str]:
        """For a process that is to show what it says to RabbitMQ and Redis; PostgreSQL insists on TLS."""
        return {
            "DISPENSER_BROKER_URL": as_role(self.broker.url, role),
            "DISPENSER_CACHE_URL": as_role(self.cache.url, role),
        }


@contextmanager
def secured_vault(start_server: Callable[..., Server], home: Path) -> Iterator[Secured]:
    """Agents in this process find the authority where they look for it, too."""
    authority = Authority()
    ca_file = home / "ca.pem"
    ca_file.write_text(authority.pem)
    tls = authority.vouch_for("localhost")
    broker = _broker_with_keys(start_server, home, tls)
    cache, server = start_server("redis", tls=tls), start_server("postgresql", tls=tls)
    database = postgresql.create_database(server.address)
    admit(broker.address, broker=broker.url, cache=cache.url, database=database)
    _have_all_written_down(cache, database)
    vault = Installation(
        home,
        broker=broker.tls_url,
        cache=cache.tls_url,
        database=database.replace("127.0.0.1", "localhost"),
    )
    vault.environment["DISPENSER_CA_FILE"] = str(ca_file)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("VAULT_CA_FILE", str(ca_file))
        yield Secured(vault, broker, cache, server)
    vault.close()


def _broker_with_keys(start_server: Callable[..., Server], home: Path, tls: Certificate) -> Server:
    """RabbitMQ needs the vault's keys before the vault needs RabbitMQ."""
    ended = subprocess.run(
        [*COMMAND, "init", "--files"],
        env=os.environ | {"DISPENSER_HOME": str(home / "vault")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert CONFIGURATION_FILE in ended.stderr
    conf, files = broker_files(home)
    plugins = ["rabbitmq_auth_backend_oauth2"]
    return start_server("rabbitmq", plugins=plugins, conf=conf, files=files, tls=tls)


def broker_files(home: Path) -> tuple[str, dict[str, str]]:
    """RabbitMQ's configuration, and the files that an operator puts where it says."""
    written = {path.name: path.read_text() for path in (home / "vault/rabbitmq").iterdir()}
    conf = written.pop(CONFIGURATION_FILE) + "log.console.level = debug\n"
    return conf, {f"{FOLDER}/{name}": text for name, text in written.items()}


def _have_all_written_down(cache: Server, database: str) -> None:
    """Each statement with its parameters, and whatever else these servers tell at debug level."""
    with Redis.from_url(cache.url) as client:
        client.config_set("loglevel", "debug")
    with psycopg.connect(database, autocommit=True) as connection:
        for setting in ("log_statement = 'all'", "log_min_messages = 'debug2'", "log_connections = on"):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("SELECT pg_reload_conf()")
