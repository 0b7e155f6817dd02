"""What refreshing costs users of other vaults, one pain a test: this vault does not inflict it.

The numbers in the names are those of the list of pains that the project collected from other vaults' issues.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from integration.asking import asked
from integration.refreshing import OWNER, SERVICE, Vault
from structlog.testing import capture_logs

from dispenser.decision import Hand, Refresh, Refuse, Want, decide
from dispenser.declared import parse
from dispenser.protocol import Code, RejectedCall
from dispenser.revoke import revoke_grant
from dispenser.testing import Behaviour, Emulator
from dispenser.testing.codes import challenge_of
from dispenser.testing.faults import (
    Canned,
    DropRefreshToken,
    Empty,
    ErrorAnswer,
    Fault,
    FormEncoded,
    Hang,
    Html,
    InvalidClient,
    RateLimited,
    Reply,
    ResetAfterProcessing,
    ResetBefore,
    Status,
    Truncated,
)
from shared.envelope import open_credential, seal_provider_secrets
from shared.messages import ExpiryEvent, Reason, encode
from shared.model import (
    AnswerPath,
    AuthorizationCode,
    ClientAuth,
    Credential,
    EnrolmentState,
    ExpiryUnit,
    GrantState,
    OnReuse,
    Owner,
    ProviderSecrets,
    RefreshToken,
    RefusalKind,
    Rotation,
    ServiceName,
)
from shared.ports import Declared, Delivery
from shared.secret import Secret
from shared.topology import URGENT_KEY
from workers.decision import FAILURES_UNTIL_FAILING
from workers.scheduler import Scheduler

GRACE = Rotation(grace_seconds=30, on_reuse=OnReuse.DENY)
STEADY = Rotation(rotates=False, on_reuse=OnReuse.DENY)
DAY = 86_400
SLACK = Path(__file__).parents[2] / "examples/providers/slack.yaml"
BOT, USER = ServiceName("slack-post"), ServiceName("slack-search")
CALLBACK = "http://127.0.0.1:8765/callback"
VERIFIER = "a-verifier-of-the-length-that-rfc-7636-asks-for"


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
async def vault(tmp_path: Path, emulator: Emulator) -> AsyncIterator[Vault]:
    vault = Vault(tmp_path, emulator)
    await vault.open()
    await vault.refresher()
    yield vault
    await vault.close()


@pytest.fixture
async def connected(vault: Vault) -> Vault:
    """A strictly rotating provider and a grant at generation 1."""
    await vault.declare()
    assert (await vault.connect()).state is EnrolmentState.DONE
    vault.events.clear()
    return vault


async def credential(vault: Vault) -> Credential:
    return open_credential(vault.keys, await vault.grant())


async def consented(vault: Vault, scopes: str = "tasks:write chat:write") -> AuthorizationCode:
    """What a callback brings once the owner has agreed."""
    asked = {
        "response_type": "code", "client_id": vault.emulator.client_id, "redirect_uri": CALLBACK,
        "state": "s", "scope": scopes, "code_challenge_method": "S256",
        "code_challenge": challenge_of(VERIFIER), "login_hint": OWNER,
    }  # fmt: skip
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(vault.emulator.authorization_url, params=asked)
    [code] = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    return AuthorizationCode(
        code=Secret(code), verifier=Secret(VERIFIER), redirect_uri=CALLBACK, scopes=tuple(scopes.split())
    )


def a_delivery(body: bytes) -> Delivery:
    """As the broker hands it to a consumer."""
    return Delivery(
        body=body,
        headers={},
        routing_key=URGENT_KEY,
        correlation_id=None,
        reply_to=None,
        user_id=None,
        expiration_seconds=None,
        redelivered=False,
    )


async def lives_seconds(vault: Vault) -> float:
    """How long the token that is served lives, as the vault believes."""
    token = await vault.token()
    assert token.expires_at is not None
    return (token.expires_at - token.issued_at).total_seconds()


async def test_pain_01_parallel_refreshes_burn_the_refresh_token(connected: Vault):
    await connected.refresher("refresher-2", spool="spool-2")
    calls = connected.emulator.token_calls
    await connected.ask(1, times=200)
    await connected.ask(1, times=200, reason=Reason.DUE)
    assert connected.emulator.token_calls == calls + 1
    assert (connected.emulator.overlaps, connected.emulator.reuses) == (0, 0)


async def test_pain_02_a_losers_invalid_grant_kills_the_winners_credential(connected: Vault):
    hang = Hang()
    connected.emulator.faults.next(hang)
    losing = asyncio.create_task(connected.ask(1))
    await hang.reached()
    [intent] = await connected.store.rotations.open_intents()
    await connected.store.rotations.release(intent, "lost its lock", connected.clock())
    winner = await connected.refresher("refresher-2", spool="spool-2")
    await winner._rotation.run((await connected.grant()).id, 1)
    hang.release()
    await losing
    grant = await connected.grant()
    assert connected.emulator.outcomes["reused"] == 1
    assert (grant.state, grant.generation) == (GrantState.ACTIVE, 2)
    assert "credential.reauth_required" not in connected.events


async def test_pain_03_a_replay_makes_the_provider_revoke_the_whole_family(connected: Vault):
    connected.emulator.faults.next(ResetAfterProcessing())
    await connected.ask(1)
    for _ in range(5):
        await connected.ask(1)
        connected.clock.advance(120)
    assert connected.emulator.refreshes == 2
    assert connected.emulator.reuses == 0
    assert (await connected.token()).generation == 1


async def test_pain_04_the_rotated_refresh_token_is_not_persisted(connected: Vault):
    connected.rotations.commits_fail = True
    await connected.ask(1)
    connected.rotations.commits_fail = False
    await connected.refresher()
    await connected.ask(2)
    assert (await connected.grant()).generation == 3
    assert connected.emulator.reuses == 0


async def test_pain_05_a_caller_that_is_cancelled_takes_the_rotation_along(connected: Vault):
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    event = ExpiryEvent(grant_id=(await connected.grant()).id, generation=1, reason=Reason.MISS)
    asking = asyncio.create_task(connected.refreshers[0]._handle(a_delivery(encode(event))))
    await hang.reached()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    hang.release()
    await connected.settled()
    assert (await connected.grant()).generation == 2


async def test_pain_06_an_answer_without_refresh_token_or_scope_wipes_the_stored_ones(vault: Vault):
    await vault.declare(scopes=["tasks:write"])
    await vault.connect(await consented(vault, "tasks:write"))
    parent = await credential(vault)
    vault.emulator.behaviour = Behaviour(omit_scope=True)
    vault.emulator.faults.next(DropRefreshToken())
    await vault.ask(1)
    grant = await vault.grant()
    assert (grant.generation, grant.scopes) == (2, ("tasks:write",))
    assert await credential(vault) == parent


@pytest.mark.parametrize("words", ["in_200", "ok_false"])
async def test_pain_07_an_error_under_status_200_is_taken_for_success(connected: Vault, words: str):
    connected.emulator.behaviour = Behaviour(refusals=words, codes={"invalid_grant": "bad_refresh_token"})
    connected.emulator.revoke_all()
    await connected.ask(1)
    grant = await connected.grant()
    assert (grant.state, grant.generation) == (GrantState.REAUTH_REQUIRED, 1)
    assert (await connected.token()).generation == 1


async def test_pain_07_an_empty_answer_is_taken_for_success(connected: Vault):
    connected.emulator.faults.next(Empty())
    await connected.ask(1)
    assert (await connected.grant()).generation == 1


@pytest.mark.parametrize(
    "fault",
    [
        Status(500), Status(502), Status(503), Status(408), Html(502), Html(), Empty(), Truncated(),
        ResetBefore(), RateLimited(), ErrorAnswer("invalid_grant", 500),
        ErrorAnswer("temporarily_unavailable"),
    ],
)  # fmt: skip
async def test_pain_08_what_passes_is_treated_as_dead(vault: Vault, fault: Fault):
    vault.emulator.behaviour = Behaviour(rotates=False)
    await vault.declare(STEADY)
    await vault.connect()
    vault.emulator.faults.next(fault)
    await vault.ask(1)
    grant, token = await vault.grant(), await vault.token()
    assert (grant.state, grant.failures) == (GrantState.ACTIVE, 1)
    assert isinstance(decide(grant, token, Want(), vault.clock()), Hand)
    vault.clock.advance(60)
    await vault.ask(1)
    assert (await vault.grant()).generation == 2


async def test_pain_08_what_is_dead_is_retried_for_ever(connected: Vault):
    connected.emulator.behaviour = Behaviour(refusals="sentences")
    connected.emulator.revoke_all()
    await connected.ask(1)
    assert (await connected.grant()).state is GrantState.REAUTH_REQUIRED
    calls = connected.emulator.token_calls
    connected.clock.advance(DAY)
    await connected.ask(1)
    assert connected.emulator.token_calls == calls


async def test_pain_08_a_providers_own_code_means_what_is_declared(vault: Vault):
    await vault.declare(errors={"AADSTS90033": RefusalKind.TRANSIENT})
    await vault.connect()
    vault.emulator.faults.next(ErrorAnswer("AADSTS90033"))
    await vault.ask(1)
    grant = await vault.grant()
    assert (grant.state, grant.last_error) == (GrantState.ACTIVE, "AADSTS90033")


async def test_pain_09_an_expired_client_secret_breaks_every_connection(connected: Vault):
    await connected.connect(owner=Owner("bob"))
    before = [await connected.grant(owner) for owner in (OWNER, Owner("bob"))]
    connected.emulator.faults.next(InvalidClient())
    await connected.ask(1)
    calls = connected.emulator.token_calls
    await connected.ask(1, owner=Owner("bob"))
    assert [await connected.grant(owner) for owner in (OWNER, Owner("bob"))] == before
    assert connected.emulator.token_calls == calls


async def test_pain_09_a_secret_that_is_replaced_costs_no_refresh(vault: Vault):
    secrets = ProviderSecrets(client_secrets=(Secret("the-old-one"), Secret(vault.emulator.client_secret)))
    await vault.declare(secrets=secrets)
    assert (await vault.connect()).state is EnrolmentState.DONE
    await vault.ask(1)
    assert (await vault.grant()).generation == 2


@pytest.mark.parametrize(
    ("sent", "declared", "seconds"),
    [
        ("omitted", {"default_expires_in_seconds": 900}, 900),
        ("zero", {"default_expires_in_seconds": 900}, 900),
        ("text", {}, 600),
        ("milliseconds", {"expires_in_unit": ExpiryUnit.MILLISECONDS}, 600),
        ("seconds", {"max_expires_in_seconds": 300}, 300),
    ],
)
async def test_pain_10_a_missing_or_odd_expiry(
    vault: Vault, sent: str, declared: dict[str, object], seconds: int
):
    vault.emulator.behaviour = Behaviour(expires_in=sent, access_token_seconds=600)
    await vault.declare(**declared)
    await vault.connect()
    assert await lives_seconds(vault) == pytest.approx(seconds, abs=1)


async def test_pain_10_a_rejected_token_is_served_again(connected: Vault):
    before = await connected.token()
    await connected.ask(1, reason=Reason.REJECTED)
    assert (await connected.token()).value != before.value


async def test_pain_11_a_form_comes_instead_of_json(vault: Vault):
    vault.emulator.behaviour = Behaviour(form_unless_asked=True)
    await vault.declare()
    assert (await vault.connect()).state is EnrolmentState.DONE
    vault.emulator.faults.next(FormEncoded())
    await vault.ask(1)
    assert (await vault.grant()).generation == 2


async def test_pain_12_a_users_tokens_are_nested_on_the_exchange_and_not_on_the_refresh(vault: Vault):
    vault.emulator.behaviour = Behaviour(exchange_member="authed_user", token_type="user")
    await vault.declare(answer_path=AnswerPath(exchange="authed_user"))
    assert (await vault.connect(await consented(vault))).state is EnrolmentState.DONE
    await vault.ask(1)
    assert (await vault.token()).generation == 2
    assert (await vault.token()).token_type == "Bearer"


async def test_pain_12_a_bots_tokens_and_a_users_are_refreshed_as_one(vault: Vault):
    """By Slack's profile they are two services of one app: the end of one pair leaves the other alone."""
    await declare_slack(vault)
    for service, member in ((BOT, ""), (USER, "authed_user")):
        vault.emulator.behaviour = Behaviour(exchange_member=member, scope_separator=",")
        enrolment = await vault.connect(await consented(vault), service=service)
        assert enrolment.state is EnrolmentState.DONE
    await vault.ask(1, service=BOT)
    assert [(await vault.grant(service=service)).generation for service in (BOT, USER)] == [2, 1]
    await vault.ask(1, service=USER)
    user = await vault.grant(service=USER)
    kept = open_credential(vault.keys, user)
    assert isinstance(kept, RefreshToken)
    vault.emulator.revoke_family(kept.value.reveal())
    await vault.ask(2, service=USER)
    await vault.ask(2, service=BOT)
    bot, user = [await vault.grant(service=service) for service in (BOT, USER)]
    assert (bot.state, bot.generation) == (GrantState.ACTIVE, 3)
    assert (user.state, user.generation) == (GrantState.REAUTH_REQUIRED, 2)


