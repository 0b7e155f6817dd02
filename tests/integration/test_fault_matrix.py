"""One fault at one point of a refresh, a row of the fault matrix each; the row and the point are in the name.

What is killed here leaves what a killed process leaves: a row in the journal, a file in the spool, a request
at the provider. The same rows with real processes and real kills are in `acceptance/test_kill_loop.py`.
"""

import asyncio
import errno
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, Never

import httpx
import pytest
from integration.asking import asked
from integration.refreshing import OWNER, SERVICE, Vault
from integration.watching import Watching
from redis.asyncio import Redis
from services.sentinel import WatchedRedis
from sqlalchemy import text
from structlog.testing import capture_logs

from dispenser.enrol import outcome, present
from dispenser.protocol import Code, TokenCall
from dispenser.revoke import revoke_grant
from dispenser.testing import Behaviour
from dispenser.testing.faults import (
    DropRefreshToken,
    ErrorAnswer,
    Fault,
    Hang,
    Html,
    ResetAfterProcessing,
    ResetBefore,
    Status,
    Truncated,
)
from shared.adapters import provider_http
from shared.adapters.redis_cache import RedisCache
from shared.audit_filter import AuditFilter
from shared.envelope import open_credential, open_token
from shared.errors import BusUnavailable, CacheUnavailable, StoreUnavailable
from shared.messages import Reason
from shared.model import (
    EnrolmentState,
    Grant,
    GrantState,
    Intent,
    OnReuse,
    Owner,
    RefreshToken,
    Rotation,
    SealedColumn,
)
from shared.ports import Cache, Claim, Outgoing
from shared.secret import Secret
from shared.topology import EVENTS_EXCHANGE
from workers.decision import AMBIGUITY_SECONDS, LATE_SECONDS, LEASE_SECONDS
from workers.providers import FRESH_SECONDS
from workers.rotation import CIRCUIT_OPEN_SECONDS
from workers.scheduler import Scheduler
from workers.takeover import WATCHED_SECONDS

GRACE = Rotation(grace_seconds=600, on_reuse=OnReuse.DENY)
HOUR = 3600
#: Within which a Sentinel has put the replica in the place of the primary: mostly two.
FAILOVER_SECONDS = 30
BOB = Owner("bob")


@pytest.fixture
async def connected(vault: Vault) -> Vault:
    """A strictly rotating provider and a grant at generation 1."""
    await connect(vault, Rotation())
    return vault


async def connect(vault: Vault, rotation: Rotation) -> None:
    vault.emulator.behaviour = Behaviour(
        rotates=rotation.rotates, grace_seconds=rotation.grace_seconds, on_reuse=rotation.on_reuse.value
    )
    await vault.declare(rotation)
    await vault.refresher()
    await vault.connect()
    vault.events.clear()


async def left_open(vault: Vault, holder: str = "refresher-1") -> Intent:
    """The journal's line of a refresher that was killed after it was written."""
    now, grant = vault.clock(), await vault.grant()
    until = now + timedelta(seconds=LEASE_SECONDS)
    claim = await vault.store.rotations.claim(grant.id, 1, holder=holder, now=now, lease_until=until)
    assert isinstance(claim, Claim)
    return claim.intent


async def sent(vault: Vault) -> None:
    """The request of a refresher that was killed before the answer came."""
    credential = open_credential(vault.keys, await vault.grant())
    assert isinstance(credential, RefreshToken)
    form = {"grant_type": "refresh_token", "refresh_token": credential.value.reveal()}
    auth = (vault.emulator.client_id, vault.emulator.client_secret)
    async with httpx.AsyncClient() as http:
        assert (await http.post(vault.emulator.token_url, data=form, auth=auth)).status_code == 200


async def due(vault: Vault) -> None:
    """Let the time come for which the next try is set, and ask."""
    grant = await vault.grant()
    assert grant.refresh_at is not None
    vault.clock.advance(max(0.0, (grant.refresh_at - vault.clock()).total_seconds()) + 0.1)
    await vault.ask(grant.generation)


