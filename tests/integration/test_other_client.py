"""A grant's credential goes to the client that it was given to, whatever is declared since."""

import asyncio
from collections.abc import Iterator

import pytest
import structlog
from integration.asking import asked
from integration.refreshing import OWNER, SERVICE, Vault
from sqlalchemy import text

from dispenser.enrol import outcome, present
from dispenser.protocol import Code, TokenCall
from dispenser.testing import Emulator
from dispenser.testing.faults import Hang
from shared.envelope import open_credential
from shared.model import EnrolmentState, Grant, GrantState, Owner, RefreshToken
from shared.secret import Secret

BOB = Owner("bob")


@pytest.fixture
def thief() -> Iterator[Emulator]:
    """Takes whatever it is sent."""
    with Emulator(client_id="emulated-client") as thief:
        yield thief


@pytest.fixture
async def connected(vault: Vault) -> Vault:
    """Two owners' grants at one provider."""
    await vault.declare()
    await vault.refresher()
    await vault.connect()
    await vault.connect(owner=BOB)
    vault.bus.subscribe("provider.*", vault._hear)
    vault.events.clear()
    return vault


async def redeclared(vault: Vault, **fields: object) -> None:
    """With the secrets that whoever declares it has, and noticed by refreshers."""
    await vault.declare(**fields)
    vault.clock.advance(2)


def kept(grant: Grant) -> tuple[object, ...]:
    return grant.state, grant.generation, grant.sealed_credential, grant.sealed_token


async def test_an_altered_address_gets_nothing_and_costs_nothing(connected: Vault, thief: Emulator):
    before = [await connected.grant(), await connected.grant(BOB)]
    await redeclared(connected, token_url=thief.token_url)
    await connected.ask(1)
    await connected.ask(1, owner=BOB)
    assert not thief.requests
    after = [await connected.grant(), await connected.grant(BOB)]
    assert [kept(grant) for grant in after] == [kept(grant) for grant in before]
    assert {grant.last_error for grant in after} == {"other_client"}
    assert (await asked(connected, TokenCall(service=SERVICE))).code is Code.OK


async def test_another_client_id_is_another_client(connected: Vault):
    """Of the same server, which would refuse the token, and may end its whole family."""
    calls = connected.emulator.token_calls
    connected.emulator.register_client("new-client", connected.emulator.client_secret)
    await redeclared(connected, client_id="new-client")
    await connected.ask(1)
    assert connected.emulator.token_calls == calls
    assert (await connected.grant()).state is GrantState.ACTIVE


async def test_it_heals_by_itself_once_the_address_is_put_back(connected: Vault, thief: Emulator):
    await redeclared(connected, token_url=thief.token_url)
    for _ in range(5):
        await connected.ask(1)
        connected.clock.advance(400)
    await redeclared(connected)
    await connected.ask(1)
    grant = await connected.grant()
    assert (grant.generation, grant.state, grant.failures) == (2, GrantState.ACTIVE, 0)
    assert "credential.refresh_failed" not in connected.events


async def test_people_hear_of_it_once_a_day_however_many_grants_and_refreshers_meet_it(
    connected: Vault, thief: Emulator
):
    await connected.refresher("refresher-2", spool="spool-2")
    await redeclared(connected, token_url=thief.token_url)
    with structlog.testing.capture_logs() as said:
        for _ in range(3):
            await asyncio.gather(*(connected.ask(1, owner=owner) for owner in (OWNER, BOB)))
            connected.clock.advance(400)
    assert [line["event"] for line in said if line["log_level"] == "critical"] == [
        "A provider's grants are not refreshed: they are another client's"
    ]
    assert connected.events == ["provider.incident"]
    assert (await connected.actions()).count("provider.other_client") == 1
    connected.clock.advance(86_400)
    await connected.ask(1)
    assert connected.events == ["provider.incident"] * 2


async def test_an_agent_whose_token_has_ended_is_not_sent_to_its_owner(connected: Vault, thief: Emulator):
    """Who would consent with whatever the declaration names."""
    await redeclared(connected, token_url=thief.token_url)
    connected.clock.advance(3600)
    await connected.ask(1)
    reply = await asked(connected, TokenCall(service=SERVICE))
    assert (reply.code, reply.connect_url) == (Code.PROVIDER_DOWN, None)


