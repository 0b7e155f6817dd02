"""The request path: what an agent is answered, what it costs, and what the audit keeps of it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from builders import KEYS, OTHER_KEYS, VAULT, a_policy, a_service, a_vault_token
from integration.desk import PLACE, Desk

from dispenser import refresh_wait
from dispenser.protocol import ChildCall, Code, RejectedCall, RenewCall, Reply, TokenCall
from dispenser.revoke import revoke_agent, revoke_grant, revoke_subject
from dispenser.vault_token import verify
from shared import envelope
from shared.cache_keys import token_key
from shared.errors import CacheUnavailable
from shared.model import AgentName, Effect, GrantState, RevocationKind


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    desk = Desk(tmp_path)
    await desk.open()
    yield desk
    await desk.close()


async def test_a_cached_token_is_handed_out_and_neither_database_nor_bus_is_asked(desk: Desk) -> None:
    await desk.grant()
    desk.grants.asked.clear()
    reply = await desk.ask()
    assert (reply.code, reply.access_token, reply.generation) == (Code.OK, "token-1", 1)
    assert reply.scopes == ("tasks:write",)
    assert reply.expires_in is not None
    assert desk.grants.asked == []
    assert desk.urgent == []
    assert desk.lookups.asked.count("get_many") == 1


async def test_a_cache_that_lost_everything_costs_a_read_and_heals(desk: Desk) -> None:
    await desk.grant(cached=False)
    assert (await desk.ask()).access_token == "token-1"
    desk.grants.asked.clear()
    assert (await desk.ask()).access_token == "token-1"
    assert desk.grants.asked == []


async def test_two_hundred_askers_cause_one_refresh_and_get_the_same_token(desk: Desk) -> None:
    await desk.grant(left=-5)
    desk.refresher = desk.rotate
    replies = await asyncio.gather(*(desk.ask() for _ in range(200)))
    assert {(reply.code, reply.access_token) for reply in replies} == {(Code.OK, "token-2")}
    assert len(desk.urgent) == 1


@pytest.mark.parametrize(("refreshed", "code"), [(True, Code.OK), (False, Code.PROVIDER_DOWN)])
async def test_ten_thousand_askers_cause_one_refresh_and_all_are_told_what_came_of_it(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, refreshed: bool, code: Code
) -> None:
    """Who was forgotten would wait far beyond any test's patience."""
    monkeypatch.setattr(refresh_wait, "LONGEST_SECONDS", 1e6)
    await desk.grant(left=-5)
    desk.refresher = desk.rotate if refreshed else desk.fail
    replies = await asyncio.gather(*(desk.ask(seconds=1e6) for _ in range(10_000)))
    assert {(reply.code, reply.access_token) for reply in replies} == {
        (code, "token-2" if refreshed else None)
    }
    assert len(desk.urgent) == 1


async def test_a_caller_that_goes_away_does_not_end_the_wait_of_others(desk: Desk) -> None:
    await desk.grant(left=-5)
    asked, gate = asyncio.Event(), asyncio.Event()

    async def slowly(event: object) -> None:
        asked.set()
        await gate.wait()
        await desk.rotate(event)  # type: ignore[arg-type]

    desk.refresher = slowly
    first, second = asyncio.create_task(desk.ask()), asyncio.create_task(desk.ask())
    await asked.wait()
    first.cancel()
    gate.set()
    assert (await second).access_token == "token-2"
    assert len(desk.urgent) == 1


async def test_a_refresh_that_does_not_come_is_told_at_the_deadline(desk: Desk) -> None:
    await desk.grant(left=-5)

    async def late(_event: object) -> None:
        desk.time += timedelta(seconds=10)

    desk.refresher = late
    assert (await desk.ask(seconds=0.1)).code is Code.DEADLINE_EXCEEDED


