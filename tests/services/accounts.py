"""The accounts of the vault's processes, as `deploy/` has them, on the servers of the tests."""

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg
from redis import Redis

from services import rabbitmq
from services.server import Address

DEPLOY = Path(__file__).parents[2] / "deploy"
_SERVERS = {
    "amqp": "RABBITMQ",
    "amqps": "RABBITMQ",
    "redis": "REDIS",
    "rediss": "REDIS",
    "postgresql": "POSTGRES",
}
ROLES = ("operator", "serve", "gateway", "refresher", "scheduler", "janitor")
#: The names of the files' placeholders, with a password of its own for each role on each server.
PASSWORDS = {
    f"{server}_{role.upper()}_PASSWORD": f"{role}-of-{server.lower()}"
    for server in set(_SERVERS.values())
    for role in ROLES
}


def filled(file: str) -> str:
    """A file of `deploy/` with its passwords, filled in as compose.yaml has it filled in."""
    environment = PASSWORDS | {"PATH": os.environ["PATH"]}
    command = ["sh", str(DEPLOY / "fill"), str(DEPLOY / file)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def as_role(url: str, role: str) -> str:
    """A server's URL, with the login of one of the vault's processes there. A file's is everybody's."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return url
    password = PASSWORDS[f"{_SERVERS[parts.scheme]}_{role.upper()}_PASSWORD"]
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"vault_{role}:{password}@{host}"))


def admit_to_rabbitmq(address: Address, vhost_url: str) -> None:
    """Let the vault's processes into a virtual host. Harmless when repeated."""
    vhost = unquote(urlsplit(vhost_url).path[1:]) or "/"
    rabbitmq.import_definitions(address, json.loads(filled("rabbitmq/definitions.json")), vhost)


def admit_to_redis(url: str) -> None:
    """Let them into a Redis, where everybody else stays too. Harmless when repeated."""
    with Redis.from_url(url) as client:
        for user, *rules in _redis_users():
            client.execute_command("ACL", "SETUSER", user, "reset", *rules)


def admit_to_postgresql(url: str) -> None:
    """Let them into a database; what they may do there comes with its tables. Harmless when repeated."""
    # Roles are the whole server's, and a lock is its database's: all meet in the one that is always there.
    meeting = urlunsplit(urlsplit(url)._replace(path="/postgres"))
    with (
        psycopg.connect(meeting, autocommit=True) as lock,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        lock.execute("SELECT pg_advisory_lock(1)")
        connection.execute(filled("postgresql/roles.sql").encode())


def redis_file() -> str:
    """The Redis users, beside the one that everybody is who has no password."""
    lines = [" ".join(("user", *words)) for words in _redis_users()]
    return "\n".join(("user default on nopass ~* &* +@all", *lines, ""))


def _redis_users() -> list[list[str]]:
    users = [line.split()[1:] for line in filled("redis/users.acl").splitlines()]
    return [words for words in users if words[0] != "default"]