async def due_in_the_grace(vault: Vault) -> None:
    """The same, where the next try has to come while the spent credential still works."""
    grant = await vault.grant()
    assert grant.refresh_at is not None
    assert grant.refresh_at <= vault.clock() + timedelta(seconds=GRACE.grace_seconds)
    await due(vault)


def _full_behind_the_header(handle: int, content: bytes, offset: int, pwrite: Any = os.pwrite) -> int:
    if offset:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return int(pwrite(handle, content, offset))


async def one_step(vault: Vault) -> Grant:
    """The grant is one generation further, serves its token, and goes on."""
    grant = await vault.grant()
    assert (grant.state, grant.generation) == (GrantState.ACTIVE, 2)
    assert (await vault.token()).generation == 2
    assert await vault.store.rotations.open_intents() == []
    await vault.ask(2)
    assert (await vault.grant()).generation == 3
    assert vault.emulator.reuses == 0
    return grant


# ------------------------------------------------------------------------------------------------ kill


@pytest.mark.parametrize("rotation", [Rotation(), GRACE])
async def test_killed_after_the_intent_before_the_request(vault: Vault, rotation: Rotation):
    await connect(vault, rotation)
    await left_open(vault)
    await vault.refresher()
    await due(vault)
    await one_step(vault)


async def test_killed_after_the_request_grace(vault: Vault):
    await connect(vault, GRACE)
    await left_open(vault)
    await sent(vault)
    await vault.refresher()
    await due_in_the_grace(vault)
    assert vault.emulator.outcomes["replayed"] == 1
    await one_step(vault)


async def test_killed_after_the_request_strict(connected: Vault):
    """The one window in which a grant can be lost, and never in silence."""
    await left_open(connected)
    await sent(connected)
    await connected.refresher()
    grant = await connected.grant()
    assert grant.state is GrantState.UNKNOWN
    assert grant.refresh_at is not None
    assert grant.token_expires_at == grant.refresh_at + timedelta(seconds=LATE_SECONDS)
    assert connected.events == ["credential.refresh_failed"]
    await due(connected)
    assert (await connected.grant()).state is GrantState.REAUTH_REQUIRED
    assert connected.events[-1] == "credential.reauth_required"


async def test_killed_with_the_request_on_its_way_strict(connected: Vault):
    """Carried out after its own repetition it would cost the whole family: it is waited for."""
    connected.clock.advance(HOUR)
    intent = await left_open(connected)
    await connected.refresher()
    calls = connected.emulator.token_calls
    connected.clock.advance(AMBIGUITY_SECONDS - 20)
    await connected.ask(1)
    assert connected.emulator.token_calls == calls
    await due(connected)
    assert connected.emulator.token_calls == calls + 1
    assert connected.clock() >= intent.opened_at + timedelta(seconds=AMBIGUITY_SECONDS)
    await one_step(connected)


async def test_killed_after_the_spool(connected: Vault):
    connected.rotations.commits_fail = True
    await connected.ask(1)
    connected.rotations.commits_fail = False
    for _ in range(2):  # and the replay killed once more
        await connected.refresher()
    await one_step(connected)
    assert connected.spooled() == []


async def test_killed_after_the_commit(connected: Vault):
    connected.rotations.commits_lose_their_answer = True
    await connected.ask(1)
    connected.rotations.commits_lose_their_answer = False
    assert (await connected.grant()).generation == 2
    await connected.refresher()
    assert connected.spooled() == []
    await one_step(connected)