async def declare_slack(vault: Vault) -> None:
    """As the example has it, at the emulator's address."""
    profile = parse({SLACK.name: SLACK.read_text()})
    here = {"client_id": vault.emulator.client_id, "token_url": vault.emulator.token_url}
    providers = [replace(provider, **here, insecure_local=True) for provider in profile.providers]
    secrets = ProviderSecrets(client_secrets=(Secret(vault.emulator.client_secret),))
    sealed = [(provider, seal_provider_secrets(vault.keys, provider, secrets)) for provider in providers]
    await vault.store.catalogue.apply(Declared(providers=sealed, services=profile.services), vault.clock())


async def test_pain_13_a_provider_refuses_scope_in_a_refresh(vault: Vault):
    vault.emulator.behaviour = Behaviour(refuse_scope_on_refresh=True)
    await vault.declare(scopes=["tasks:write"])
    await vault.connect(await consented(vault))
    await vault.ask(1)
    assert (await vault.grant()).generation == 2


@pytest.mark.parametrize("method", [ClientAuth.BASIC, ClientAuth.BODY])
async def test_pain_14_a_secret_with_a_colon_or_a_percent_sign_is_misread(tmp_path: Path, method: ClientAuth):
    """Where a token is given back too."""
    behaviour = Behaviour(client_auth=method.value)
    with Emulator(behaviour, client_id="an:odd%20id", client_secret="s:e%c+r é&t=") as emulator:
        vault = Vault(tmp_path, emulator)
        await vault.open()
        await vault.refresher()
        await vault.declare(client_auth=method, revocation_url=emulator.revocation_url)
        assert (await vault.connect()).state is EnrolmentState.DONE
        await revoke_grant(vault.store, vault.cache, await vault.grant(), vault.clock())
        await announced(vault)
        assert emulator.outcomes["revoked"] == 1
        await vault.close()


