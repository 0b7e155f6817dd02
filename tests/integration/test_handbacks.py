"""A revoked grant ends at its provider too, where that takes refresh tokens back (RFC 7009)."""

import asyncio
from urllib.parse import urlsplit

import httpx
import pytest
from integration.refreshing import SERVICE, Vault

from dispenser.revoke import revoke_grant
from dispenser.testing import Behaviour, Emulator
from dispenser.testing.faults import Hang
from shared.audit_filter import AuditFilter
from shared.envelope import open_handback
from shared.model import HandbackId, RefreshToken, Rotation, StaticToken
from shared.secret import Secret
from workers.scheduler import Scheduler


@pytest.fixture
async def vault(vault: Vault) -> Vault:
    vault.emulator.behaviour = Behaviour(access_token_seconds=3600)
    return vault


async def revoked(vault: Vault) -> None:
    """The grant, and all that follows from that."""
    await revoke_grant(vault.store, vault.cache, await vault.grant(), vault.clock())
    await announced(vault)


async def announced(vault: Vault) -> None:
    await Scheduler(store=vault.store, bus=vault.bus, clock=vault.clock, interval_seconds=1).announce()
    await vault.settled()


async def outcomes(vault: Vault) -> list[str]:
    records = await vault.store.audit.query(AuditFilter(service=SERVICE))
    return [record.outcome for record in records if record.action == "grant.handed_back"]


def told(vault: Vault) -> int:
    return sum(request.endpoint == "revoke" for request in vault.emulator.requests)


async def test_the_provider_is_told_once_and_the_credential_forgotten(vault: Vault) -> None:
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    await vault.refresher()
    await vault.connect()
    await revoked(vault)
    assert await outcomes(vault) == ["ok"]
    assert told(vault) == 1
    assert await vault.store.handbacks.pending(vault.clock(), 10) == []
    vault.clock.advance(3600)
    await Scheduler(store=vault.store, bus=vault.bus, clock=vault.clock, interval_seconds=1).announce()
    assert told(vault) == 1


async def revoked_under_way(vault: Vault) -> None:
    """A grant that was revoked while its provider had a refresh in hand, and what came of that."""
    await vault.refresher()
    await vault.connect()
    hang = Hang(processed=True)
    vault.emulator.faults.next(hang)
    asking = asyncio.create_task(vault.ask(1))
    await hang.reached()
    await revoke_grant(vault.store, vault.cache, await vault.grant(), vault.clock())
    hang.release()
    await asking


async def test_what_a_rotation_under_way_brings_is_given_back_too(vault: Vault) -> None:
    """The token that was revoked with the grant is spent then, and the one in its place is alive."""
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    await revoked_under_way(vault)
    [spent, fresh] = await vault.store.handbacks.pending(vault.clock(), 10)
    await vault.store.handbacks.end(spent)
    [token] = await brought(vault, fresh)
    assert await live(vault, token)
    vault.clock.advance(60)
    await Scheduler(store=vault.store, bus=vault.bus, clock=vault.clock, interval_seconds=1).announce()
    await vault.settled()
    assert not await live(vault, token)
    assert await outcomes(vault) == ["ok"]
    assert await vault.store.handbacks.pending(vault.clock(), 10) == []


async def test_a_rotation_under_way_that_brings_nothing_new_leaves_nothing_to_give_back(vault: Vault) -> None:
    vault.emulator.behaviour = Behaviour(rotates=False)
    await vault.declare(Rotation(rotates=False), revocation_url=vault.emulator.revocation_url)
    await revoked_under_way(vault)
    assert len(await vault.store.handbacks.pending(vault.clock(), 10)) == 1
    assert await vault.store.rotations.open_intents() == []


async def brought(vault: Vault, handback_id: HandbackId) -> list[str]:
    now = vault.clock()
    taken = await vault.store.handbacks.take(handback_id, holder="test", now=now, until=now)
    assert taken is not None
    credential = open_handback(vault.keys, taken)
    return [credential.value.reveal()] if isinstance(credential, RefreshToken) else []