@pytest.mark.parametrize(("min_ttl", "code"), [(None, Code.OK), (60.0, Code.DEADLINE_EXCEEDED)])
async def test_a_token_still_good_serves_when_the_refresh_does_not_come_unless_more_life_is_stated(
    desk: Desk, min_ttl: float | None, code: Code
) -> None:
    await desk.grant(left=30)

    async def late(_event: object) -> None:
        desk.time += timedelta(seconds=10)

    desk.refresher = late
    call = TokenCall(service="time-tracker", min_ttl=min_ttl)
    assert (await desk.ask(call, seconds=0.1)).code is code


async def test_a_provider_that_fails_is_told_with_when_to_ask_again(desk: Desk) -> None:
    await desk.grant(left=-5)
    desk.refresher = desk.fail
    reply = await desk.ask()
    assert (reply.code, reply.retry_after) == (Code.PROVIDER_DOWN, 30.0)
    assert (await desk.ask()).code is Code.PROVIDER_DOWN
    assert len(desk.urgent) == 1


async def test_more_life_than_fresh_tokens_have_is_refused_after_one_refresh_at_most(desk: Desk) -> None:
    await desk.grant(left=100)
    desk.refresher = desk.rotate
    assert (await desk.ask(TokenCall(service="time-tracker", min_ttl=3600))).code is Code.TTL_UNAVAILABLE
    assert desk.urgent == []
    assert (await desk.ask(TokenCall(service="time-tracker", min_ttl=3598.5))).code is Code.OK
    assert len(desk.urgent) == 1


async def test_a_missing_scope_is_named_with_where_to_consent(desk: Desk) -> None:
    await desk.grant()
    reply = await desk.ask(TokenCall(service="time-tracker", scopes=("tasks:write", "tasks:read")))
    assert (reply.code, reply.missing_scopes) == (Code.INSUFFICIENT_SCOPE, ("tasks:read",))
    assert reply.connect_url == "https://vault.example/connect/time-tracker/ada"


async def test_an_owner_who_has_not_connected_is_sent_to_connect(desk: Desk) -> None:
    reply = await desk.ask()
    assert (reply.code, reply.connect_url) == (
        Code.REAUTH_REQUIRED,
        "https://vault.example/connect/time-tracker/ada",
    )


async def test_what_exists_cannot_be_told_apart_without_rights(desk: Desk) -> None:
    await desk.grant()
    intern = desk.identity(agent=AgentName("intern"))
    refusals = [await desk.ask(TokenCall(service=s), identity=intern) for s in ("time-tracker", "nothing")]
    assert {(reply.code, reply.reason, reply.connect_url) for reply in refusals} == {
        (Code.DENIED, refusals[0].reason, None)
    }
    assert (await desk.ask(TokenCall(service="nothing"))).code is Code.NOT_FOUND
    assert (await desk.ask(TokenCall(service="time-tracker", owner="grace"))).code is Code.DENIED


@pytest.mark.parametrize("scopes", [None, ("tasks:read",)])
async def test_a_token_that_carries_more_than_a_policy_allows_is_not_had_by_naming_less(
    desk: Desk, scopes: tuple[str, ...] | None
) -> None:
    both = ("tasks:read", "tasks:write")
    await desk.declare(services=[a_service(scopes=both)], policies=[a_policy(scopes=("tasks:read",))])
    await desk.look()
    await desk.grant(cached=False)
    await desk.put(desk.token(1, scopes=both))
    reply = await desk.ask(TokenCall(service="time-tracker", scopes=scopes))
    assert (reply.code, reply.access_token) == (Code.DENIED, None)


async def test_a_policy_shortens_how_long_a_token_may_be_kept(desk: Desk) -> None:
    await desk.grant()
    await desk.declare(policies=[a_policy(max_ttl_seconds=300)])
    await desk.look()
    assert (await desk.ask()).expires_in == 300