async def announced(vault: Vault) -> int:
    """How many grants were due, and are refreshed now."""
    due = await Scheduler(vault.store, vault.bus, vault.clock, 0.5).announce()
    await vault.settled()
    return due


@pytest.mark.parametrize("rotates", [True, False])
async def test_pain_15_a_refresh_token_dies_of_lying_idle(vault: Vault, rotates: bool):
    """Its access tokens live longer than it does unused."""
    vault.emulator.behaviour = Behaviour(rotates=rotates, access_token_seconds=365 * DAY)
    await vault.declare(Rotation(rotates=rotates), refresh_token_idle_seconds=90 * DAY)
    await vault.connect()
    vault.clock.advance(30 * DAY)
    assert await announced(vault) == 0
    vault.clock.advance(45 * DAY)
    assert await announced(vault) == 1
    assert (await vault.grant()).generation == 2


async def test_pain_15_a_refresh_token_ends_and_nobody_was_told_before(vault: Vault):
    await vault.declare(STEADY, refresh_token_life_seconds=30 * DAY)
    vault.emulator.behaviour = Behaviour(rotates=False)
    await vault.connect()
    vault.events.clear()
    for _ in range(29):
        vault.clock.advance(DAY)
        await announced(vault)
    assert vault.events.count("credential.expiring_soon") == 1
    assert vault.events.index("credential.expiring_soon") < len(vault.events) - 3
    assert "credential.reauth_required" not in vault.events


