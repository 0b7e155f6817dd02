"""Grants whose rows were put back from a backup: the audit knows of later generations."""

from dataclasses import dataclass

from shared.model import Owner, ServiceName
from shared.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredGrant:
    """A grant's row, and what the audit knows."""

    service: ServiceName
    owner: Owner
    #: None: there is no row at all.
    generation: int | None
    audited_generation: int

    def __str__(self) -> str:
        row = "gone" if self.generation is None else f"at generation {self.generation}"
        known = self.audited_generation
        return f"{self.service} of {self.owner} is {row}, and the audit knows generation {known}"


async def restored_grants(store: Store) -> list[RestoredGrant]:
    """Raises: StoreUnavailable."""
    # The audit first: what it knew then was in the rows before.
    audited = await store.audit.generations()
    rows = {(grant.service, grant.owner): grant.generation for grant in await store.grants.select()}
    return [
        RestoredGrant(
            service=service, owner=owner, generation=rows.get((service, owner)), audited_generation=generation
        )
        for (service, owner), generation in sorted(audited.items())
        if rows.get((service, owner), 0) < generation
    ]