async def test_a_changed_policy_holds_after_the_next_look(desk: Desk) -> None:
    await desk.grant()
    await desk.declare(policies=[a_policy(), a_policy(name="no", effect=Effect.DENY)])
    assert (await desk.ask()).code is Code.OK
    await desk.look()
    assert (await desk.ask()).code is Code.DENIED


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        (RevocationKind.ALL, ""),
        (RevocationKind.AGENT, "tracker"),
        (RevocationKind.SESSION, "session-1"),
        (RevocationKind.OWNER, "ada"),
    ],
)
async def test_a_revocation_holds_from_the_next_request_on_and_for_older_tokens_alone(
    desk: Desk, kind: RevocationKind, subject: str
) -> None:
    await desk.grant()
    before = desk.identity()
    await revoke_subject(desk.store, desk.cache, kind, subject, desk.time)
    assert (await desk.ask(identity=before)).code is Code.UNAUTHENTICATED
    assert (await desk.ask(RenewCall(), identity=before)).code is Code.UNAUTHENTICATED
    desk.time += timedelta(microseconds=1)
    assert (await desk.ask()).code is Code.OK


async def test_a_flushed_cache_revives_nobody(desk: Desk) -> None:
    await desk.grant()
    before = desk.identity()
    await revoke_subject(desk.store, desk.cache, RevocationKind.SESSION, "session-1", desk.time)
    await desk.look()
    desk.cache.flush()
    assert (await desk.ask(identity=before)).code is Code.UNAUTHENTICATED


async def test_a_revoked_agent_gets_nothing_and_renews_nothing_until_it_is_restored(desk: Desk) -> None:
    await desk.grant()
    assert await revoke_agent(desk.store, desk.cache, AgentName("tracker"), desk.time)
    assert not await revoke_agent(desk.store, desk.cache, AgentName("nobody"), desk.time)
    await desk.look()
    desk.time += timedelta(seconds=1)
    assert (await desk.ask()).code is Code.UNAUTHENTICATED
    assert (await desk.ask(RenewCall())).code is Code.UNAUTHENTICATED
    await desk.store.catalogue.set_agent_revoked(AgentName("tracker"), None)
    await desk.look()
    assert (await desk.ask()).code is Code.OK


async def test_an_undeclared_agent_gets_nothing(desk: Desk) -> None:
    assert (await desk.ask(identity=desk.identity(agent=AgentName("stranger")))).code is Code.UNAUTHENTICATED


async def test_a_revoked_grant_hands_out_nothing_though_its_token_was_cached(desk: Desk) -> None:
    grant = await desk.grant()
    assert await revoke_grant(desk.store, desk.cache, grant, desk.time)
    assert (await desk.ask()).code is Code.REAUTH_REQUIRED
    await desk.put(desk.token(1))  # a late writer
    assert (await desk.ask()).code is Code.REAUTH_REQUIRED


async def test_with_the_database_down_cached_tokens_are_served_and_nothing_else(desk: Desk) -> None:
    await desk.grant()
    await desk.store.close()
    assert (await desk.ask()).code is Code.OK
    desk.cache.flush()
    assert (await desk.ask()).code is Code.OVERLOADED