async def test_pain_15_connecting_again_adds_a_grant_instead_of_replacing_it(vault: Vault):
    await vault.declare()
    await vault.connect()
    before = await vault.grant()
    await vault.connect()
    assert [grant.id for grant in await vault.store.grants.select()] == [before.id]


async def test_pain_16_a_herd_of_refreshes_locks_itself_out(vault: Vault):
    owners = [Owner(f"owner-{number}") for number in range(12)]
    await vault.declare(max_concurrency=3)
    for owner in owners:
        await vault.connect(owner=owner)
    moments = {(await vault.grant(owner)).refresh_at for owner in owners}
    assert len(moments) == len(owners)
    vault.emulator.faults.next(RateLimited(retry_after=600))
    vault.clock.advance(2600)
    calls = vault.emulator.token_calls
    await announced(vault)
    # The one that met the 429, and those that were under way with it.
    assert calls < vault.emulator.token_calls <= calls + 3
    told_off = vault.emulator.token_calls
    await asyncio.gather(*(vault.ask(1, owner=owner) for owner in owners))
    assert vault.emulator.token_calls == told_off


async def test_pain_17_a_token_is_believed_to_live_from_its_arrival(connected: Vault):
    """However long the answer took: the provider counts from before."""
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asked_at = connected.clock()
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    connected.clock.advance(50)
    hang.release()
    await asking
    token = await connected.token()
    assert token.expires_at is not None
    assert (token.expires_at - asked_at).total_seconds() == pytest.approx(3600, abs=2)


