"""A provider that refuses us or wants to be left alone: nobody waits in vain, and people hear of it once."""

import asyncio

import pytest
import structlog
from integration.asking import asked
from integration.refreshing import OWNER, PROVIDER, SERVICE, Vault

from dispenser.protocol import Code, RejectedCall, TokenCall
from dispenser.testing.faults import InvalidClient, RateLimited
from shared.errors import BusUnavailable
from shared.model import Grant, GrantState, Owner, ProviderSecrets
from shared.ports import Outgoing
from shared.secret import Secret
from shared.topology import EVENTS_EXCHANGE
from workers.janitor import OUTBOX_AGE_SECONDS, Janitor

BOB = Owner("bob")


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


async def both(vault: Vault) -> list[Grant]:
    return [await vault.grant(), await vault.grant(BOB)]


async def test_a_refused_client_is_told_once_however_many_grants_and_refreshers_meet_it(connected: Vault):
    await connected.refresher("refresher-2", spool="spool-2")
    connected.emulator.faults.always(InvalidClient())
    before = await both(connected)
    with structlog.testing.capture_logs() as said:
        for owner in (OWNER, BOB, OWNER):
            await asyncio.gather(*(connected.ask(1, owner=owner) for _ in range(3)))
        connected.clock.advance(61)
        await connected.ask(1)  # on trial, and refused again
    assert await both(connected) == before
    assert [line["event"] for line in said if line["log_level"] == "critical"] == [
        "A provider refuses our client: check its id and secret"
    ]
    assert connected.events == ["provider.incident"]
    assert (await connected.actions()).count("provider.client_refused") == 1


async def test_an_incident_that_the_bus_did_not_take_is_told_of_later(
    connected: Vault, monkeypatch: pytest.MonkeyPatch
):
    published = connected.bus.publish

    async def without_events(message: Outgoing) -> None:
        if message.exchange == EVENTS_EXCHANGE:
            raise BusUnavailable("Made to fail.")
        await published(message)

    connected.emulator.faults.next(InvalidClient())
    with monkeypatch.context() as broken:
        broken.setattr(connected.bus, "publish", without_events)
        await connected.ask(1)
    assert connected.events == []
    connected.clock.advance(OUTBOX_AGE_SECONDS + 1)
    janitor = Janitor(
        store=connected.store, bus=connected.bus, cache=connected.cache, clock=connected.clock, name="janitor"
    )
    await janitor.empty_outbox()
    assert connected.events == ["provider.incident"]


async def test_the_end_of_an_incident_is_told_too(connected: Vault):
    connected.emulator.faults.next(InvalidClient())
    await connected.ask(1)
    connected.clock.advance(61)
    await connected.ask(1)
    assert connected.events == ["provider.incident", "provider.incident", "credential.refreshed"]
    assert (await connected.grant()).generation == 2
    connected.emulator.faults.next(InvalidClient())
    await connected.ask(2)
    assert connected.events[3:] == ["provider.incident"]  # the next one is one of its own


async def test_the_next_secret_is_tried_at_once_whoever_was_refused_meanwhile(vault: Vault):
    """Sixteen requests under way with the old secret say nothing of the new one."""
    owners = [Owner(f"owner-{number}") for number in range(16)]
    await vault.declare()
    await vault.refresher()
    for owner in owners:
        await vault.connect(owner=owner)
    await vault.declare(
        secrets=ProviderSecrets(client_secrets=(Secret("expired"), Secret(vault.emulator.client_secret))),
        max_concurrency=16,
    )
    vault.clock.advance(2)  # the catalogue is looked at again
    await asyncio.gather(*(vault.ask(1, owner=owner) for owner in owners))
    assert [(await vault.grant(owner)).generation for owner in owners] == [2] * len(owners)
    assert "provider.client_refused" not in await vault.actions()


@pytest.mark.parametrize("call", [TokenCall(service=SERVICE), RejectedCall(service=SERVICE, generation=1)])
async def test_an_agent_is_told_at_once_that_the_provider_is_not_asked(
    connected: Vault, call: TokenCall | RejectedCall
):
    connected.emulator.faults.always(InvalidClient())
    connected.clock.advance(3600)
    reply = await asked(connected, call)
    assert reply.code is Code.PROVIDER_DOWN
    assert reply.retry_after is not None
    assert 0 < reply.retry_after <= 60
    assert [grant.state for grant in await both(connected)] == [GrantState.ACTIVE] * 2


async def test_one_accounts_limit_is_told_to_the_agents_of_others(connected: Vault):
    connected.emulator.faults.next(RateLimited(retry_after=100))
    await connected.ask(1, owner=BOB)
    calls = connected.emulator.token_calls
    connected.clock.advance(3600 - 50)
    connected.refreshers[0]._rotation._bench.providers._standings[PROVIDER].pace.pause(100, connected.clock())
    connected.clock.advance(50)
    reply = await asked(connected, TokenCall(service=SERVICE))
    assert (reply.code, connected.emulator.token_calls) == (Code.PROVIDER_DOWN, calls)
    assert reply.retry_after is not None
    assert reply.retry_after <= 50


async def test_a_token_that_is_still_good_is_served_while_its_provider_is_not_asked(connected: Vault):
    connected.emulator.faults.always(InvalidClient())
    connected.clock.advance(3590)
    assert (await asked(connected, TokenCall(service=SERVICE))).code is Code.OK


async def test_an_agent_is_served_again_as_soon_as_the_incident_is_over(connected: Vault):
    """Here an owner who connects meanwhile finds that it is."""
    connected.clock.advance(3600)
    connected.emulator.faults.next(InvalidClient())
    await connected.ask(1)
    assert (await asked(connected, TokenCall(service=SERVICE))).code is Code.PROVIDER_DOWN
    await connected.connect(owner=BOB)
    assert (await asked(connected, TokenCall(service=SERVICE))).code is Code.OK