@pytest.fixture
def no_cache(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unavailable(*_arguments: object) -> None:
        raise CacheUnavailable("Made to fail.")

    monkeypatch.setattr(desk.cache, "get_many", unavailable)
    monkeypatch.setattr(desk.cache, "put_if_newer", unavailable)


async def test_with_the_cache_down_the_database_answers(desk: Desk, no_cache: None) -> None:
    await desk.grant(cached=False)
    assert (await desk.ask()).access_token == "token-1"


async def test_with_the_cache_down_what_is_known_to_be_revoked_stays_so(desk: Desk, no_cache: None) -> None:
    await desk.grant(cached=False)
    before = desk.identity()
    await revoke_subject(desk.store, desk.cache, RevocationKind.OWNER, "ada", desk.time)
    await desk.look()
    assert (await desk.ask(identity=before)).code is Code.UNAUTHENTICATED
    assert (await desk.ask(RenewCall(), identity=before)).code is Code.UNAUTHENTICATED


async def test_with_the_cache_and_the_database_down_nothing_is_handed_out(desk: Desk, no_cache: None) -> None:
    await desk.grant(cached=False)
    await desk.store.close()
    assert (await desk.ask()).code is Code.OVERLOADED


@pytest.mark.parametrize(
    ("left", "min_ttl", "code"),
    [(3600, None, Code.OK), (30, None, Code.OK), (30, 60.0, Code.OVERLOADED), (-5, None, Code.OVERLOADED)],
)
async def test_with_the_broker_down_what_is_good_is_served_and_no_refresh_is_waited_for(
    desk: Desk, left: float, min_ttl: float | None, code: Code
) -> None:
    """The call would fail by its deadline if it waited: that is far beyond any test's patience."""
    await desk.grant(left=left)
    await desk.bus.close()
    reply = await desk.ask(TokenCall(service="time-tracker", min_ttl=min_ttl), seconds=1e6)
    assert reply.code is code
    assert (reply.access_token is not None) == (code is Code.OK)


async def test_a_poisoned_cache_hands_out_nothing(desk: Desk) -> None:
    await desk.grant(cached=False)
    await desk.cache.put_if_newer(token_key(*PLACE), 9, b"x" * 200, None)
    assert (await desk.ask()).access_token == "token-1"


async def test_a_cached_token_whose_key_has_gone_costs_one_read_and_heals(desk: Desk) -> None:
    await desk.grant(cached=False)
    foreign = envelope.seal_token(OTHER_KEYS, *PLACE, desk.token(1))
    await desk.cache.put_if_newer(token_key(*PLACE), 1, foreign, None)
    assert (await desk.ask()).access_token == "token-1"
    desk.grants.asked.clear()
    assert (await desk.ask()).access_token == "token-1"
    assert desk.grants.asked == []


async def test_a_poisoned_cache_stays_as_it_is_and_is_passed_over(desk: Desk) -> None:
    """Were it healed, a version of the poisoner's choice would keep newer tokens and tombstones out."""
    await desk.grant(cached=False)
    altered = envelope.seal_token(KEYS, *PLACE, desk.token(9))[:-1]
    await desk.cache.put_if_newer(token_key(*PLACE), 9, altered, None)
    for _ in range(2):
        desk.grants.asked.clear()
        assert (await desk.ask()).access_token == "token-1"
        assert desk.grants.asked == ["find"]


async def test_no_token_leaves_unaudited(desk: Desk) -> None:
    await desk.grant()
    desk.journal.broken = True
    reply = await desk.ask()
    assert (reply.code, reply.access_token) == (Code.OVERLOADED, None)
    desk.journal.broken = False
    assert (await desk.ask()).code is Code.OK


async def test_every_decision_is_recorded_and_no_secret_in_it(desk: Desk) -> None:
    await desk.grant()
    await desk.ask(TokenCall(service="time-tracker", purpose="daily digest"))
    await desk.ask(identity=desk.identity(agent=AgentName("intern")))
    handed, denied = desk.journal.records
    assert (handed.action, handed.outcome, handed.policy) == ("token.dispensed", "ok", "trackers")
    assert (handed.agent, handed.session, handed.owner) == ("tracker", "session-1", "ada")
    assert (handed.generation, handed.purpose, handed.door) == (1, "daily digest", "test")
    assert len(handed.fingerprint) == 32
    assert (denied.action, denied.outcome, denied.reason) == (
        "token.denied",
        "denied",
        "No policy allows it.",
    )
    assert "token-1" not in repr(desk.journal.records)


async def test_many_reports_of_a_rejected_token_make_one_refresh_and_old_ones_none(desk: Desk) -> None:
    await desk.grant()
    desk.refresher = desk.rotate
    report = RejectedCall(service="time-tracker", generation=1)
    replies = await asyncio.gather(*(desk.ask(report) for _ in range(50)))
    assert {(reply.code, reply.generation) for reply in replies} == {(Code.OK, 2)}
    assert len(desk.urgent) == 1
    assert (await desk.ask(report)) == Reply(code=Code.OK, service="time-tracker", generation=2)
    assert len(desk.urgent) == 1
    assert (await desk.ask()).access_token == "token-2"


async def test_a_token_that_was_never_issued_is_not_rejected(desk: Desk) -> None:
    """Else one report could have the provider asked on and on."""
    await desk.grant()
    reply = await desk.ask(RejectedCall(service="time-tracker", generation=2))
    assert reply.code is Code.INVALID_REQUEST
    assert desk.urgent == []


async def test_a_rejected_token_of_a_grant_that_only_the_owner_can_mend_says_so(desk: Desk) -> None:
    await desk.grant(state=GrantState.REAUTH_REQUIRED, last_error="invalid_grant")
    reply = await desk.ask(RejectedCall(service="time-tracker", generation=1))
    assert reply.code is Code.REAUTH_REQUIRED


async def test_a_rejected_token_that_nothing_renews_is_answered_at_once_and_stays_for_others(
    desk: Desk,
) -> None:
    await desk.grant(token_expires_at=None, refresh_at=None)
    reply = await desk.ask(RejectedCall(service="time-tracker", generation=1))
    assert reply.code is Code.REAUTH_REQUIRED
    assert reply.connect_url == "https://vault.example/connect/time-tracker/ada"
    assert desk.urgent == []
    assert (await desk.ask()).code is Code.OK


async def test_a_renewed_vault_token_speaks_for_the_same_session(desk: Desk) -> None:
    reply = await desk.ask(RenewCall())
    assert reply.code is Code.OK
    renewed = verify(KEYS, str(reply.access_token), vault=VAULT, now=desk.time)
    assert (renewed.agent, renewed.session, renewed.owner) == ("tracker", "session-1", "ada")
    assert renewed.token_id == "new-id"


async def test_a_vault_token_is_verified_and_garbage_refused(desk: Desk) -> None:
    lives = {"issued_at": desk.time, "expires_at": desk.time + timedelta(minutes=5)}
    identity = await desk.dispenser.authenticate(a_vault_token(**lives), door="test")
    assert not isinstance(identity, Reply)
    assert identity.agent == "tracker"
    desk.time += timedelta(minutes=6)
    expired = await desk.dispenser.authenticate(a_vault_token(**lives), door="test")
    assert isinstance(expired, Reply)
    assert expired.code is Code.UNAUTHENTICATED


async def test_a_bound_vault_token_is_good_where_its_own_key_is_proven_and_nowhere_else(desk: Desk) -> None:
    bound = a_vault_token(
        issued_at=desk.time, expires_at=desk.time + timedelta(minutes=5), key="the agent's key"
    )
    for proven in (None, "another key"):
        refusal = await desk.dispenser.authenticate(bound, door="test", proven=proven)
        assert isinstance(refusal, Reply)
        assert refusal.code is Code.UNAUTHENTICATED
    taken = await desk.dispenser.authenticate(bound, door="test", proven="the agent's key")
    assert not isinstance(taken, Reply)
    renewal = await desk.ask(RenewCall(), identity=taken)
    assert renewal.token_type == "DPoP"
    assert verify(KEYS, str(renewal.access_token), vault=VAULT, now=desk.time).key == "the agent's key"


async def test_a_child_is_had_over_the_wire_protocol_too_and_only_with_a_durable_record(desk: Desk) -> None:
    await desk.grant()
    reply = await desk.ask(ChildCall(services=("time-tracker",), ttl=60))
    child = verify(KEYS, str(reply.access_token), vault=VAULT, now=desk.time)
    assert (await desk.ask(identity=child)).code is Code.OK
    assert (await desk.ask(TokenCall(service="slack-post"), identity=child)).code is Code.DENIED
    desk.journal.broken = True
    assert (await desk.ask(ChildCall(ttl=60))).access_token is None


async def test_a_child_whose_vault_token_nobody_could_use_is_not_made(desk: Desk) -> None:
    scopes = tuple(f"scope-{number:0400}" for number in range(10))
    await desk.declare(services=[a_service(scopes=scopes)], policies=[a_policy()])
    await desk.look()
    reply = await desk.ask(ChildCall(scopes=scopes))
    assert (reply.code, reply.access_token) == (Code.DENIED, None)
    assert "too long" in reply.reason