async def live(vault: Vault, token: str) -> bool:
    """What the provider says of it (RFC 7662)."""
    emulator = vault.emulator
    async with httpx.AsyncClient(trust_env=False) as http:
        client = (emulator.client_id, emulator.client_secret)
        answer = await http.post(emulator.introspection_url, data={"token": token}, auth=client)
    return bool(answer.json()["active"])


async def test_a_provider_without_a_place_for_it_is_left_alone_and_the_audit_says_so(vault: Vault) -> None:
    await vault.declare()
    await vault.refresher()
    await vault.connect()
    await revoked(vault)
    assert await outcomes(vault) == ["not_offered"]
    assert told(vault) == 0


async def test_a_static_token_is_nobodys_to_take_back(vault: Vault) -> None:
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    await vault.refresher()
    await vault.connect(StaticToken(value=Secret("pat-1")))
    await revoked(vault)
    assert await outcomes(vault) == ["not_offered"]
    assert told(vault) == 0


async def test_a_provider_that_is_down_is_told_later(vault: Vault) -> None:
    client = {"client_id": vault.emulator.client_id, "client_secret": vault.emulator.client_secret}
    with Emulator(**client) as down:
        address = down.revocation_url
    await vault.declare(revocation_url=address)
    await vault.refresher()
    await vault.connect()
    await revoked(vault)
    assert await outcomes(vault) == []
    with Emulator(**client, port=urlsplit(address).port or 0) as up:
        vault.clock.advance(300)
        await announced(vault)
        assert await outcomes(vault) == ["ok"]
        assert [request.endpoint for request in up.requests] == ["revoke"]


async def test_a_provider_that_never_answers_is_given_up_in_a_day(vault: Vault) -> None:
    await vault.declare(revocation_url="http://127.0.0.1:1/revoke")
    await vault.refresher()
    await vault.connect()
    await revoked(vault)
    vault.clock.advance(2 * 86_400)
    await Scheduler(store=vault.store, bus=vault.bus, clock=vault.clock, interval_seconds=1).announce()
    await vault.settled()
    assert await outcomes(vault) == ["gave_up"]
    assert await vault.store.handbacks.pending(vault.clock(), 10) == []


async def test_a_place_that_was_declared_since_gets_no_token_of_before(vault: Vault) -> None:
    """It waits a day for the declaration to be put back, and the audit says why it went nowhere."""
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    await vault.refresher()
    await vault.connect()
    with Emulator() as thief:
        await vault.declare(revocation_url=thief.revocation_url)
        vault.clock.advance(2)  # the catalogue is looked at again
        await revoked(vault)
        assert (await outcomes(vault), told(vault)) == ([], 0)
        vault.clock.advance(2 * 86_400)
        await announced(vault)
        assert not thief.requests
        assert await outcomes(vault) == ["other_client"]


async def test_a_place_that_is_put_back_gets_the_token_after_all(vault: Vault) -> None:
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    await vault.refresher()
    await vault.connect()
    await vault.declare(revocation_url="https://thief.example/revoke")
    vault.clock.advance(2)
    await revoked(vault)
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    vault.clock.advance(300)
    await announced(vault)
    assert (await outcomes(vault), told(vault)) == (["ok"], 1)


async def test_a_rotation_does_not_bind_a_token_to_another_place(vault: Vault) -> None:
    """Or a place altered for an hour would be given every token that was rotated in it."""
    await vault.declare()
    await vault.refresher()
    await vault.connect()
    await vault.declare(revocation_url=vault.emulator.revocation_url)
    vault.clock.advance(2)
    await vault.ask(1)
    assert (await vault.grant()).generation == 2
    await revoked(vault)
    assert told(vault) == 0
    await vault.connect()  # and anew for an owner who consents
    await revoked(vault)
    assert told(vault) == 1
