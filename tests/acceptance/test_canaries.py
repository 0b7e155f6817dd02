"""A whole run of a vault, with everything at debug level, leaves its secrets nowhere they could be read.

Agents work at every door through rotations, renewals, delegation, failures, crashes and revocations: see
`story.py`. Then all that somebody else could get hold of is searched: what the broker saw, what the three
servers keep and log, what went over the wire to them, the logs of every process and of the agents, the
vault's folder, and the memory of a dispenser. The servers are spoken to under TLS, where the vault token is a
password; beside that some processes and agents do without at RabbitMQ and Redis, so that what they say there
can be read.
"""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import pytest_asyncio
from acceptance.canaries import Canaries
from acceptance.secured import Secured
from acceptance.story import ACTIONS, KEY, MARK, Story
from acceptance.watched import PLANTED, Run, agents_log, capturing, doors, firehose, others_leave_cores
from services.origin import NAMES, Name
from services.packets import MISSING, at_port
from services.server import ServerFailed

from dispenser.testing import codes, tokens
from dispenser.testing.behaviour import Behaviour
from dispenser.testing.emulator import Emulator

TOKEN_SECONDS = 6.0
#: How a connection begins under TLS: a handshake (RFC 8446 §5.1), or PostgreSQL's request for one.
TLS_BEGINS = (b"\x16\x03", b"\x00\x00\x00\x08\x04\xd2\x16\x2f")
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def run(secured: Secured) -> Run:
    whole = Run(secured.vault.home / "seen", secured)
    whole.folder.mkdir()
    secured.vault.environment["DISPENSER_LOG_LEVEL"] = "debug"
    gateway = secured.vault.environment["DISPENSER_PUBLIC_URL"]
    with marked_tokens(), cores_allowed(), agents_log(whole.folder / "agents.log"), capturing(whole):
        secret = f"cs_{MARK}{os.urandom(20).hex()}"
        async with (
            Emulator(Behaviour(access_token_seconds=TOKEN_SECONDS), client_secret=secret) as provider,
            httpx.AsyncClient(base_url=gateway, timeout=60) as http,
            firehose(secured.broker, whole.folder / "firehose"),
        ):
            await Story(whole, provider, http).tell()
    return whole


@contextmanager
def marked_tokens() -> Iterator[None]:
    """Whatever the provider issues is to be known by its mark."""
    marked = SimpleNamespace(token_urlsafe=lambda size: f"{MARK}{os.urandom(size).hex()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "secrets", marked)
        patch.setattr(codes, "secrets", marked)
        yield


@contextmanager
def cores_allowed() -> Iterator[None]:
    """Processes that are started may dump their core, as far as they do not forbid it themselves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


def folder_of(run: Run, name: Name) -> Path:
    """A server's own folder, after it was asked to write everything down."""
    folder = getattr(run.servers[name], "folder", None)
    if folder is None:
        _skip(f"{name} runs in a container, whose folder is not searched")
    run.servers[name].stop()
    return Path(str(folder))


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
    assert [told for told in (*ACTIONS, "amqp", "http") if f'"{told}"' not in audit] == []
    assert (run.folder / "firehose").stat().st_size > 100_000
    assert run.canaries.in_bytes(f"x{MARK}y".encode())


async def test_the_brokers_firehose_saw_none(run: Run) -> None:
    assert found(run, run.folder / "firehose") == {}


@pytest.mark.parametrize("name", NAMES)
async def test_what_went_over_the_wire_holds_none(run: Run, name: Name) -> None:
    if run.packets is None:
        _skip(MISSING)
    assert run.packets is not None
    for url in doors(run.servers[name]):
        streams = at_port(run.packets, url)
        assert sum(stream.stat().st_size for stream in streams) > 10_000
        assert found(run, *streams) == {}


@pytest.mark.parametrize("name", NAMES)
async def test_all_that_is_sent_to_a_port_with_tls_is_under_tls(run: Run, name: Name) -> None:
    if run.packets is None:
        _skip(MISSING)
    assert run.packets is not None
    url = run.servers[name].tls_url
    sent = [stream.read_bytes() for stream in at_port(run.packets, url) if is_to(url, stream)]
    assert len(sent) > 10
    # Save the one word in clear that shows that it would have been seen.
    assert [words for words in sent if not words.startswith(TLS_BEGINS)] == [f"{PLANTED}\r\n".encode()]


def is_to(url: str, stream: Path) -> bool:
    return stream.name.endswith(f"-{urlsplit(url).port}")


async def test_what_the_broker_wrote_down_holds_none(run: Run) -> None:
    folder = folder_of(run, "rabbitmq")
    assert found(run, folder / "data") == {}
    assert found(run, folder / "log") == {}


async def test_redis_holds_none(run: Run) -> None:
    assert found(run, run.folder / "redis") == {}


async def test_redis_own_dump_holds_none(run: Run) -> None:
    if not (run.folder / "redis.rdb").exists():
        _skip("Redis is dumped by redis-cli: install redis-tools")
    assert found(run, run.folder / "redis.rdb") == {}


async def test_redis_log_holds_none(run: Run) -> None:
    assert found(run, folder_of(run, "redis") / "log") == {}


async def test_the_databases_dump_holds_none(run: Run) -> None:
    if not (run.folder / "database.sql").exists():
        _skip("PostgreSQL is dumped by pg_dump: install postgresql-client")
    assert found(run, run.folder / "database.sql") == {}


async def test_the_database_holds_none_not_even_in_what_was_deleted(run: Run) -> None:
    assert found(run, folder_of(run, "postgresql") / "data") == {}


async def test_no_statement_and_no_parameter_told_the_database_one(run: Run) -> None:
    log = folder_of(run, "postgresql") / "log"
    assert b"parameters: $1" in log.read_bytes().lower()
    assert found(run, log) == {}


async def test_no_log_of_a_process_holds_one(run: Run) -> None:
    logs = [*run.secured.vault.home.glob("*.log")]
    assert len(logs) >= 7
    assert all(log.stat().st_size > 0 for log in logs)
    assert run.canaries.in_files(*logs) == {}


async def test_no_agents_log_holds_one(run: Run) -> None:
    """Their program's own, with all that the libraries say at debug level."""
    assert found(run, run.folder / "agents.log") == {}


async def test_no_answer_to_an_admin_holds_one(run: Run) -> None:
    assert found(run, run.folder / "commands.out") == {}
    assert found(run, run.folder / "audit.json") == {}


async def test_the_vaults_own_folder_holds_none_but_its_keyring(run: Run) -> None:
    """The refreshers' spools and the audit's journals among it."""
    home = run.secured.vault.home / "vault"
    places = [place for place in home.iterdir() if place.name != "keys.json"]
    assert {"spool", "audit"} <= {place.name for place in places}
    assert run.canaries.in_files(*places) == {}
    assert run.canaries.only(KEY).in_files(home / "keys.json")


async def test_every_process_forbids_itself_a_core(run: Run) -> None:
    assert len(run.core_limits) == 9
    assert [name for name, limit in run.core_limits if limit != "0 0"] == []


async def test_no_crash_left_a_core_where_others_leave_theirs(run: Run) -> None:
    assert [name for name, dumped in run.crashes if dumped] == []
    with cores_allowed():
        if not others_leave_cores(run.folder / "others"):
            pytest.skip("This machine writes nobody's core; that the limit is 0 is tested all the same.")


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
