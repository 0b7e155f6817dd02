from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from shared.messages import LifecycleEvent
from shared.model import Grant, GrantId, GrantState, Owner, ServiceName


class GrantStore(Protocol):
    """Grants, as everybody may see them."""

    async def find(self, service: ServiceName, owner: Owner) -> Grant | None: ...
    async def get(self, grant_id: GrantId) -> Grant | None: ...
    async def select(
        self, *, service: ServiceName | None = None, owner: Owner | None = None
    ) -> list[Grant]: ...

    async def count(self) -> Mapping[GrantState, int]:
        """How many there are, by state; states that no grant is in are left out."""

    async def claim_due(
        self, now: datetime, announced_until: datetime, limit: int, *, unsure_until: datetime | None = None
    ) -> list[Grant]:
        """Grants whose `refresh_at` has come, in a refreshable state, not announced by another scheduler;
        marks them announced, those whose credential may be spent until `unsure_until`. On PostgreSQL `FOR
        UPDATE SKIP LOCKED`, so that schedulers do not wait for each other. Oldest first."""

    async def revoke(
        self, grant_id: GrantId, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """State `revoked`, generation + 1, credential and token wiped, nothing due; the credential goes to
        the handbacks. None: no such grant, or revoked already."""

    async def revoke_all(
        self,
        now: datetime,
        event: Callable[[Grant], LifecycleEvent],
        *,
        services: Collection[ServiceName] | None = None,
        owner: Owner | None = None,
    ) -> list[Grant]:
        """As `revoke`, every grant of these services, of this owner, or at all, in one transaction. Returns
        them as they now are; those that were revoked already are not among them."""

    async def revoked_since(self, moment: datetime) -> list[Grant]:
        """Grants that were revoked at the moment or later, and still are."""
