"""What somebody else could get hold of while a vault works: taps on its servers, its memory, and what stays.

Into each place a secret is planted, to be found there: a search that finds nothing else would have found it.
"""

import asyncio
import logging
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

import aio_pika
import httpx
import psycopg
from acceptance.canaries import Canaries
from acceptance.installation import Process, ended_with_core
from acceptance.secured import Secured
from acceptance.working_agents import WorkingAgents
from redis import Redis
from services import postgresql
from services.origin import Name
from services.packets import can_capture, captured
from services.server import Server

PLANTED = "pl4ntedHw9RbVn3Jc"
MOST_READINGS = 40


@dataclass
class Run:
    """What a run left behind."""

    folder: Path
    secured: Secured
    canaries: Canaries = field(default_factory=Canaries)
    packets: Path | None = None
    #: Of a dispenser, where it could be read.
    memory: Path | None = None
    #: Each process that crashed, and whether it left a core.
    crashes: list[tuple[str, bool]] = field(default_factory=list)
    #: What was the largest core that each might have left by its limit.
    core_limits: list[tuple[str, str]] = field(default_factory=list)

    @property
    def servers(self) -> Mapping[Name, Server]:
        at = self.secured
        return {"rabbitmq": at.broker, "redis": at.cache, "postgresql": at.database}


@contextmanager
def agents_log(file: Path) -> Iterator[None]:
    """The agents run in this process: all that is logged here, at debug level."""
    handler = logging.FileHandler(file)
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
        logging.getLogger("dispenser").debug(PLANTED)
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


@contextmanager
def unheard(*names: str) -> Iterator[None]:
    """What these libraries say is left out of the agents' log: it is not for an agent that they work."""
    with ExitStack() as left_out:
        for logger in map(logging.getLogger, names):
            left_out.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.WARNING)
        yield


@asynccontextmanager
async def firehose(broker: Server, file: Path) -> AsyncIterator[None]:
    """Every message that is published or delivered (https://www.rabbitmq.com/docs/firehose)."""
    vhost = quote(urlsplit(broker.url).path[1:] or "/", safe="")
    async with httpx.AsyncClient() as http, await aio_pika.connect(broker.url) as connection:
        traced = await http.put(f"{broker.management_url}/api/vhosts/{vhost}", json={"tracing": True})
        traced.raise_for_status()
        queue = await (await connection.channel()).declare_queue(exclusive=True)
        await queue.bind("amq.rabbitmq.trace", "#")
        all_seen = asyncio.Event()
        with file.open("wb") as log:

            async def keep(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                log.write(repr(message.headers).encode() + b"\n" + message.body + b"\n")
                if PLANTED.encode() in message.body:
                    all_seen.set()

            await queue.consume(keep, no_ack=True)
            yield
            await plant_in_broker(broker)
            async with asyncio.timeout(60):
                await all_seen.wait()


async def plant_in_broker(broker: Server) -> None:
    """In its log, by a connection's name, and in a queue as the vault's are."""
    named = {"connection_name": PLANTED}
    async with await aio_pika.connect(broker.url, client_properties=named) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("planted", durable=True, arguments={"x-queue-type": "quorum"})
        message = aio_pika.Message(PLANTED.encode(), delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
        await channel.default_exchange.publish(message, queue.name)


@contextmanager
def capturing(run: Run) -> Iterator[None]:
    """All that goes to and from the three servers, with TLS and without, where it may be seen."""
    if not can_capture():
        yield
        return
    run.packets = run.folder / "packets"
    urls = [url for server in run.servers.values() for url in doors(server)]
    with captured(run.packets, urls):
        yield
        for url in urls:
            with socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=10) as connection:
                connection.sendall(f"{PLANTED}\r\n".encode())
                with suppress(OSError):  # one that hung up at such a line has read it
                    connection.shutdown(socket.SHUT_WR)
                    connection.recv(1)  # what the server has, whoever listens has too


def doors(server: Server) -> list[str]:
    """An address for each of its ports: PostgreSQL has one for both, without TLS and with it."""
    return list({urlsplit(url).port: url for url in (server.url, server.tls_url)}.values())


def memory_of(process: Process, folder: Path) -> Path | None:
    """The writable memory of a process, as root sees it. None: nobody else does."""
    at, file = Path(f"/proc/{process.pid}"), folder / "memory"
    try:
        memory = (at / "mem").open("rb", buffering=0)
    except PermissionError:
        return None
    with memory, file.open("wb") as copy:
        for line in (at / "maps").read_text().splitlines():
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if line.split()[1].startswith("rw") and "[v" not in line:
                memory.seek(start)
                with suppress(OSError):  # it may be gone since
                    copy.write(memory.read(end - start) or b"")
    return file


async def busy_memory_of(process: Process, holds: str, folder: Path, agents: WorkingAgents) -> Path | None:
    """The same once it has a token in it, if it has one within some readings."""
    for _ in range(MOST_READINGS):
        memory = await asyncio.to_thread(memory_of, process, folder)
        if memory is None or holds.encode() in memory.read_bytes():
            break
        await agents.go_on(1)
    return memory


def core_limit(process: Process) -> str:
    """The size in bytes that its core may have, the soft limit and the hard one."""
    limits = Path(f"/proc/{process.pid}/limits").read_text().splitlines()
    [told] = [line.split() for line in limits if line.startswith("Max core file size")]
    return " ".join(told[4:6])


def others_leave_cores(folder: Path) -> bool:
    """Whether a program of this machine that nobody hardened leaves its core when it crashes."""
    folder.mkdir()
    abort = "import os, sys; os.abort()"
    with subprocess.Popen([sys.executable, "-c", abort, PLANTED], cwd=folder) as crashing:
        dumped = ended_with_core(crashing.pid)
        assert crashing.wait() == -signal.SIGABRT
    return dumped


def keep_stores(run: Run) -> None:
    """What Redis and PostgreSQL have in the end."""
    _keep_redis(run.secured.cache.url, run.folder)
    database = run.secured.vault.database
    with psycopg.connect(database) as connection:
        connection.execute(f"CREATE TABLE planted AS SELECT '{PLANTED}' AS secret".encode())
    program = Path(postgresql.binary() or "").with_name("pg_dump")
    if program.exists():
        dumped = subprocess.run([str(program), "--inserts", database], capture_output=True, check=True)
        (run.folder / "database.sql").write_bytes(dumped.stdout)


def _keep_redis(url: str, folder: Path) -> None:
    with Redis.from_url(url) as client:
        client.config_set("rdbcompression", "no")  # a compressed secret would not be found
        client.set("planted", PLANTED)
        client.eval("redis.log(redis.LOG_WARNING, ARGV[1])", 0, PLANTED)
        if shutil.which("redis-cli"):
            dump_command = ["redis-cli", "-u", url, "--rdb", str(folder / "redis.rdb")]
            subprocess.run(dump_command, capture_output=True, check=True, timeout=60)
        with (folder / "redis").open("wb") as dump:
            for key in client.scan_iter():
                dump.write(key + b" " + (client.get(key) or b"") + b"\n")
