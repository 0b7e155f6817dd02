from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.model import Agent, AgentName, Catalogue, Issuer, Offer, Policy, Provider, ProviderName, Service

# Every call is one short transaction. Raises StoreUnavailable, or StoreNotMigrated where tables are missing.


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a catalogue should hold. A sealed secret of None keeps the one there is."""

    providers: Sequence[tuple[Provider, bytes | None]] = ()
    services: Sequence[Service] = ()
    agents: Sequence[Agent] = ()
    policies: Sequence[Policy] = ()
    issuers: Sequence[Issuer] = ()


class CatalogueStore(Protocol):
    """Providers, services, agents and policies."""

    async def load(self, before: Catalogue | None = None) -> Catalogue:
        """All of it, as of one version. Agents and policies that `before` has alike are the very same."""

    async def offer(self) -> Offer:
        """Services and providers, without the many agents and policies."""

    async def agent(self, name: AgentName) -> Agent | None:
        """One of the agents."""

    async def version(self) -> int:
        """The current version: cheap enough to ask for every second."""

    async def apply(self, declared: Declared, now: datetime) -> int:
        """Insert or replace what is declared (nothing is removed; `revoked_at` is kept) and return the new
        version."""

    async def provider_secrets(self, name: ProviderName) -> bytes | None:
        """The sealed secrets."""

    async def set_agent_revoked(self, name: AgentName, revoked_at: datetime | None) -> bool:
        """Revoke or restore an agent. False: there is none of that name. Raises the version."""
