"""Declarations come back as they were, and every change raises the version."""

import asyncio

import pytest
from contract.stores import NOW, later
from sqlalchemy import text

from shared.adapters.sql.store import SqlStore
from shared.errors import VaultError
from shared.model import (
    Agent,
    AgentName,
    Effect,
    FromClaim,
    GrantKind,
    Issuer,
    IssuerName,
    IssuerRule,
    OnReuse,
    Policy,
    Proof,
    Provider,
    ProviderName,
    Rotation,
    Service,
    ServiceName,
    SignatureAlgorithm,
)
from shared.ports import Declared, Store

PROVIDER = Provider(
    name=ProviderName("tracker-co"),
    client_id="tracker",
    token_url="https://id.tracker.example/token",
    grant=GrantKind.AUTHORIZATION_CODE,
    rotation=Rotation(rotates=True, grace_seconds=30, on_reuse=OnReuse.DENY),
    token_params={"audience": "api"},
)
SERVICE = Service(name=ServiceName("time-tracker"), provider=PROVIDER.name, scopes=("tasks:write",))
AGENT = Agent(
    name=AgentName("tracker"),
    description="logs tasks",
    proof=Proof.REQUIRED,
    max_requests_per_second=50,
    max_concurrency=20,
)
POLICY = Policy(
    name="trackers", effect=Effect.ALLOW, agents=("tracker*",), scopes=("tasks:write",), not_before=NOW
)
ISSUER = Issuer(
    name=IssuerName("cluster"),
    issuer="https://cluster.example",
    audience="vault",
    rules=(
        IssuerRule(
            claims={"sub": "pod:*", "live": True, "tier": 1}, agent=AGENT.name, owner=FromClaim(claim="email")
        ),
    ),
    keys=({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},),
    algorithms=(SignatureAlgorithm.ES256,),
)
DECLARED = Declared(
    providers=[(PROVIDER, b"sealed secrets")],
    services=[SERVICE],
    agents=[AGENT],
    policies=[POLICY],
    issuers=[ISSUER],
)


async def test_what_is_declared_is_loaded_unchanged(store: Store) -> None:
    version = await store.catalogue.apply(DECLARED, NOW)

    found = await store.catalogue.load()

    assert found.version == version == await store.catalogue.version()
    assert found.providers == {PROVIDER.name: PROVIDER}
    assert found.services == {SERVICE.name: SERVICE}
    assert found.agents == {AGENT.name: AGENT}
    assert found.policies == (POLICY,)
    assert found.issuers == {ISSUER.name: ISSUER}


async def test_a_new_database_has_an_empty_catalogue(store: Store) -> None:
    found = await store.catalogue.load()

    assert (found.version, found.providers, found.policies) == (0, {}, ())


async def test_declaring_again_replaces_and_removes_nothing(store: Store) -> None:
    before = await store.catalogue.apply(DECLARED, NOW)
    changed = Policy(name="trackers", effect=Effect.DENY)

    after = await store.catalogue.apply(Declared(policies=[changed]), later(1))

    found = await store.catalogue.load()
    assert after == before + 1
    assert found.policies == (changed,)
    assert found.providers == {PROVIDER.name: PROVIDER}


async def test_a_provider_declared_without_secrets_keeps_those_it_has(store: Store) -> None:
    await store.catalogue.apply(DECLARED, NOW)
    await store.catalogue.apply(Declared(providers=[(PROVIDER, None)]), NOW)
    assert await store.catalogue.provider_secrets(PROVIDER.name) == b"sealed secrets"

    await store.catalogue.apply(Declared(providers=[(PROVIDER, b"new secrets")]), NOW)
    assert await store.catalogue.provider_secrets(PROVIDER.name) == b"new secrets"


async def test_an_unknown_provider_has_no_secrets(store: Store) -> None:
    assert await store.catalogue.provider_secrets(ProviderName("nobody")) is None


async def test_revoking_an_agent_raises_the_version(store: Store) -> None:
    before = await store.catalogue.apply(DECLARED, NOW)

    assert await store.catalogue.set_agent_revoked(AGENT.name, NOW)

    found = await store.catalogue.load()
    assert found.version == before + 1
    assert found.agents[AGENT.name].revoked_at == NOW


async def test_declaring_a_revoked_agent_does_not_restore_it(store: Store) -> None:
    await store.catalogue.apply(DECLARED, NOW)
    await store.catalogue.set_agent_revoked(AGENT.name, NOW)

    await store.catalogue.apply(DECLARED, later(1))

    assert (await store.catalogue.load()).agents[AGENT.name].revoked_at == NOW


async def test_an_agent_can_be_restored(store: Store) -> None:
    await store.catalogue.apply(DECLARED, NOW)
    await store.catalogue.set_agent_revoked(AGENT.name, NOW)

    assert await store.catalogue.set_agent_revoked(AGENT.name, None)

    assert (await store.catalogue.load()).agents[AGENT.name].revoked_at is None


async def test_revoking_an_unknown_agent_changes_nothing(store: Store) -> None:
    assert not await store.catalogue.set_agent_revoked(AgentName("nobody"), NOW)
    assert await store.catalogue.version() == 0


async def test_concurrent_changes_each_get_a_version_of_their_own(store: Store, other_store: Store) -> None:
    agents = [Declared(agents=[Agent(name=AgentName(f"agent-{n}"))]) for n in range(10)]

    versions = await asyncio.gather(
        *((store, other_store)[n % 2].catalogue.apply(agent, NOW) for n, agent in enumerate(agents))
    )

    assert sorted(versions) == list(range(1, 11))


async def test_a_service_of_an_unknown_provider_is_refused_whole(store: Store) -> None:
    with pytest.raises(VaultError):
        await store.catalogue.apply(Declared(services=[SERVICE], agents=[AGENT]), NOW)

    found = await store.catalogue.load()
    assert (found.version, found.agents) == (0, {})


async def test_a_row_that_is_no_declaration_is_named_and_not_shown(store: SqlStore) -> None:
    await store.catalogue.apply(DECLARED, NOW)
    async with store._database.writing() as connection:
        await connection.execute(text("""UPDATE policies SET spec = '{"effect": "canary"}'"""))

    with pytest.raises(VaultError, match="trackers") as caught:
        await store.catalogue.load()

    assert "canary" not in str(caught.value)


async def test_a_catalogue_is_loaded_as_of_one_version(store: Store, other_store: Store) -> None:
    """Each change adds one agent, so that version and number of agents must agree in every load."""

    async def change() -> None:
        for n in range(20):
            await other_store.catalogue.apply(Declared(agents=[Agent(name=AgentName(f"agent-{n}"))]), NOW)

    changing = asyncio.create_task(change())
    while not changing.done():
        found = await store.catalogue.load()
        assert found.version == len(found.agents)
    await changing