async def test_killed_after_a_refusal_that_is_not_on_disk(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """The database has it, unconfirmed, and nobody knows the answer any more: it is audited as stored."""
    connected.emulator.faults.next(ErrorAnswer())
    monkeypatch.setattr(os, "pwrite", _full_behind_the_header)
    connected.rotations.failures_lose_their_answer = True
    await connected.ask(1)
    monkeypatch.undo()
    connected.rotations.failures_lose_their_answer = False
    assert "grant.refresh_failed" not in await connected.actions()
    await connected.refresher()
    [told] = await connected.store.audit.query(AuditFilter(service=SERVICE, outcome="invalid_grant"))
    assert (told.action, told.reason) == ("grant.refresh_failed", GrantState.REAUTH_REQUIRED.value)
    assert (await connected.grant()).state is GrantState.REAUTH_REQUIRED
    assert connected.spooled() == []


async def test_killed_before_the_spool_file_is_deleted(connected: Vault):
    connected.rotations.commits_fail = True
    await connected.ask(1)
    connected.rotations.commits_fail = False
    [path] = connected.spool_files()
    kept = path.read_bytes()
    await connected.refresher()
    path.write_bytes(kept)
    await connected.refresher()
    assert connected.spooled() == []
    await one_step(connected)


async def test_killed_before_the_spool_file_is_deleted_while_the_other_went_on(connected: Vault):
    """What the answer brought was stored long ago, and is nothing that anybody has to look at."""
    connected.rotations.commits_fail = True
    await connected.ask(1)
    connected.rotations.commits_fail = False
    [path] = connected.spool_files()
    kept = path.read_bytes()
    await connected.refresher()
    await connected.ask(2)
    path.write_bytes(kept)
    await connected.refresher()
    assert connected.spooled() == []
    assert "grant.parked" not in await connected.actions()
    assert (await connected.grant()).generation == 3
    await connected.ask(3)
    assert (await connected.grant()).generation == 4
    assert connected.emulator.reuses == 0


# ------------------------------------------------------------------------------------------------ disk


@pytest.mark.parametrize("rotation", [Rotation(), GRACE])
async def test_torn_spool(vault: Vault, rotation: Rotation):
    """Told apart from a whole answer, and then it is as lost as one that never came."""
    await connect(vault, rotation)
    vault.rotations.commits_fail = True
    await vault.ask(1)
    vault.rotations.commits_fail = False
    [path] = vault.spool_files()
    content = bytearray(path.read_bytes())
    content[600:] = bytes(len(content) - 600)
    path.write_bytes(content)
    await vault.refresher()
    grant = await vault.grant()
    assert grant.state is (GrantState.ACTIVE if rotation.grace_seconds else GrantState.UNKNOWN)
    assert grant.failures == 1
    await due(vault)
    lost = GrantState.REAUTH_REQUIRED
    assert (await vault.grant()).state is (GrantState.ACTIVE if rotation.grace_seconds else lost)


def critical(said: Sequence[Mapping[str, Any]]) -> list[str]:
    """What an operator is woken for."""
    return [line["event"] for line in said if line["log_level"] == "critical"]


@pytest.mark.parametrize(("call", "code"), [("pwrite", errno.ENOSPC), ("fdatasync", errno.EIO)])
async def test_full_or_broken_disk_at_reservation(
    connected: Vault, monkeypatch: pytest.MonkeyPatch, call: str, code: int
):
    def failing(*_: object) -> Never:
        raise OSError(code, os.strerror(code))

    calls, before = connected.emulator.token_calls, await connected.grant()
    with monkeypatch.context() as broken:
        broken.setattr(os, call, failing)
        with capture_logs() as said:
            await connected.ask(1)
    assert critical(said) == ["Nothing is refreshed without a spool"]
    assert connected.emulator.token_calls == calls
    assert await connected.grant() == before
    assert await connected.store.rotations.open_intents() == []
    await connected.ask(1)
    await one_step(connected)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_full_or_broken_disk_at_the_answer(
    connected: Vault, monkeypatch: pytest.MonkeyPatch, code: int
):
    """The database still takes it."""
    synced = iter([None])

    def failing(_: int) -> None:
        for _ in synced:  # the reservation
            return
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fdatasync", failing)
    with capture_logs() as said:
        await connected.ask(1)
    monkeypatch.undo()
    assert critical(said) == ["A provider's answer is not on disk: it must not be lost now"]
    await one_step(connected)
    assert connected.spooled() == []


# -------------------------------------------------------------------------------------------- database


async def test_database_down_before_the_intent(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    async def failing(*_: object, **__: object) -> Never:
        raise StoreUnavailable("Made to fail.")

    calls = connected.emulator.token_calls
    with monkeypatch.context() as down:
        down.setattr(connected.rotations, "claim", failing)
        await connected.ask(1)
    assert connected.emulator.token_calls == calls
    await connected.ask(1)
    await one_step(connected)


async def test_database_down_at_the_commit(connected: Vault):
    calls = connected.emulator.token_calls
    connected.rotations.commits_fail = True
    await connected.ask(1)
    assert (await connected.token()).generation == 1
    connected.rotations.commits_fail = False
    # The same process: nobody has to restart it.
    await connected.refreshers[0]._replay.spooled()
    assert connected.emulator.token_calls == calls + 1
    await one_step(connected)


async def test_commit_unknown(connected: Vault):
    connected.rotations.commits_lose_their_answer = True
    await connected.ask(1)
    connected.rotations.commits_lose_their_answer = False
    await connected.refreshers[0]._replay.spooled()
    await one_step(connected)


async def test_intent_unknown(connected: Vault):
    connected.rotations.claims_lose_their_answer = True
    await connected.ask(1)
    connected.rotations.claims_lose_their_answer = False
    await connected.refreshers[0]._replay.spooled()
    assert await connected.store.rotations.open_intents() == []
    await connected.ask(1)
    await one_step(connected)


async def test_database_failed_over_and_lost_the_last_commits_strict(connected: Vault):
    """Grant, intents and audit are as before the rotation, and nothing here tells of the refresh token that
    is alive: that is found out by the next refresh, and told."""
    before = [(path, path.read_bytes()) for path in connected.database_files()]
    await connected.ask(1)
    assert (await connected.grant()).generation == 2
    await connected.close()
    for path, content in before:
        path.write_bytes(content)
    failed_over = Vault(connected.folder, connected.emulator, connected.keys)
    failed_over.cache = connected.cache
    await failed_over.open()
    await failed_over.refresher()
    await failed_over.ask(1)
    grant = await failed_over.grant()
    assert (grant.state, grant.generation) == (GrantState.REAUTH_REQUIRED, 1)
    assert failed_over.events == ["credential.reauth_required"]
    assert (await failed_over.actions())[-1] == "grant.refresh_failed"
    assert connected.emulator.reuses == 1
    await failed_over.close()


# -------------------------------------------------------------------------------------- two refreshers


async def test_stopped_at_the_lease_check(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """For 300 s, after which others may have begun: it sends nothing."""
    endpoint = connected.refreshers[0]._rotation._bench.endpoint
    reserve = endpoint._spool.reserve

    async def stopped(*arguments: Any) -> None:
        await reserve(*arguments)
        connected.clock.advance(300)

    calls = connected.emulator.token_calls
    with monkeypatch.context() as slow:
        slow.setattr(endpoint._spool, "reserve", stopped)
        await connected.ask(1)
    assert connected.emulator.token_calls == calls
    await connected.ask(1)
    await one_step(connected)


async def test_two_refreshers_and_one_grant(connected: Vault):
    """The intent of the other is open: it may be at it, though its lease has run out."""
    await connected.refresher("refresher-2", spool="spool-2")
    intent = await left_open(connected, holder="refresher-3")
    calls = connected.emulator.token_calls
    connected.clock.advance(LEASE_SECONDS + 1)
    await connected.ask(1, times=3)
    assert connected.emulator.token_calls == calls
    await connected.store.rotations.release(intent, "holder_gone", connected.clock())
    await connected.ask(1)
    await one_step(connected)


async def test_stopped_after_the_request_while_the_other_went_on(vault: Vault):
    """The loser's new credential is kept for people, and overwrites nothing."""
    await connect(vault, GRACE)
    hang = Hang(processed=True)
    vault.emulator.faults.next(hang)
    asking = asyncio.create_task(vault.ask(1))
    await hang.reached()
    [intent] = await vault.store.rotations.open_intents()
    await vault.store.rotations.release(intent, "holder_gone", vault.clock())
    await (await vault.refresher("refresher-2", spool="spool-2"))._rotation.run(intent.grant_id, 1)
    hang.release()
    await asking
    assert "grant.parked" in await vault.actions()
    await one_step(vault)


async def test_stopped_after_the_request(connected: Vault):
    """For 300 s, in which its intent was given up: its answer is applied all the same."""
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    [intent] = await connected.store.rotations.open_intents()
    connected.clock.advance(300)
    await connected.store.rotations.release(intent, "holder_gone", connected.clock())
    hang.release()
    await asking
    await one_step(connected)


async def test_stopped_after_the_request_until_the_other_was_refused(vault: Vault):
    """Its answer has the one refresh token that is alive: the owner who was asked to connect need not."""
    await connect(vault, Rotation(on_reuse=OnReuse.DENY))
    hang, sends = Hang(processed=True), vault.emulator.refreshes
    vault.emulator.faults.next(hang)
    asking = asyncio.create_task(vault.ask(1))
    await hang.reached()
    assert await Watching(vault).watch(WATCHED_SECONDS) == 1
    unknown = await vault.grant()
    assert (unknown.state, unknown.last_error) == (GrantState.UNKNOWN, "holder_gone")
    assert unknown.refresh_at is not None
    vault.clock.advance((unknown.refresh_at - vault.clock()).total_seconds() + 0.1)
    await (await vault.refresher("refresher-2", spool="spool-2"))._rotation.run(unknown.id, 1)
    assert (await vault.grant()).state is GrantState.REAUTH_REQUIRED
    assert vault.events == ["credential.refresh_failed", "credential.reauth_required"]
    hang.release()
    await asking
    grant = await vault.grant()
    assert (grant.state, grant.generation) == (GrantState.ACTIVE, 2)
    assert vault.events[-1] == "credential.recovered"
    assert (vault.emulator.refreshes, vault.emulator.reuses) == (sends + 2, 1)
    await vault.ask(2)
    assert (await vault.grant()).generation == 3


# -------------------------------------------------------------------------------------------- provider


def slow(vault: Vault, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """The next answer comes after so long, by the clock and by the count of whoever waits for it."""
    hang, passed = Hang(processed=True), 0.0
    vault.emulator.faults.next(hang)

    async def wait(tasks: Any, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        nonlocal passed
        await hang.reached()
        passed += timeout or 0.0
        if passed < seconds:
            return set(), tasks
        vault.clock.advance(seconds)
        hang.release()
        return await asyncio.wait(tasks)

    monkeypatch.setattr(provider_http, "asyncio", SimpleNamespace(**{**vars(asyncio), "wait": wait}))


async def test_provider_slow(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """The one request is waited for."""
    calls = connected.emulator.token_calls
    with monkeypatch.context() as slowly:
        slow(connected, slowly, 59)
        await connected.ask(1)
    assert connected.emulator.token_calls == calls + 1
    await one_step(connected)


@pytest.mark.parametrize("fault", [ResetAfterProcessing(), Truncated(), Status(500, processed=True)])
async def test_provider_answers_nothing_and_has_rotated_grace(vault: Vault, fault: Fault):
    await connect(vault, GRACE)
    vault.emulator.faults.next(fault)
    await vault.ask(1)
    await due_in_the_grace(vault)
    await one_step(vault)


@pytest.mark.parametrize("fault", [ResetAfterProcessing(), Truncated(), Status(500, processed=True)])
async def test_provider_answers_nothing_and_has_rotated_strict(connected: Vault, fault: Fault):
    connected.emulator.faults.next(fault)
    await connected.ask(1)
    assert (await connected.grant()).state is GrantState.UNKNOWN
    assert (await connected.token()).generation == 1
    await due(connected)
    assert (await connected.grant()).state is GrantState.REAUTH_REQUIRED
    assert connected.events == ["credential.refresh_failed", "credential.reauth_required"]


@pytest.mark.parametrize("fault", [Html(), Html(502), Status(500), Status(503), ResetBefore()])
async def test_provider_answers_nothing_and_has_not_rotated_strict(connected: Vault, fault: Fault):
    connected.emulator.faults.next(fault)
    await connected.ask(1)
    await due(connected)
    assert connected.events[-1] in ("credential.recovered", "credential.refreshed")
    await one_step(connected)


async def test_provider_sends_no_refresh_token(connected: Vault):
    connected.emulator.faults.next(DropRefreshToken())
    await connected.ask(1)
    await one_step(connected)


async def test_provider_sends_the_same_refresh_token(vault: Vault):
    await connect(vault, Rotation(rotates=False))
    await vault.ask(1)
    await one_step(vault)


async def test_provider_sends_the_same_refresh_token_strict(connected: Vault):
    """Against its declaration: what it sends is kept, and goes on working."""
    connected.emulator.behaviour = Behaviour(rotates=False)
    before = await connected.grant()
    await connected.ask(1)
    assert (await one_step(connected)).credential_fingerprint == before.credential_fingerprint


# --------------------------------------------------------------------------------- process, queue, cache


async def test_asked_to_stop_during_the_exchange(connected: Vault):
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    draining = asyncio.create_task(connected.refreshers[0].drain())
    await asyncio.sleep(0)
    hang.release()
    await draining
    grant = await connected.grant()
    await asking
    assert (grant.generation, grant.state) == (2, GrantState.ACTIVE)


async def test_duplicate_and_out_of_order_events(connected: Vault):
    calls = connected.emulator.token_calls
    await connected.ask(1, times=3)
    await connected.ask(0, times=3)
    await connected.ask(7)
    await connected.ask(1, times=3, reason=Reason.DUE)
    assert connected.emulator.token_calls == calls + 1


async def test_a_thousand_events_and_one_token(connected: Vault):
    """More than dispensers make of ten thousand agents, for they join them: one request."""
    calls = connected.emulator.token_calls
    await connected.ask(1, times=1000)
    assert connected.emulator.token_calls == calls + 1


async def test_cache_down(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """The database has the token too."""

    async def failing(*_: object) -> Never:
        raise CacheUnavailable("Made to fail.")

    with monkeypatch.context() as down:
        down.setattr(connected.cache, "put_if_newer", failing)
        down.setattr(connected.cache, "get_many", failing)
        await connected.ask(1)
    grant = await connected.grant()
    assert grant.sealed_token is not None
    assert open_token(connected.keys, grant.service, grant.owner, grant.sealed_token).generation == 2
    assert connected.spooled() == []


async def test_cache_full(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """It keeps the old token, and once that has ended the new one comes from the database."""
    calls = connected.emulator.token_calls
    connected.clock.advance(0.7 * HOUR)

    async def full(*_: object) -> Never:
        raise CacheUnavailable("Made to fail.")

    with monkeypatch.context() as filled:
        filled.setattr(connected.cache, "put_if_newer", full)
        await connected.ask(1)
        assert connected.events == ["credential.refreshed"]
        assert (await connected.token()).generation == 1
        connected.clock.advance(0.7 * HOUR)
        reply = await asked(connected, TokenCall(service=SERVICE))
    assert (reply.code, reply.generation) == (Code.OK, 2)
    assert connected.emulator.token_calls == calls + 1


async def test_cache_emptied(connected: Vault):
    calls = connected.emulator.token_calls
    connected.cache.flush()
    await connected.ask(1)
    assert connected.emulator.token_calls == calls + 1
    await one_step(connected)


async def test_broker_does_not_confirm_an_event(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """It stays in the outbox with an id of its own, and the refresh stands."""
    published = connected.bus.publish

    async def without_events(message: Outgoing) -> None:
        if message.exchange == EVENTS_EXCHANGE:
            raise BusUnavailable("Made to fail.")
        await published(message)

    with monkeypatch.context() as down:
        down.setattr(connected.bus, "publish", without_events)
        await connected.ask(1)
    written_before = connected.clock() + timedelta(seconds=1)
    [event] = await connected.store.outbox.pending(10, written_before=written_before)
    assert event.type.value == "credential.refreshed"
    await one_step(connected)


# ------------------------------------------------------------------------------------------ keys, clock


async def test_key_missing(connected: Vault, monkeypatch: pytest.MonkeyPatch):
    """Nothing is sent, nothing is lost, and the grant is not to blame."""
    before, calls = await connected.grant(), connected.emulator.token_calls
    rotation = connected.refreshers[0]._rotation
    without = replace(rotation._bench, keys=replace(connected.keys, grant_private={}))
    with monkeypatch.context() as locked:
        locked.setattr(rotation, "_bench", without)
        await connected.ask(1)
    assert await connected.grant() == before
    assert connected.emulator.token_calls == calls


@pytest.mark.parametrize("hours", [1, -1])
async def test_clock_jumps_during_the_exchange(connected: Vault, hours: int):
    """A token's life is counted from when it was asked for: no jump makes it longer."""
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asked_at = connected.clock()
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    connected.clock.advance(hours * HOUR)
    hang.release()
    await asking
    grant = await connected.grant()
    assert grant.generation == 2
    assert grant.token_expires_at is not None
    assert (grant.token_expires_at - asked_at).total_seconds() == pytest.approx(HOUR, abs=5)


async def flip(vault: Vault, column: SealedColumn) -> None:
    """A bit of the oldest value."""
    table, name = column.split(".")
    oldest = f"FROM {table} WHERE {name} IS NOT NULL ORDER BY rowid LIMIT 1"
    async with vault.store._database.writing() as connection:
        row, sealed = (await connection.execute(text(f"SELECT rowid, {name} {oldest}"))).one()
        flipped = {"row": row, "flipped": sealed[:-1] + bytes([sealed[-1] ^ 1])}
        await connection.execute(text(f"UPDATE {table} SET {name} = :flipped WHERE rowid = :row"), flipped)


@pytest.fixture
async def both(connected: Vault) -> Vault:
    """Two owners' grants, and what is told of their provider is heard too."""
    await connected.connect(owner=BOB)
    connected.bus.subscribe("provider.*", connected._hear)
    connected.events.clear()
    return connected


async def test_bit_flip_in_a_credential(both: Vault):
    """It does not open, its owner is asked, and nobody else is touched."""
    await flip(both, SealedColumn.CREDENTIALS)
    calls = both.emulator.token_calls
    await both.ask(1)
    await both.ask(1, owner=BOB)
    grant = await both.grant()
    assert (grant.state, grant.last_error) == (GrantState.REAUTH_REQUIRED, "seal_broken")
    assert (await both.grant(BOB)).generation == 2
    assert both.emulator.token_calls == calls + 1


async def test_bit_flip_in_a_providers_secrets(both: Vault):
    """No grant is to blame: people are told, and all go on once it is declared anew."""
    before = [await both.grant(), await both.grant(BOB)]
    calls = both.emulator.token_calls
    await flip(both, SealedColumn.PROVIDER_SECRETS)
    both.clock.advance(FRESH_SECONDS)
    for owner in (OWNER, BOB):
        await both.ask(1, owner=owner)
    assert [await both.grant(), await both.grant(BOB)] == before
    assert (both.events, both.emulator.token_calls) == (["provider.incident"], calls)
    await both.declare(Rotation())
    both.clock.advance(CIRCUIT_OPEN_SECONDS)
    for owner in (OWNER, BOB):
        await both.ask(1, owner=owner)
    assert [(await both.grant(owner)).generation for owner in (OWNER, BOB)] == [2, 2]


async def test_bit_flip_in_a_stored_token(both: Vault):
    """With the cache empty too there is none, and that costs a refresh and no more."""
    await flip(both, SealedColumn.TOKENS)
    both.cache.flush()
    calls = both.emulator.token_calls
    reply = await asked(both, TokenCall(service=SERVICE))
    assert (reply.code, reply.generation) == (Code.OK, 2)
    assert (await both.grant(BOB)).generation == 1
    assert both.emulator.token_calls == calls + 1


async def test_bit_flip_in_an_enrolment(vault: Vault):
    """It fails by itself, and what was presented beside it is redeemed."""
    provider = await vault.declare()
    ids = []
    for owner in (OWNER, BOB):
        presented = RefreshToken(value=Secret(vault.emulator.issue_refresh_token(owner)))
        ids.append(
            await present(
                vault.store, vault.bus, vault.keys, vault.clock,
                service=SERVICE, owner=owner, presented=presented, client=provider.client,
            )
        )  # fmt: skip
    await flip(vault, SealedColumn.ENROLMENTS)
    await vault.refresher()
    ended = [await outcome(vault.store, enrolment_id) for enrolment_id in ids]
    assert [(one.state, one.error) for one in ended if one] == [
        (EnrolmentState.FAILED, "seal_broken"),
        (EnrolmentState.DONE, None),
    ]


async def test_bit_flip_in_a_handback(both: Vault):
    """The provider cannot be told, which the audit says; of the other it is."""
    await both.declare(Rotation(), revocation_url=both.emulator.revocation_url)
    both.clock.advance(FRESH_SECONDS)
    for owner in (OWNER, BOB):
        await both.connect(owner=owner)
        await revoke_grant(both.store, both.cache, await both.grant(owner), both.clock())
    await flip(both, SealedColumn.HANDBACKS)
    both.clock.advance(FRESH_SECONDS)
    await Scheduler(both.store, both.bus, both.clock, 0.5).announce()
    await both.settled()
    records = await both.store.audit.query(AuditFilter(service=SERVICE))
    told = {record.owner: record.outcome for record in records if record.action == "grant.handed_back"}
    assert told == {OWNER: "seal_broken", BOB: "ok"}
    assert both.emulator.outcomes["revoked"] == 1


async def test_bit_flip_in_a_spooled_answer(vault: Vault):
    await connect(vault, GRACE)
    vault.rotations.commits_fail = True
    await vault.ask(1)
    vault.rotations.commits_fail = False
    [path] = vault.spool_files()
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    await vault.refresher()
    await due(vault)
    await one_step(vault)


async def test_redis_fails_over(vault: Vault, watched_redis: WatchedRedis):
    """Tokens are served all the while, the new primary is found, and nothing is refreshed for it."""
    async with behind(vault, watched_redis.url):
        await connect(vault, Rotation())
        served = await asked(vault, TokenCall(service=SERVICE))
        calls = vault.emulator.token_calls
        watched_redis.primary.kill()
        replies = [await asked(vault, TokenCall(service=SERVICE))]
        async with asyncio.timeout(FAILOVER_SECONDS):
            while not await takes_writes(vault.cache):
                pass
        replies.append(await asked(vault, TokenCall(service=SERVICE)))
        # At the worst, the replica had got nothing yet of what the primary had.
        async with Redis.from_url(watched_redis.replica.url) as replica:
            await replica.flushall()
        replies.append(await asked(vault, TokenCall(service=SERVICE)))
        assert [reply.access_token for reply in replies] == [served.access_token] * 3
        assert (await vault.token()).generation == 1
        assert vault.emulator.token_calls == calls
        await vault.ask(1)
        await one_step(vault)


@asynccontextmanager
async def behind(vault: Vault, cache_url: str) -> AsyncIterator[None]:
    """All of the vault that starts from here on has this cache."""
    vault.cache = cache = RedisCache.open(cache_url)
    yield
    await vault.settled()
    await cache.close()


async def takes_writes(cache: Cache) -> bool:
    """As a replica does not, and nobody for a while."""
    try:
        return await cache.put_if_newer("written", time.time_ns(), b"", 60)
    except CacheUnavailable:
        await asyncio.sleep(0.02)
        return False