async def test_pain_18_a_fetched_token_expires_in_use(vault: Vault):
    vault.emulator.behaviour = Behaviour(access_token_seconds=300)
    await vault.declare()
    await vault.connect()
    vault.clock.advance(200)
    want = Want(min_ttl_seconds=120)
    assert isinstance(decide(await vault.grant(), await vault.token(), want, vault.clock()), Refresh)
    await vault.ask(1)
    assert isinstance(decide(await vault.grant(), await vault.token(), want, vault.clock()), Hand)


async def test_pain_19_an_agent_reports_a_rejected_token_on_and_on(connected: Vault):
    """It is told what nobody but the owner can do, and where; the provider hears of it once."""
    connected.emulator.revoke_all()
    report = RejectedCall(service=SERVICE, generation=1)
    replies = [await asked(connected, report)]
    calls = connected.emulator.token_calls
    replies += [await asked(connected, report) for _ in range(5)]
    assert {reply.code for reply in replies} == {Code.REAUTH_REQUIRED}
    assert {reply.connect_url for reply in replies} == {"https://vault.example/time-tracker/ann"}
    assert connected.emulator.token_calls == calls


async def test_pain_20_asking_for_a_refresh_breaks_a_connection_that_works(connected: Vault):
    for generation in (1, 1, 0, 2, 2):
        await connected.ask(generation, reason=Reason.REJECTED)
    grant = await connected.grant()
    assert (grant.generation, grant.state, grant.failures) == (3, GrantState.ACTIVE, 0)
    connected.emulator.faults.next(Status(503))
    await connected.ask(3, reason=Reason.REJECTED)
    grant = await connected.grant()
    assert (grant.generation, grant.state) == (3, GrantState.ACTIVE)
    assert isinstance(decide(grant, await connected.token(), Want(), connected.clock()), Hand)


