from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from integration.refreshing import OWNER, SERVICE, Vault

from dispenser.enrol import present
from dispenser.testing.codes import challenge_of
from dispenser.testing.faults import DropRefreshToken, ErrorAnswer, InvalidClient, Status
from shared.errors import StoreUnavailable
from shared.model import (
    AuthorizationCode,
    ClientAuth,
    ClientItself,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    GrantKind,
    GrantState,
    ServiceAccountKey,
    StaticToken,
)
from shared.secret import Secret
from workers.answer import Answer
from workers.decision import LEASE_SECONDS
from workers.enrolment import LAPSED_SECONDS
from workers.settlement import Skipped
from workers.spool_entry import Entry
from workers.watch import Watch

ROBOT = "robot@tracker-co"


@pytest.fixture
async def vault(vault: Vault) -> Vault:
    await vault.refresher()
    return vault


async def test_an_imported_refresh_token_is_proved_by_one_refresh(vault: Vault):
    await vault.declare(scopes=["tasks:write"])
    enrolment = await vault.connect()
    grant = await vault.grant()
    assert (enrolment.state, enrolment.sealed) == (EnrolmentState.DONE, None)
    assert (grant.generation, grant.state, grant.owner) == (1, GrantState.ACTIVE, OWNER)
    assert vault.emulator.token_calls == 1
    assert vault.events == ["credential.connected"]
    assert (await vault.token()).value
    assert vault.spooled() == []


async def consented(vault: Vault) -> AuthorizationCode:
    """What a callback brings once the owner has agreed."""
    verifier, callback = "a-verifier-of-the-length-that-rfc-7636-asks-for", "http://127.0.0.1:8765/callback"
    asked = {
        "response_type": "code", "client_id": vault.emulator.client_id, "redirect_uri": callback,
        "state": "s", "scope": "tasks:write", "code_challenge_method": "S256",
        "code_challenge": challenge_of(verifier), "login_hint": OWNER,
    }  # fmt: skip
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(vault.emulator.authorization_url, params=asked)
    [code] = parse_qs(urlsplit(answer.headers["location"]).query)["code"]
    return AuthorizationCode(
        code=Secret(code), verifier=Secret(verifier), redirect_uri=callback, scopes=("tasks:write",)
    )


async def test_a_code_becomes_a_grant_that_rotates(vault: Vault):
    await vault.declare(scopes=["tasks:write"])
    enrolment = await vault.connect(await consented(vault))
    assert (enrolment.state, enrolment.error) == (EnrolmentState.DONE, None)
    assert (await vault.grant()).scopes == ("tasks:write",)
    await vault.ask(1)
    assert (await vault.token()).generation == 2


