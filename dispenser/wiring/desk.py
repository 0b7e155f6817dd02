from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dispenser.bounded_journal import bounded
from dispenser.catalogue_view import CatalogueView
from dispenser.dispense import Dispenser
from dispenser.limits import Limits
from dispenser.metrics import Metrics
from dispenser.polling import polled
from dispenser.revocation_view import RevocationView
from dispenser.wiring.consent import connect_url
from dispenser.wiring.world import World, journal_folder, new_id
from shared.adapters.audit_journal import FileAuditJournal
from shared.ports import AuditJournal


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What a door needs to answer agents."""

    dispenser: Dispenser
    catalogue: CatalogueView
    journal: AuditJournal
    #: Of every door of this process.
    metrics: Metrics


@asynccontextmanager
async def desk(world: World) -> AsyncIterator[Desk]:
    """A request path with its catalogue and its audit journal. Raises: StoreUnavailable, AuditUnavailable."""
    catalogue = CatalogueView(world.store.catalogue)
    revocations = RevocationView(world.store.revocations, world.clock)
    async with (
        polled(catalogue.look, "catalogue"),
        polled(revocations.look, "revocations"),
        FileAuditJournal(journal_folder(world.settings), world.name) as file,
        bounded(file) as journal,
    ):
        dispenser = Dispenser(
            store=world.store,
            cache=world.cache,
            bus=world.bus,
            keys=world.keys,
            catalogue=catalogue,
            revocations=revocations,
            journal=journal,
            clock=world.clock,
            vault=world.settings.vault_name,
            connect_url=connect_url(world),
            new_id=new_id,
            limits=Limits(
                max_requests_per_second=world.settings.max_requests_per_second,
                max_concurrency=world.settings.max_concurrency,
            ),
        )
        yield Desk(dispenser=dispenser, catalogue=catalogue, journal=journal, metrics=Metrics())
