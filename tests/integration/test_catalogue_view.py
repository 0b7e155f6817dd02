"""The catalogue that a door decides by is the newest, and replacing it costs what has changed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dispenser.catalogue_view import CatalogueView
from shared.adapters.sql.store import SqlStore, migrate
from shared.model import Agent, AgentName, Effect, Policy, ServiceName
from shared.ports import Declared

NOW = datetime(2026, 11, 24, tzinfo=UTC)
AGENT = Agent(name=AgentName("tracker"))
POLICY = Policy(name="trackers", effect=Effect.ALLOW, agents=(AGENT.name,))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqlStore]:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    migrate(url)
    opened = SqlStore.open(url)
    yield opened
    await opened.close()


async def test_a_changed_agent_leaves_the_found_policies_at_hand(store: SqlStore) -> None:
    view = CatalogueView(store.catalogue)
    await store.catalogue.apply(Declared(agents=[AGENT], policies=[POLICY]), NOW)
    await view.look()
    before = view.policies

    await store.catalogue.set_agent_revoked(AGENT.name, NOW)
    await view.look()

    assert view.current.agents[AGENT.name].revoked_at == NOW
    assert view.policies is before


async def test_a_changed_policy_counts_from_the_next_look(store: SqlStore) -> None:
    view = CatalogueView(store.catalogue)
    await store.catalogue.apply(Declared(agents=[AGENT], policies=[POLICY]), NOW)
    await view.look()
    changed = Policy(name=POLICY.name, effect=Effect.DENY, agents=(AGENT.name,))

    await store.catalogue.apply(Declared(policies=[changed]), NOW)
    await view.look()

    assert view.policies.about(AGENT.name, ServiceName("any")) == (changed,)