async def spooled(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> EnrolmentId:
    """An enrolment whose code is redeemed, and whose answer the database did not take."""
    provider = await vault.declare(scopes=["tasks:write"])
    code = await consented(vault)

    async def failing(*_: object) -> bool:
        raise StoreUnavailable("Made to fail.")

    with monkeypatch.context() as broken:
        broken.setattr(vault.store.enrolments, "succeed", failing)
        enrolment_id = await present(
            vault.store, vault.bus, vault.keys, vault.clock,
            service=SERVICE, owner=OWNER, presented=code, client=provider.client,
        )  # fmt: skip
        await vault.settled()
    assert len(vault.spooled()) == 1
    return enrolment_id


async def test_a_code_that_the_database_could_not_take_is_replayed_and_not_redeemed_twice(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    enrolment_id = await spooled(vault, monkeypatch)
    await vault.refresher()
    enrolment = await vault.store.enrolments.get(enrolment_id)
    assert enrolment is not None
    assert enrolment.state is EnrolmentState.DONE
    assert (await vault.grant()).generation == 1
    assert vault.emulator.token_calls == 1
    assert vault.spooled() == []


async def test_a_later_lease_begins_with_the_answer_in_the_spool(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    """The code is spent: asking again would put the refusal in the answer's place."""
    enrolment_id = await spooled(vault, monkeypatch)
    vault.clock.advance(LEASE_SECONDS + 1)
    await vault.refreshers[0]._enrolments.run(enrolment_id)
    assert (await vault.grant()).generation == 1
    assert vault.emulator.token_calls == 1
    assert vault.spooled() == []


async def test_others_leave_a_lapsed_lease_alone_until_they_have_watched_it(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    """Its holder lives, and has an answer that the database did not take yet."""
    enrolment_id, now = await spooled(vault, monkeypatch), 0.0
    vault.clock.advance(LEASE_SECONDS + 1)
    enrolments = (await vault.refresher("refresher-2", spool="another"))._enrolments
    monkeypatch.setattr(enrolments, "_watch", Watch(lambda: now))
    for now in range(0, int(LAPSED_SECONDS), 10):  # noqa: B007 - the watch reads it
        await enrolments.watch()
        assert await enrolments.run(enrolment_id) == Skipped("ended")
    assert vault.emulator.token_calls == 1
    now = int(LAPSED_SECONDS)
    await enrolments.watch()
    await enrolments.run(enrolment_id)
    assert vault.emulator.token_calls == 2


async def test_one_that_was_stopped_for_its_lease_redeems_nothing(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    """Another may be at it by then."""
    await vault.declare()
    enrolment = await met(vault, monkeypatch, lambda: vault.clock.advance(LEASE_SECONDS))
    assert (vault.emulator.token_calls, vault.spooled()) == (0, [])
    assert enrolment.state is EnrolmentState.PENDING


async def test_a_429_that_others_meet_while_it_gets_ready_is_heeded(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
):
    await vault.declare()
    monkeypatch.setattr("workers.enrolment.NOT_READY_SECONDS", 0.0)
    registration = await vault.refreshers[0]._rotation._bench.providers.registration(SERVICE)
    assert registration is not None
    limited = Answer(status=429, retry_after="600", sent_at=vault.clock())
    enrolment = await met(vault, monkeypatch, lambda: registration.standing.hear(limited))
    assert (vault.emulator.token_calls, vault.spooled()) == (0, [])
    assert enrolment.state is EnrolmentState.PENDING


async def met(vault: Vault, monkeypatch: pytest.MonkeyPatch, what: Callable[[], None]) -> Enrolment:
    """A token that is presented, and meets something once there is room for its answer."""
    spool = vault.refreshers[0]._rotation._bench.endpoint._spool
    reserve = spool.reserve

    async def reserved(entry: Entry) -> None:
        await reserve(entry)
        what()

    with monkeypatch.context() as meeting:
        meeting.setattr(spool, "reserve", reserved)
        return await vault.connect()


async def test_a_dead_token_is_not_connected_and_its_owner_is_told_why(vault: Vault):
    await vault.declare()
    vault.emulator.faults.next(ErrorAnswer())
    enrolment = await vault.connect()
    assert (enrolment.state, enrolment.error) == (EnrolmentState.FAILED, "invalid_grant")
    assert await vault.store.grants.select() == []
    assert await vault.actions() == ["grant.connect_failed"]


async def test_a_refused_client_is_told_at_once(vault: Vault):
    await vault.declare()
    vault.emulator.faults.next(InvalidClient())
    assert (await vault.connect()).error == "invalid_client"


async def test_a_provider_that_is_overloaded_is_asked_again_while_the_owner_waits(vault: Vault):
    await vault.declare()
    vault.emulator.faults.next(Status(503))
    assert (await vault.connect()).state is EnrolmentState.DONE


async def test_an_import_that_brings_no_new_token_keeps_the_imported_one(vault: Vault):
    await vault.declare()
    vault.emulator.faults.next(DropRefreshToken())
    await vault.connect()
    await vault.ask(1)
    assert (await vault.grant()).generation == 2


async def test_a_failed_reconnection_leaves_the_grant_as_it_was(vault: Vault):
    await vault.declare()
    await vault.connect()
    before = await vault.grant()
    vault.emulator.faults.next(ErrorAnswer())
    await vault.connect()
    assert await vault.grant() == before


async def test_a_reconnection_keeps_the_id_and_outgrows_the_generation(vault: Vault):
    await vault.declare()
    await vault.connect()
    before = await vault.grant()
    await vault.connect()
    after = await vault.grant()
    assert (after.id, after.generation) == (before.id, before.generation + 1)
    assert (await vault.token()).generation == after.generation


async def test_a_static_token_is_served_as_it_is_and_never_refreshed(vault: Vault):
    await vault.declare(grant=GrantKind.STATIC)
    await vault.connect(StaticToken(value=Secret("a-personal-token")))
    grant, token = await vault.grant(), await vault.token()
    assert (token.value, token.expires_at, grant.refresh_at) == (Secret("a-personal-token"), None, None)
    await vault.ask(1)
    assert (await vault.grant()).state is GrantState.ACTIVE
    assert vault.emulator.token_calls == 0


async def test_a_client_has_tokens_of_its_own(vault: Vault):
    await vault.declare(grant=GrantKind.CLIENT_CREDENTIALS, scopes=["tasks:write"])
    await vault.connect(ClientItself())
    grant = await vault.grant()
    assert grant.sealed_credential is None
    await vault.ask(1)
    assert (await vault.token()).generation == 2


async def test_a_service_account_has_tokens_by_its_key(vault: Vault):
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    vault.emulator.register_service_account(ROBOT, public.decode())
    await vault.declare(grant=GrantKind.JWT_BEARER, client_id="", client_auth=ClientAuth.NONE)
    enrolment = await vault.connect(ServiceAccountKey(private_key=Secret(private.decode()), issuer=ROBOT))
    assert (enrolment.state, enrolment.error) == (EnrolmentState.DONE, None)
    await vault.ask(1)
    assert (await vault.token()).generation == 2