async def test_pain_21_nobody_is_told_that_it_recovered(connected: Vault):
    for _ in range(5):
        connected.emulator.faults.next(Status(503))
        await connected.ask(1)
        connected.clock.advance(400)
    assert connected.events == ["credential.refresh_failed"]
    await connected.ask(1)
    assert connected.events[1:] == ["credential.refreshed", "credential.recovered"]
    connected.events.clear()
    await connected.ask(2)
    assert connected.events == ["credential.refreshed"]


@dataclass(frozen=True, slots=True)
class Quoting(Canned):
    """A refusal that quotes what it was sent."""

    body: str = ""

    def reply(self) -> Reply:
        content_type = "application/json" if self.body.startswith("{") else "text/html"
        return Reply(status=400, body=self.body, content_type=content_type)


@pytest.mark.parametrize(
    "body",
    [
        '{"error": "invalid_grant", "error_description": "The refresh token TOKEN is unknown"}',
        '{"error": "TOKEN", "error_description": "TOKEN"}',
        "<html>No such token: TOKEN</html>",
    ],
)
async def test_pain_23_a_refusal_that_quotes_the_refresh_token_is_written_down(
    connected: Vault, caplog: pytest.LogCaptureFixture, body: str
):
    kept, told = await credential(connected), []
    assert isinstance(kept, RefreshToken)
    connected.bus.subscribe("credential.*", lambda delivery: told.append(delivery.body))
    connected.emulator.faults.always(Quoting(body.replace("TOKEN", kept.value.reveal())))
    caplog.set_level(logging.DEBUG)
    with capture_logs() as said:
        for _ in range(FAILURES_UNTIL_FAILING):
            await connected.ask(1)
            connected.clock.advance(400)
    error, records = (await connected.grant()).last_error, await connected.store.audit.query()
    assert "grant.refresh_failed" in await connected.actions()
    assert error
    assert told
    assert kept.value.reveal() not in f"{said} {caplog.text} {error} {records} {told}"


async def test_pain_26_fewer_scopes_are_granted_and_nobody_notices(vault: Vault):
    vault.emulator.behaviour = Behaviour(withheld_scopes=("chat:write",))
    await vault.declare(scopes=["tasks:write", "chat:write"])
    await vault.connect(await consented(vault))
    await vault.ask(1)
    grant, token = await vault.grant(), await vault.token()
    assert grant.scopes == token.scopes == ("tasks:write",)
    refusal = decide(grant, token, Want(scopes=frozenset({"tasks:write", "chat:write"})), vault.clock())
    assert isinstance(refusal, Refuse)
    assert refusal.missing_scopes == ("chat:write",)


async def test_pain_28_a_refresh_token_of_another_client_is_imported(vault: Vault):
    await vault.declare()
    vault.emulator.register_client("another-client", "secret")
    foreign = vault.emulator.issue_refresh_token(OWNER, client_id="another-client")
    enrolment = await vault.connect(RefreshToken(value=Secret(foreign)))
    assert (enrolment.state, enrolment.error) == (EnrolmentState.FAILED, "invalid_grant")
    assert await vault.store.grants.select() == []


@pytest.mark.parametrize("field", ["token_url", "client_id", "authorization_url"])
async def test_pain_28_the_tokens_of_one_client_are_sent_as_anothers(connected: Vault, field: str):
    """Of what is declared, those two make another client."""
    with Emulator() as elsewhere:
        elsewhere.register_client("another-client", connected.emulator.client_secret)
        connected.emulator.register_client("another-client", connected.emulator.client_secret)
        others = {"token_url": elsewhere.token_url, "client_id": "another-client"}
        await connected.declare(**{field: others.get(field, elsewhere.authorization_url)})
        connected.clock.advance(2)
        calls = connected.emulator.token_calls
        await connected.ask(1)
        grant, sent = await connected.grant(), connected.emulator.token_calls - calls
        assert not elsewhere.requests
        assert (grant.generation, sent) == ((1, 0) if field in others else (2, 1))
        assert grant.state is GrantState.ACTIVE
