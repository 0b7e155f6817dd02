"""What workers did is audited, whichever of disk and database fails right after they did it."""

from collections.abc import Sequence

import pytest
from integration.refreshing import SERVICE, Vault

from shared.adapters.audit_journal import FileAuditJournal
from shared.audit_filter import AuditFilter
from shared.errors import AuditUnavailable, StoreUnavailable
from shared.model import AuditRecord
from workers.audit_shipping import AuditShipping
from workers.audit_trail import AuditTrail


class DownIndex:
    """An audit's index whose database does not answer."""

    async def append(self, _: Sequence[bytes]) -> None:
        raise StoreUnavailable("Made to fail.")


class FullJournal:
    """A journal on a full disk."""

    async def append(self, *_: AuditRecord) -> None:
        raise AuditUnavailable("Made to fail.")


async def test_a_rotation_is_audited_though_the_database_fails_after_its_commit(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = vault.folder / "audit"
    async with FileAuditJournal(folder, "refresher") as journal:
        await vault.declare()
        await vault.refresher(journal=journal)
        await vault.connect()
        monkeypatch.setattr(vault.store.audit, "append", DownIndex().append)
        await vault.ask(1)
        monkeypatch.undo()
    assert await vault.actions() == []
    await AuditShipping(folder, vault.store.audit.append, vault.clock).ship()
    assert await vault.actions() == ["grant.connected", "grant.refreshed"]
    [newest, _] = await vault.store.audit.query(AuditFilter(service=SERVICE))
    assert (newest.door, newest.generation) == ("refresher-1", 2)


async def test_a_record_that_the_disk_does_not_take_is_in_the_index_at_once(vault: Vault) -> None:
    trail = AuditTrail(vault.store.audit, vault.clock, "janitor", FullJournal())
    assert await trail.record("refresh.dead_lettered", "dead")
    assert [record.action for record in await vault.store.audit.query()] == ["refresh.dead_lettered"]


async def test_a_record_that_neither_takes_stops_nobody(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail = AuditTrail(vault.store.audit, vault.clock, "janitor", FullJournal())
    monkeypatch.setattr(vault.store.audit, "append", DownIndex().append)
    assert not await trail.record("refresh.dead_lettered", "dead")
