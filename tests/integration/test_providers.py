"""What refreshers know of providers, read from a real database as seldom as will do."""

import asyncio

import pytest
from integration.refreshing import PROVIDER, SERVICE, Vault

from shared.model import Offer, ServiceName
from workers.providers import Providers

ASKED_AT_ONCE = 500


@pytest.fixture
async def declared(vault: Vault) -> Vault:
    await vault.declare()
    return vault


@pytest.fixture
def readings(declared: Vault, monkeypatch: pytest.MonkeyPatch) -> list[Offer]:
    """Those of the catalogue's services, as they are made."""
    made: list[Offer] = []
    offer = declared.store.catalogue.offer

    async def recorded() -> Offer:
        made.append(await offer())
        return made[-1]

    monkeypatch.setattr(declared.store.catalogue, "offer", recorded)
    return made


async def asked(providers: Providers, name: ServiceName) -> set[str | None]:
    """Whose it is, as so many are told who ask at once."""
    found = await asyncio.gather(*(providers.registration(name) for _ in range(ASKED_AT_ONCE)))
    return {each and each.provider.name for each in found}


async def test_all_who_ask_after_a_start_share_one_reading(declared: Vault, readings: list[Offer]):
    providers = Providers(declared.store.catalogue, declared.keys, declared.clock)

    assert await asked(providers, SERVICE) == {PROVIDER}
    assert len(readings) == 1


async def test_all_who_ask_for_what_is_not_declared_share_one_reading(declared: Vault, readings: list[Offer]):
    providers = Providers(declared.store.catalogue, declared.keys, declared.clock)
    await providers.registration(SERVICE)

    assert await asked(providers, ServiceName("undeclared")) == {None}
    assert len(readings) == 2