async def test_an_owner_who_connects_again_is_served_while_the_others_wait(connected: Vault, thief: Emulator):
    await redeclared(connected, token_url=thief.token_url)
    await connected.ask(1, owner=BOB)
    mine = RefreshToken(value=Secret(thief.issue_refresh_token(OWNER)))
    await redeclared_there(connected, thief)
    assert (await connected.connect(mine)).state is EnrolmentState.DONE
    generation = (await connected.grant()).generation
    await connected.ask(1, owner=BOB)
    await connected.ask(generation)
    assert (await connected.grant()).generation == generation + 1
    assert (await connected.grant(BOB)).generation == 1


async def redeclared_there(vault: Vault, emulator: Emulator) -> None:
    """A provider that moves, with all that belongs to it."""
    vault.emulator = emulator
    await redeclared(vault)


async def test_an_answer_under_way_while_the_address_is_altered_stays_its_clients(
    connected: Vault, thief: Emulator
):
    """What a rotation brings is bound as what it was asked for with, and not to what is declared by then."""
    hang = Hang(processed=True)
    connected.emulator.faults.next(hang)
    asking = asyncio.create_task(connected.ask(1))
    await hang.reached()
    await redeclared(connected, token_url=thief.token_url)
    hang.release()
    await asking
    assert (await connected.grant()).generation == 2
    await connected.ask(2)
    assert not thief.requests
    await redeclared(connected)
    connected.clock.advance(400)
    await connected.ask(2)
    assert (await connected.grant()).generation == 3


async def test_an_answer_that_waits_in_the_spool_stays_its_clients(connected: Vault, thief: Emulator):
    connected.rotations.commits_fail = True
    await connected.ask(1)
    connected.rotations.commits_fail = False
    await redeclared(connected, token_url=thief.token_url)
    await connected.refreshers[0]._replay.spooled()
    grant = await connected.grant()
    assert grant.generation == 2
    credential = open_credential(connected.keys, grant)
    assert isinstance(credential, RefreshToken)
    assert credential.client is not None
    assert credential.client.token_url == connected.emulator.token_url
    await connected.ask(2)
    assert not thief.requests


async def test_what_an_owner_presents_goes_to_the_client_it_was_presented_for(vault: Vault, thief: Emulator):
    """The address is altered between the gateway and the refresher."""
    provider = await vault.declare()
    enrolment_id = await present(
        vault.store,
        vault.bus,
        vault.keys,
        vault.clock,
        service=SERVICE,
        owner=OWNER,
        presented=RefreshToken(value=Secret(vault.emulator.issue_refresh_token(OWNER))),
        client=provider.client,
    )
    await vault.declare(token_url=thief.token_url)
    await vault.refresher()
    enrolment = await outcome(vault.store, enrolment_id)
    assert enrolment is not None
    assert (enrolment.state, enrolment.error) == (EnrolmentState.FAILED, "other_client")
    assert not thief.requests


async def test_a_service_that_is_moved_to_another_provider_takes_no_token_along(
    connected: Vault, thief: Emulator
):
    await in_sql(
        connected, "INSERT INTO providers SELECT 'thief', spec, sealed_secrets, declared_at FROM providers"
    )
    await in_sql(
        connected,
        "UPDATE providers SET spec = json_set(spec, '$.name', 'thief', '$.token_url', :url, "
        "'$.client_auth', 'none') WHERE name = 'thief'",
        url=thief.token_url,
    )
    await in_sql(connected, "UPDATE providers SET sealed_secrets = NULL WHERE name = 'thief'")
    await in_sql(
        connected, "UPDATE services SET provider = 'thief', spec = json_set(spec, '$.provider', 'thief')"
    )
    await connected.ask(1)
    assert not thief.requests
    assert (await connected.grant()).last_error == "other_client"


@pytest.mark.parametrize("field", ["token_url", "revocation_url"])
async def test_an_address_that_is_altered_in_the_database_gets_no_secret_either(
    connected: Vault, thief: Emulator, field: str
):
    calls = connected.emulator.token_calls
    await in_sql(
        connected, f"UPDATE providers SET spec = json_set(spec, '$.{field}', :url)", url=thief.token_url
    )
    await connected.ask(1)
    assert not thief.requests
    assert connected.emulator.token_calls == calls
    assert (await connected.grant()).state is GrantState.ACTIVE
    assert "provider.client_refused" in await connected.actions()


async def in_sql(vault: Vault, statement: str, **values: str) -> None:
    """Whoever may write the database, and has the public key at the most."""
    async with vault.store._database.writing() as connection:
        await connection.execute(text(statement), values)
        await connection.execute(text("UPDATE catalogue SET version = version + 1"))
    vault.clock.advance(2)
