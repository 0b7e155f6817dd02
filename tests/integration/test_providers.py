"""What refreshers know of providers, read from a real database as seldom as will do."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from integration.refreshing import PROVIDER, SERVICE, Vault

from dispenser.testing import Emulator
from shared.model import Offer, ServiceName
from workers.providers import Providers

ASKED_AT_ONCE = 500


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    with Emulator() as emulator:
        vault = Vault(tmp_path, emulator)
        await vault.open()
        await vault.declare()
        yield vault
        await vault.close()


@pytest.fixture
def readings(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> list[Offer]:
    """Those of the catalogue's services, as they are made."""
    made: list[Offer] = []
    offer = vault.store.catalogue.offer

    async def recorded() -> Offer:
        made.append(await offer())
        return made[-1]

    monkeypatch.setattr(vault.store.catalogue, "offer", recorded)
    return made


async def asked(providers: Providers, name: ServiceName) -> set[str | None]:
    """Whose it is, as so many are told who ask at once."""
    found = await asyncio.gather(*(providers.registration(name) for _ in range(ASKED_AT_ONCE)))
    return {each and each.provider.name for each in found}


async def test_all_who_ask_after_a_start_share_one_reading(vault: Vault, readings: list[Offer]):
    providers = Providers(vault.store.catalogue, vault.keys, vault.clock)

    assert await asked(providers, SERVICE) == {PROVIDER}
    assert len(readings) == 1


async def test_all_who_ask_for_what_is_not_declared_share_one_reading(vault: Vault, readings: list[Offer]):
    providers = Providers(vault.store.catalogue, vault.keys, vault.clock)
    await providers.registration(SERVICE)

    assert await asked(providers, ServiceName("undeclared")) == {None}
    assert len(readings) == 2
