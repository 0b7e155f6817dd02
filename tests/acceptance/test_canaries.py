"""A whole run of a vault, with every process at debug level, leaves its secrets nowhere they could be read.

Agents work at both doors through rotations, failures, crashes and revocations. Then all that somebody else
could get hold of is searched: what the broker saw and keeps, what Redis and PostgreSQL keep, what went over
the wire to them, the logs of servers and agents, the folder of the vault, and the memory of a dispenser.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlsplit

import aio_pika
import httpx
import psycopg
import pytest
import pytest_asyncio
from acceptance.browser import Browser
from acceptance.canaries import Canaries
from acceptance.declared import declared
from acceptance.installation import Installation, Process
from acceptance.working_agents import WorkingAgents, working
from redis import Redis
from services import postgresql
from services.origin import NAMES, Name
from services.packets import MISSING, can_capture, captured
from services.server import Server, ServerFailed
from vault_jwt import vault_jwt

from dispenser import Vault, VaultError
from dispenser.testing import codes, tokens
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator
from dispenser.testing.faults import ErrorAnswer, Html, ResetAfterProcessing, Status

#: In every token that the provider issues, so that one search is for them all.
MARK = "c4naryXq7ZtLm2Kw"
#: Put where secrets are searched for, to be found there: what finds nothing else would have found it.
PLANTED = "pl4ntedHw9RbVn3Jc"
VAULT, ADMIN, KEY = "vault token", "admin token", "key"
#: What the audit has to tell of.
ACTIONS = ("token.dispensed", "token.denied", "grant.refreshed")
TOKEN_SECONDS = 4.0
ENOUGH_TOKENS = 150
MOST_READINGS = 40
pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Run:
    """What a run left behind."""

    folder: Path
    vault: Installation
    servers: dict[str, Server]
    canaries: Canaries = field(default_factory=Canaries)
    packets: Path | None = None
    #: Of a dispenser, where it could be read.
    memory: Path | None = None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(breakable: Installation, _own: Callable[[Name], Server]) -> Run:
    folder = breakable.home / "seen"
    folder.mkdir()
    whole = Run(folder, breakable, {name: _own(name) for name in NAMES})
    breakable.environment["DISPENSER_LOG_LEVEL"] = "debug"
    with Redis.from_url(breakable.cache) as client:
        client.flushall()
    with pytest.MonkeyPatch.context() as patch, agents_log(folder / "agents.log"), capturing(whole):
        marked = SimpleNamespace(token_urlsafe=lambda size: f"{MARK}{os.urandom(size).hex()}")
        patch.setattr(tokens, "secrets", marked)
        patch.setattr(codes, "secrets", marked)
        client_secret = f"cs_{MARK}{os.urandom(20).hex()}"
        with Emulator(Behaviour(access_token_seconds=TOKEN_SECONDS), client_secret=client_secret) as provider:
            async with firehose(whole.servers["rabbitmq"], folder / "firehose"):
                await story(whole, provider)
    return whole


async def story(whole: Run, provider: Emulator) -> None:
    """All that happens in a vault's life, in a minute."""
    vault, canaries = whole.vault, whole.canaries
    canaries.add("what the provider issued", MARK)
    file = vault.home / "declared.yaml"
    file.write_text(
        declared(
            authorization_url=provider.authorization_url,
            token_url=provider.token_url,
            client_id=provider.client_id,
            redirect_uri=f"{vault.environment['DISPENSER_PUBLIC_URL']}/v1/oauth/callback",
        )
    )
    admin_token = await asyncio.to_thread(vault.done, "init")
    canaries.add(ADMIN, admin_token)
    await asyncio.to_thread(vault.done, "apply", str(file), PROVIDER_SECRET=provider.client_secret)
    canaries.add(KEY, *keys_of(vault))
    refresher, _, _, serve, gateway = await asyncio.gather(
        *(asyncio.to_thread(vault.start, *command.split()) for command in commands(vault))
    )
    doors = (vault.broker, vault.environment["DISPENSER_PUBLIC_URL"])
    async with httpx.AsyncClient(base_url=doors[1], timeout=40) as http:
        admin = {"Authorization": f"Bearer {admin_token}"}
        await brought_in(whole, provider, http, admin)
        sessions = [
            (door, await minted(whole, http, admin, agent), service)
            for door in doors
            for agent, service in (("tracker", "time-tracker"), ("summarizer", "slack-post"))
        ]
        async with working(*sessions) as agents:
            await agents.go_on(ENOUGH_TOKENS)
            provider.faults.next(
                Status(500), Html(), ErrorAnswer(error="temporarily_unavailable"), ResetAfterProcessing()
            )
            await refusals(whole, doors, await minted(whole, http, admin, "intern"))
            await agents.go_on(ENOUGH_TOKENS)
            with Redis.from_url(vault.cache) as cache:
                cache.flushall()
            await crashes(refresher)
            await agents.go_on(ENOUGH_TOKENS)
            whole.memory = await busy_memory_of(serve, whole.folder, agents)
        await http.get("/metrics")
        told = [await http.get(f"/v1/audit?limit=1000&action={each}", headers=admin) for each in ACTIONS]
        (whole.folder / "audit.json").write_text("\n".join(answer.text for answer in told))
    for arguments in (("grant", "revoke", "slack-post", "--owner", "ada"), ("agent", "revoke", "tracker")):
        (whole.folder / f"{arguments[0]}.out").write_text(vault.cli(*arguments).stderr)
    (whole.folder / "status.json").write_text(json.dumps(vault.shown("grant", "list")))
    gateway.stop()
    keep_stores(whole)


