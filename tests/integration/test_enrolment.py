from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from integration.refreshing import OWNER, Vault

from dispenser.testing import Emulator
from dispenser.testing.faults import DropRefreshToken, ErrorAnswer, InvalidClient, Status
from shared.model import (
    ClientAuth,
    ClientItself,
    EnrolmentState,
    GrantKind,
    GrantState,
    ServiceAccountKey,
    StaticToken,
)

ROBOT = "robot@tracker-co"


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    with Emulator() as emulator:
        vault = Vault(tmp_path, emulator)
        await vault.open()
        await vault.refresher()
        yield vault
        await vault.close()


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
    await vault.connect(StaticToken(value="a-personal-token"))
    grant, token = await vault.grant(), await vault.token()
    assert (token.value, token.expires_at, grant.refresh_at) == ("a-personal-token", None, None)
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
    enrolment = await vault.connect(ServiceAccountKey(private_key=private.decode(), issuer=ROBOT))
    assert (enrolment.state, enrolment.error) == (EnrolmentState.DONE, None)
    await vault.ask(1)
    assert (await vault.token()).generation == 2
