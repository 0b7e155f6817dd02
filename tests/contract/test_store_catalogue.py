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
    Offer,
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


async def test_what_has_not_changed_is_the_very_object_it_was(store: Store) -> None:
    """Two catalogues, the one in use and the one that takes its place, are to hold no more than one."""
    others = [Agent(name=AgentName(f"agent-{n}")) for n in range(3)]
    await store.catalogue.apply(DECLARED, NOW)
    await store.catalogue.apply(Declared(agents=others), NOW)
    before = await store.catalogue.load()
    await store.catalogue.set_agent_revoked(others[0].name, NOW)

    after = await store.catalogue.load(before)

    assert after == await store.catalogue.load()
    assert after.policies is before.policies
    kept = {name for name, agent in after.agents.items() if agent is before.agents[name]}
    assert kept == {AGENT.name, others[1].name, others[2].name}
    assert set(map(id, after.agents)) == set(map(id, before.agents))


async def test_an_agent_that_was_taken_out_of_the_database_is_none_any_more(store: SqlStore) -> None:
    await store.catalogue.apply(DECLARED, NOW)
    before = await store.catalogue.load()
    async with store._database.writing() as connection:
        await connection.execute(text("DELETE FROM agents"))
    await store.catalogue.apply(Declared(agents=[Agent(name=AgentName("other"))]), NOW)

    assert (await store.catalogue.load(before)).agents.keys() == {"other"}


async def test_a_changed_policy_is_the_new_one_and_the_others_stay(store: Store) -> None:
    other = Policy(name="others", effect=Effect.DENY)
    await store.catalogue.apply(Declared(policies=[POLICY, other]), NOW)
    before = await store.catalogue.load()
    changed = Policy(name=POLICY.name, effect=Effect.DENY)
    await store.catalogue.apply(Declared(policies=[changed]), NOW)

    after = await store.catalogue.load(before)

    assert after.policies == (other, changed)
    assert after.policies[0] is before.policies[0]


async def test_what_agents_and_policies_say_alike_is_held_once(store: Store) -> None:
    agents = [Agent(name=AgentName(f"agent-{n}"), description="one of many") for n in range(2)]
    policies = [Policy(name=f"p{n}", effect=Effect.ALLOW, services=("a", "b"), scopes=("c",)) for n in (1, 2)]
    await store.catalogue.apply(Declared(agents=agents, policies=policies), NOW)

    found = await store.catalogue.load()

    assert len({id(agent.description) for agent in found.agents.values()}) == 1
    one, other = found.policies
    assert (one.services, one.owners, one.scopes) == (other.services, other.owners, other.scopes)
    assert one.services is other.services
    assert one.owners is other.owners
    assert one.scopes is other.scopes


async def test_services_are_had_without_agents_and_policies(store: Store) -> None:
    version = await store.catalogue.apply(DECLARED, NOW)

    found = await store.catalogue.offer()

    assert found == Offer(
        version=version, providers={PROVIDER.name: PROVIDER}, services={SERVICE.name: SERVICE}
    )


async def test_one_agent_is_had_without_the_others(store: Store) -> None:
    await store.catalogue.apply(DECLARED, NOW)
    await store.catalogue.set_agent_revoked(AGENT.name, NOW)

    found = await store.catalogue.agent(AGENT.name)

    assert found == (await store.catalogue.load()).agents[AGENT.name]
    assert await store.catalogue.agent(AgentName("nobody")) is None


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
