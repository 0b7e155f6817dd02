"""A grant's row that was put back from a backup is found by the audit, and its credential is not sent."""

import pytest
from integration.refreshing import OWNER, SERVICE, Vault
from sqlalchemy import text

from dispenser.restored import RestoredGrant, restored_grants
from shared.model import Grant, GrantState, OnReuse, Rotation

STRICT = Rotation(grace_seconds=0, on_reuse=OnReuse.REVOKE_FAMILY)


@pytest.fixture
async def vault(vault: Vault) -> Vault:
    await vault.declare(STRICT)
    await vault.refresher()
    await vault.connect()
    return vault


async def put_back(vault: Vault, older: Grant) -> None:
    async with vault.store._database.writing() as connection:
        await connection.execute(
            text(
                "UPDATE grants SET generation = :generation, sealed_credential = :sealed, refresh_at = NULL"
            ),
            {"generation": older.generation, "sealed": older.sealed_credential},
        )


async def rotated(vault: Vault, times: int) -> Grant:
    """The row of before."""
    older = await vault.grant()
    for _ in range(times):
        await vault.ask((await vault.grant()).generation)
    return older


async def test_a_row_that_was_put_back_is_named(vault: Vault) -> None:
    older = await rotated(vault, 2)
    assert await restored_grants(vault.store) == []
    await put_back(vault, older)
    [found] = await restored_grants(vault.store)
    assert found == RestoredGrant(service=SERVICE, owner=OWNER, generation=1, audited_generation=3)
    assert "at generation 1" in str(found)


async def test_a_row_that_is_gone_is_named(vault: Vault) -> None:
    await rotated(vault, 1)
    async with vault.store._database.writing() as connection:
        await connection.execute(text("DELETE FROM intents"))
        await connection.execute(text("DELETE FROM grants"))
    [found] = await restored_grants(vault.store)
    assert (found.generation, found.audited_generation) == (None, 2)
    await vault.connect()
    assert (await vault.grant()).generation == 3
    assert await restored_grants(vault.store) == []


async def test_a_spent_credential_that_was_put_back_is_not_sent(vault: Vault) -> None:
    older = await rotated(vault, 2)
    calls = vault.emulator.token_calls
    await put_back(vault, older)
    await vault.ask(1)
    grant = await vault.grant()
    assert (grant.state, grant.last_error) == (GrantState.REAUTH_REQUIRED, "restored_from_backup")
    assert (vault.emulator.token_calls, vault.emulator.reuses) == (calls, 0)
    assert "credential.reauth_required" in vault.events


async def test_an_account_that_is_connected_anew_outgrows_what_the_audit_knows(vault: Vault) -> None:
    older = await rotated(vault, 4)
    await put_back(vault, older)
    await vault.connect()
    assert (await vault.grant()).generation == 6
    await rotated(vault, 1)
    assert ((await vault.grant()).state, (await vault.grant()).generation) == (GrantState.ACTIVE, 7)
