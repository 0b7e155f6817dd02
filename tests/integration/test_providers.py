"""What refreshers know of providers, read from a real database as seldom as will do."""

import asyncio

import pytest
from integration.refreshing import PROVIDER, SERVICE, Vault

from shared.errors import ConfigurationError
from shared.model import Offer, ProviderName, ProviderSecrets, ServiceName
from shared.secret import Secret
from workers.providers import FRESH_SECONDS, Providers

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


@pytest.fixture
def secret_readings(declared: Vault, monkeypatch: pytest.MonkeyPatch) -> list[ProviderName]:
    """Of which provider the secrets were read."""
    made: list[ProviderName] = []
    read = declared.store.catalogue.provider_secrets

    async def recorded(name: ProviderName) -> bytes | None:
        made.append(name)
        return await read(name)

    monkeypatch.setattr(declared.store.catalogue, "provider_secrets", recorded)
    return made


async def secret(providers: Providers) -> str:
    registration = await providers.registration(SERVICE)
    assert registration is not None
    [found] = (await providers.secrets(registration)).client_secrets
    return found.reveal()


async def test_secrets_are_read_again_after_a_second(declared: Vault, secret_readings: list[ProviderName]):
    providers = Providers(declared.store.catalogue, declared.keys, declared.clock)

    assert {await secret(providers) for _ in range(5)} == {declared.emulator.client_secret}
    assert secret_readings == [PROVIDER]
    declared.clock.advance(FRESH_SECONDS)
    await secret(providers)
    assert secret_readings == [PROVIDER] * 2


async def test_secrets_that_are_declared_anew_come_with_their_catalogue(declared: Vault):
    providers = Providers(declared.store.catalogue, declared.keys, declared.clock)
    await secret(providers)

    await declared.declare(secrets=ProviderSecrets(client_secrets=(Secret("the next"),)))
    await providers.registration(ServiceName("undeclared"))  # which reads the catalogue anew
    assert await secret(providers) == "the next"


async def test_secrets_that_did_not_open_are_tried_again(declared: Vault, monkeypatch: pytest.MonkeyPatch):
    providers = Providers(declared.store.catalogue, declared.keys, declared.clock)

    async def none(_: ProviderName) -> bytes:
        return b"flipped"

    with monkeypatch.context() as flipped:
        flipped.setattr(declared.store.catalogue, "provider_secrets", none)
        with pytest.raises(ConfigurationError):
            await secret(providers)
    assert await secret(providers) == declared.emulator.client_secret
