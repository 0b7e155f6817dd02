"""A million records are verified in seconds and in bounded memory, and whoever checks single ones agrees."""

import random
import resource
import time
from pathlib import Path

import pytest
from contract.stores import a_record
from integration.audit_desk import VERIFIER, AuditDesk
from proof_checker import check

from dispenser.audit_review import of_database, of_export
from shared import audit_line
from shared.adapters.sql.store import SqlStore, migrate

RECORDS = 1_000_000
BATCH = 10_000
#: More than any audit of this size needs, and far less than it is large.
MOST_GROWTH_KIB = 200 * 1024


def grown_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_million_records_are_verified_and_single_ones_proved(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    migrate(url)
    desk = AuditDesk(SqlStore.open(url), tmp_path)
    try:
        one = audit_line.encode(a_record(agent="tracker-17", session="s" * 32, purpose="p" * 60, sequence=0))
        for start in range(0, RECORDS, BATCH):
            rows = [one.replace(b'"sequence":0', b'"sequence":%d' % (start + n)) for n in range(BATCH)]
            await desk.signed(*rows)
        before, began = grown_kib(), time.monotonic()
        review = await of_database(desk.store, desk.witnessed, lambda _: None)
        print(f"database: {time.monotonic() - began:.1f} s, {grown_kib() - before} KiB more")
        assert (review.records, review.signed, review.fault) == (RECORDS, RECORDS, None)
        for position in random.Random(1).sample(range(RECORDS), 300):
            check(await desk.proof(position), str(VERIFIER))

        export = tmp_path / "export.jsonl"
        with export.open("wb") as file:
            for start in range(0, RECORDS, BATCH):
                file.writelines(await desk.exported(start, BATCH))
        before, began = grown_kib(), time.monotonic()
        with export.open("rb") as file:
            review = of_export(file, desk.witnessed, lambda _: None)
        print(f"export: {time.monotonic() - began:.1f} s, {grown_kib() - before} KiB more")
        assert (review.records, review.signed, review.fault) == (RECORDS, RECORDS, None)
        assert grown_kib() - before < MOST_GROWTH_KIB
    finally:
        await desk.store.close()