def commands(vault: Installation) -> tuple[str, ...]:
    return (
        "work refresher",
        "work scheduler",
        "work janitor",
        "serve",
        f"gateway --port {vault.gateway_port}",
    )


async def minted(whole: Run, http: httpx.AsyncClient, admin: dict[str, str], agent: str) -> str:
    """A vault token, which is a canary from here on."""
    answer = await http.post(f"/v1/agents/{agent}/tokens", json={"owner": "ada"}, headers=admin)
    token = str(answer.json()["token"])
    whole.canaries.add(VAULT, token)
    return token


async def brought_in(whole: Run, provider: Emulator, http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Grants come in by each of their ways: a browser, a rotation job, an import."""
    vault = whole.vault
    page = await http.get("/v1/connect/time-tracker?owner=ada", headers=admin)
    assert page.status_code == 200
    token = await minted(whole, http, admin, "tracker")
    refusal = await http.get(
        "/v1/agents/tracker/credentials/time-tracker", headers={"Authorization": f"Bearer {token}"}
    )
    consented = await Browser(http, "ada").consent(refusal.json()["connect_url"])
    assert consented.status_code == 200, consented.text
    put = await http.put(
        "/v1/credentials/slack-post?owner=ada",
        json={"refresh_token": provider.issue_refresh_token("ada", ("chat:write",))},
        headers=admin,
    )
    assert put.status_code == 200, put.text
    imported = provider.issue_refresh_token("ada", ("calendar:read",))
    await asyncio.to_thread(vault.done, "grant", "import", "calendar-read", "--owner", "ada", stdin=imported)


async def refusals(whole: Run, doors: tuple[str, ...], intern: str) -> None:
    """A stranger's token, an agent without rights, a refresh token of nobody's."""
    foreign = vault_jwt(agent="tracker")
    whole.canaries.add(VAULT, foreign)
    for door in doors:
        for token in (intern, foreign):
            with pytest.raises(VaultError):
                async with Vault(door, token) as asking:
                    await asking.token("time-tracker", deadline=5)
    spent = await asyncio.to_thread(
        whole.vault.cli, "grant", "import", "calendar-read", "--owner", "eve", stdin=f"{MARK}-never-issued"
    )
    assert spent.returncode == 3
    (whole.folder / "import.out").write_text(spent.stdout + spent.stderr)


async def crashes(refresher: Process) -> None:
    """The refresher dies of what makes others dump their core."""
    for number in (signal.SIGQUIT, signal.SIGSEGV):
        os.kill(refresher._process.pid, number)
        assert await asyncio.to_thread(refresher._process.wait, 30) == -number
        await asyncio.to_thread(refresher.start)


def keys_of(vault: Installation) -> list[str]:
    """Whatever in the keyring is not public."""

    def texts(value: Any, public: bool = False) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from texts(inner, public or "public" in name or name in ("primary", "id"))
        elif isinstance(value, list):
            for inner in value:
                yield from texts(inner, public)
        elif isinstance(value, str) and not public and len(value) > 30:
            yield value

    return list(texts(json.loads((vault.home / "vault" / "keys.json").read_text())))


@contextmanager
def agents_log(file: Path) -> Iterator[None]:
    """The agents run in this process: all that is logged here, at debug level."""
    handler = logging.FileHandler(file)
    root, before = logging.getLogger(), logging.getLogger().level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
        handler.close()


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
            channel = await connection.channel()
            await channel.default_exchange.publish(
                aio_pika.Message(PLANTED.encode()), "nowhere", mandatory=False
            )
            async with asyncio.timeout(60):
                await all_seen.wait()


@contextmanager
def capturing(whole: Run) -> Iterator[None]:
    """All that goes to and from the three servers, where it may be seen."""
    if not can_capture():
        yield
        return
    whole.packets = whole.folder / "packets.pcap"
    with captured(whole.packets, [server.url for server in whole.servers.values()]):
        yield


def memory_of(process: Process, folder: Path) -> Path | None:
    """The writable memory of a process, as root sees it. None: nobody else does."""
    at, file = Path(f"/proc/{process._process.pid}"), folder / "memory"
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


async def busy_memory_of(process: Process, folder: Path, agents: WorkingAgents) -> Path | None:
    """The same once it has a token in it, if it has one within some readings."""
    for _ in range(MOST_READINGS):
        memory = await asyncio.to_thread(memory_of, process, folder)
        if memory is None or f"at_{MARK}".encode() in memory.read_bytes():
            break
        await agents.go_on(1)
    return memory


def keep_stores(whole: Run) -> None:
    """What Redis and PostgreSQL have in the end."""
    with psycopg.connect(whole.vault.database) as database:
        database.execute(f"CREATE TABLE planted AS SELECT '{PLANTED}' AS secret")
    with Redis.from_url(whole.servers["redis"].url) as client:
        client.config_set("rdbcompression", "no")  # a compressed secret would not be found
        client.set("planted", PLANTED)
    if shutil.which("redis-cli"):
        dump_command = [
            "redis-cli",
            "-u",
            whole.servers["redis"].url,
            "--rdb",
            str(whole.folder / "redis.rdb"),
        ]
        subprocess.run(dump_command, capture_output=True, check=True, timeout=60)
    with Redis.from_url(whole.servers["redis"].url) as client, (whole.folder / "redis").open("wb") as dump:
        for key in client.scan_iter():
            dump.write(key + b" " + (client.get(key) or b"") + b"\n")
    program = Path(postgresql.binary() or "").with_name("pg_dump")
    if program.exists():
        dumped = subprocess.run(
            [str(program), "--inserts", whole.vault.database],
            capture_output=True,
            check=True,
        )
        (whole.folder / "database.sql").write_bytes(dumped.stdout)


def folder_of(run: Run, name: str) -> Path:
    """A server's own folder, after it was asked to write everything down."""
    folder = getattr(run.servers[name], "folder", None)
    if folder is None:
        _skip(f"{name} runs in a container, whose folder is not searched")
    run.servers[name].stop()
    return Path(folder)


def found(run: Run, *places: Path) -> Any:
    """What is found, where a planted secret is found too."""
    planted = Canaries()
    planted.add("planted", PLANTED)
    assert planted.in_files(*places), f"a secret planted in {places} was not found"
    return run.canaries.in_files(*places)


def _skip(reason: str) -> None:
    if os.environ.get("CI") == "true":
        raise ServerFailed(reason)
    pytest.skip(reason)


async def test_the_run_was_a_whole_one(run: Run) -> None:
    """Searched is only what has seen the secrets: they all went through."""
    audit = (run.folder / "audit.json").read_text()
    for told in (*ACTIONS, '"amqp"', '"http"'):
        assert told in audit
    assert (run.folder / "firehose").stat().st_size > 100_000
    logs = "".join(file.read_text(errors="replace") for file in run.vault.home.glob("*.log"))
    assert "A process" in logs or len(logs) > 1000
    assert run.canaries.in_bytes(f"x{MARK}y".encode())


async def test_the_brokers_firehose_saw_none(run: Run) -> None:
    assert found(run, run.folder / "firehose") == {}


async def test_what_the_broker_wrote_down_holds_none(run: Run) -> None:
    assert run.canaries.in_files(folder_of(run, "rabbitmq")) == {}


async def test_redis_holds_none(run: Run) -> None:
    assert found(run, run.folder / "redis") == {}


async def test_redis_own_dump_holds_none(run: Run) -> None:
    if not (run.folder / "redis.rdb").exists():
        _skip("Redis is dumped by redis-cli: install redis-tools")
    assert found(run, run.folder / "redis.rdb") == {}


async def test_the_database_holds_none_not_even_in_what_was_deleted(run: Run) -> None:
    if (run.folder / "database.sql").exists():
        assert found(run, run.folder / "database.sql") == {}
    assert found(run, folder_of(run, "postgresql")) == {}


async def test_no_log_and_no_answer_to_an_admin_holds_one(run: Run) -> None:
    logs = [*run.vault.home.glob("*.log"), *run.folder.glob("*.out"), *run.folder.glob("*.json")]
    assert len(logs) > 7
    assert (run.folder / "agents.log").stat().st_size > 10_000
    assert run.canaries.in_files(*logs) == {}


async def test_the_vaults_own_folder_holds_none_but_its_keyring(run: Run) -> None:
    places = [place for place in (run.vault.home / "vault").iterdir() if place.name != "keys.json"]
    assert places
    assert run.canaries.in_files(*places) == {}


async def test_no_process_left_a_core(run: Run) -> None:
    cores = [*Path.cwd().glob("core*"), *run.folder.rglob("core*")]
    assert [core for core in cores if core.is_file()] == []


async def test_a_dispensers_memory_holds_what_it_hands_out_and_no_grant(run: Run) -> None:
    if run.memory is None:
        _skip("a process's memory can be read by root alone")
    handed_out, grants = Canaries(), Canaries()
    handed_out.add("access token", f"at_{MARK}")
    grants.add("refresh token", f"rt_{MARK}")
    grants.add("client secret", f"cs_{MARK}")
    assert run.memory is not None
    assert handed_out.in_files(run.memory)
    assert grants.in_files(run.memory) == {}


async def test_what_went_over_the_wire_to_the_servers_holds_none(run: Run) -> None:
    if run.packets is None:
        _skip(MISSING)
    assert run.packets is not None
    assert run.packets.stat().st_size > 100_000
    assert found(run, run.packets) == {}
