"""Whatever is done to an audit after it was signed is found, and named."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from contract.stores import a_record, empty_store_url, later, store, store_url
from integration.audit_desk import VERIFIER, VERIFIERS, AuditDesk, lines
from proof_checker import check
from sqlalchemy import text

from dispenser.audit_export import unwrapped, wrapped
from dispenser.audit_proof import consistency_proof
from dispenser.audit_verification import Tampering
from shared import audit_line
from shared.adapters.sql.store import SqlStore, migrate
from shared.audit_tiles import divided
from shared.checkpoint import Checkpoint, opened
from shared.merkle import consistency, is_consistent, leaf_hash, nodes, span_hash
from workers.audit_retention import AuditRetention

__all__ = ["empty_store_url", "store", "store_url"]
CHANCE = random.Random(9162)


@pytest.fixture
async def desk(store: SqlStore, tmp_path: Path) -> AuditDesk:
    """On either database: 700 records, checkpoints at 300 and 600."""
    desk = AuditDesk(store, tmp_path)
    await desk.signed(*lines(300, purpose="日報 \x00", generation=4, fingerprint="f"))
    await desk.signed(*lines(300))
    await desk.store.audit.append(lines(100))
    return desk


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[AuditDesk]:
    url = f"sqlite:///{tmp_path / 'vault.db'}"
    await asyncio.to_thread(migrate, url)
    store = SqlStore.open(url)
    try:
        desk = AuditDesk(store, tmp_path)
        for count in (5, 1, 6):
            await desk.signed(*lines(count))
        yield desk
    finally:
        await store.close()


async def altered(desk: AuditDesk, *statements: str, **values: object) -> None:
    """As somebody does it who has the database."""
    async with desk.store._database.writing() as connection:
        for statement in statements:
            await connection.execute(text(statement), values)


async def found(desk: AuditDesk) -> tuple[Tampering, int, int]:
    fault = (await desk.review()).fault
    assert fault is not None
    return fault.tampering, fault.position, fault.last


# -------------------------------------------------------------------------------------------- as it was


async def test_an_audit_that_nobody_touched_is_whole(desk: AuditDesk) -> None:
    review = await desk.review()
    assert (review.records, review.signed, review.fault) == (700, 600, None)
    review = desk.export_review(await desk.export())
    assert (review.records, review.signed, review.fault) == (700, 600, None)


async def test_an_empty_audit_is_whole_and_nothing_is_signed(store: SqlStore, tmp_path: Path) -> None:
    desk = AuditDesk(store, tmp_path)
    assert await desk.signed() is None
    assert (await desk.review()).fault is None
    assert desk.export_review([]).fault is None


async def test_a_checker_that_knows_nothing_of_ours_agrees_about_every_record(desk: AuditDesk) -> None:
    for position in {0, 1, 255, 256, 299, 300, 511, 512, 599, *CHANCE.sample(range(600), 40)}:
        [(_, line)] = await desk.store.audit.read(position, 1)
        assert check(await desk.proof(position), str(VERIFIER)) == line


async def test_a_checker_takes_no_proof_of_another_record_or_key(desk: AuditDesk) -> None:
    proof = await desk.proof(7)
    for wrong in (proof.replace("index 7", "index 8"), proof.replace("\n600\n", "\n599\n")):
        with pytest.raises(Exception):  # noqa: B017, PT011 - it fails somehow
            check(wrong, str(VERIFIER))


async def test_each_checkpoint_begins_with_the_one_before(desk: AuditDesk) -> None:
    first, second = desk.witnessed
    spans = consistency(first.size, second.size)
    hashes = await desk.store.audit_tree.hashes({node for span in spans for node in nodes(span)})
    path = [span_hash(span, hashes.__getitem__) for span in spans]
    assert is_consistent(first.size, second.size, (first.root, second.root), path)
    assert consistency_proof(300, path, "note\n").startswith("old 300\n")


# ---------------------------------------------------------------------------------------------- signing


async def test_checkpoints_come_to_the_database_the_file_and_the_bus(small: AuditDesk) -> None:
    kept = [note for _, note in await small.store.checkpoints.after(0, 10)]
    assert [opened(note, VERIFIERS) for note in kept] == small.witnessed
    [file] = (small.folder / "checkpoints").iterdir()
    assert file.read_text() == "".join(f"\n{note}" for note in kept)
    assert [one.size for one in small.witnessed] == [5, 6, 12]


async def test_an_audit_that_has_not_grown_is_not_signed_again(small: AuditDesk) -> None:
    assert await small.signed() is None


async def test_a_tree_that_is_not_what_was_signed_is_not_signed_on(small: AuditDesk) -> None:
    tile = b"".join(leaf_hash(line) for line in lines(12))
    await altered(small, "UPDATE audit_tiles SET hashes = :tile", tile=tile)
    assert await small.signed(*lines(1)) is None


@pytest.mark.parametrize("size", [0, 5])
async def test_an_older_database_is_not_signed_on_for_the_file_knows_more(
    small: AuditDesk, size: int
) -> None:
    """A backup was put back, with its own checkpoints and a tree that is well by itself."""
    kept = [divided(tile) for tile in await tiles(small)]
    await altered(
        small,
        f"DELETE FROM audit_log WHERE position >= {size}",
        f"DELETE FROM audit_checkpoints WHERE size > {size}",
        f"UPDATE audit_tree SET size = {size}",
        "UPDATE audit_tiles SET hashes = :tile",
        tile=b"".join(kept[0][:size]),
    )
    assert await small.signed(*lines(20)) is None
    assert (await found(small))[0] is Tampering.CHANGED


async def tiles(desk: AuditDesk) -> Sequence[bytes]:
    async with desk.store._database.reading() as connection:
        return (await connection.execute(text("SELECT hashes FROM audit_tiles"))).scalars().all()


# ------------------------------------------------------------------------------------------ the database


async def test_a_row_that_is_deleted_is_named(desk: AuditDesk) -> None:
    await altered(desk, "DELETE FROM audit_log WHERE position IN (417, 500)")
    assert await found(desk) == (Tampering.REMOVED, 417, 417)


async def test_the_last_rows_are_missed(desk: AuditDesk) -> None:
    await altered(desk, "DELETE FROM audit_log WHERE position >= 550")
    assert (await found(desk))[:2] == (Tampering.REMOVED, 550)


async def test_first_rows_that_were_deleted_and_not_purged_are_missed(desk: AuditDesk) -> None:
    await altered(desk, "DELETE FROM audit_log WHERE position < 10")
    assert await found(desk) == (Tampering.REMOVED, 0, 9)


async def test_all_rows_are_missed(desk: AuditDesk) -> None:
    await altered(desk, "DELETE FROM audit_log")
    assert (await found(desk))[:2] == (Tampering.REMOVED, 0)


async def test_rows_that_were_swapped_are_named(desk: AuditDesk) -> None:
    await altered(
        desk,
        "UPDATE audit_log SET position = -1 WHERE position = 100",
        "UPDATE audit_log SET position = 100 WHERE position = 200",
        "UPDATE audit_log SET position = 200 WHERE position = -1",
    )
    assert await found(desk) == (Tampering.MOVED, 100, 100)


async def test_a_row_that_was_put_in_between_is_named(desk: AuditDesk) -> None:
    moved = "UPDATE audit_log SET position = position + 1000 WHERE position >= 350"
    back = "UPDATE audit_log SET position = position - 999 WHERE position >= 1000"
    await altered(desk, moved, back, INSERTED.format(350), "UPDATE audit_tree SET size = 701", line=FORGED)
    assert await found(desk) == (Tampering.CHANGED, 350, 350)


async def test_a_row_beyond_the_tree_is_named(desk: AuditDesk) -> None:
    await altered(desk, INSERTED.format(9000), line=FORGED)
    assert await found(desk) == (Tampering.INSERTED, 9000, 9000)


FORGED = audit_line.encode(a_record(writer="forged", sequence=1)).decode()
INSERTED = """
    INSERT INTO audit_log (position, writer, sequence, at, action, outcome, agent, session, owner, service,
        generation, fingerprint, line)
    SELECT {}, 'forged', 1, at, action, outcome, agent, session, owner, service, generation, fingerprint,
        :line
    FROM audit_log WHERE position = 0
"""


async def test_any_bit_that_changes_in_a_line_is_found_in_its_record(desk: AuditDesk) -> None:
    lines_ = await desk.store.audit.read(0, 600)
    for position, line in CHANCE.sample(lines_, 40):
        place = CHANCE.randrange(len(line))
        changed = line[:place] + bytes([line[place] ^ 1 << CHANCE.randrange(7)]) + line[place + 1 :]
        if b"\x00" in changed:  # no database takes it
            continue
        update = f"UPDATE audit_log SET line = :line WHERE position = {position}"
        await altered(desk, update, line=changed.decode())
        assert (await found(desk))[1] == position
        await altered(desk, update, line=line.decode())
    assert (await desk.review()).fault is None


@pytest.mark.parametrize(
    "change", ["agent = 'nobody'", "owner = 'x'", "outcome = 'denied'", "generation = 3", "sequence = -5"]
)
async def test_a_column_that_hides_a_record_from_questions_is_named(desk: AuditDesk, change: str) -> None:
    await altered(desk, f"UPDATE audit_log SET {change} WHERE position = 42")
    assert await found(desk) == (Tampering.MISINDEXED, 42, 42)


async def test_any_hash_that_changes_is_found(desk: AuditDesk) -> None:
    async with desk.store._database.reading() as connection:
        rows = (await connection.execute(text("SELECT level, number, hashes FROM audit_tiles"))).all()
    assert {row.level for row in rows} == {0, 1}
    for row in rows:
        for place in CHANCE.sample(range(len(row.hashes)), min(12, len(row.hashes))):
            changed = bytearray(row.hashes)
            changed[place] ^= 1 << CHANCE.randrange(8)
            where = (
                f"UPDATE audit_tiles SET hashes = :tile WHERE level = {row.level} AND number = {row.number}"
            )
            await altered(desk, where, tile=bytes(changed))
            (_, first, last) = await found(desk)
            width = 256**row.level
            assert first <= (row.number * 256 + place // 32) * width <= last
            await altered(desk, where, tile=row.hashes)


async def test_a_record_rewritten_with_all_its_hashes_is_found_between_its_checkpoints(
    desk: AuditDesk,
) -> None:
    """By somebody who knows how the tree is made, and has no signing key."""
    [(position, line)] = await desk.store.audit.read(310, 1)
    forged = line.replace(b'"tracker"', b'"another"')
    await altered(
        desk,
        f"UPDATE audit_log SET line = :line, agent = 'another' WHERE position = {position}",
        line=forged.decode(),
    )
    leaves = [leaf_hash(one) for _, one in await desk.store.audit.read(0, 700)]
    for number in range(3):
        tile = b"".join(leaves[number * 256 : number * 256 + 256])
        update = f"UPDATE audit_tiles SET hashes = :tile WHERE level = 0 AND number = {number}"
        await altered(desk, update, tile=tile)
    assert await found(desk) == (Tampering.CHANGED, 300, 599)


async def test_two_audits_that_were_signed_are_found(desk: AuditDesk) -> None:
    desk.witnessed.append(Checkpoint(origin="o", size=300, root=bytes(32)))
    assert (await found(desk))[0] is Tampering.FORKED


# -------------------------------------------------------------------------------------------- the export


async def test_any_single_bit_that_changes_in_an_export_is_found_in_its_record(small: AuditDesk) -> None:
    whole = b"".join(await small.export())
    for place in range(len(whole)):
        changed = whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        fault = small.export_review(changed.splitlines(keepends=True)).fault
        assert fault is not None, place
        assert fault.position <= whole.count(b"\n", 0, place) <= fault.last, place


async def test_a_line_of_an_export_that_is_gone_doubled_moved_or_foreign_is_named(small: AuditDesk) -> None:
    whole = await small.export()
    cases = [
        ([*whole[:4], *whole[5:]], Tampering.REMOVED, 4),
        (whole[1:], Tampering.REMOVED, 0),
        (whole[:11], Tampering.REMOVED, 11),
        ([*whole[:4], whole[3], *whole[4:]], Tampering.INSERTED, 4),
        ([whole[1], whole[0], *whole[2:]], Tampering.REMOVED, 0),
        ([*whole[:7], b"\n", *whole[7:]], Tampering.CHANGED, 7),
        ([*whole[:7], wrapped(7, FORGED.encode()) + b"\n", *whole[8:]], Tampering.CHANGED, 6),
    ]
    for changed, tampering, position in cases:
        fault = small.export_review(changed).fault
        assert fault is not None
        assert (fault.tampering, fault.position) == (tampering, position)


async def test_an_export_rewritten_with_its_hashes_is_found_between_its_checkpoints(small: AuditDesk) -> None:
    whole = await small.export()
    for at, line in enumerate(whole):
        position, _, record = unwrapped(line) or (0, b"", b"")
        forged = wrapped(position, record.replace(b"tracker", b"another"))
        fault = small.export_review([*whole[:at], forged, *whole[at + 1 :]]).fault
        assert fault is not None
        assert fault.position <= at <= fault.last


# -------------------------------------------------------------------------------------------- retention


async def test_after_a_purge_all_is_proved_as_before(desk: AuditDesk) -> None:
    def purged(upto: int) -> bytes:
        return audit_line.encode(a_record(action="audit.purged", count=upto, at=later(99)))

    before = {position: await desk.proof(position) for position in (150, 400)}
    assert await desk.store.audit.purge(later(5), 77, purged) == 77
    review = await desk.review()
    assert (review.purged, review.records, review.signed, review.fault) == (77, 624, 600, None)
    review = desk.export_review(await desk.export())
    assert (review.purged, review.records, review.signed, review.fault) == (77, 624, 600, None)
    assert {position: await desk.proof(position) for position in before} == before

    await altered(desk, "DELETE FROM audit_log WHERE position < 80")
    assert await found(desk) == (Tampering.REMOVED, 77, 79)


async def test_an_export_whose_purged_part_is_not_the_trees_is_found(desk: AuditDesk) -> None:
    def purged(upto: int) -> bytes:
        return audit_line.encode(a_record(action="audit.purged", count=upto, at=later(99)))

    await desk.store.audit.purge(later(5), 77, purged)
    whole = await desk.export()
    changed = whole[0].replace(b'"a', b'"b', 1) if b'"a' in whole[0] else whole[0].replace(b"0", b"1", 1)
    assert desk.export_review([changed, *whole[1:]]).fault is not None
    shorter = whole[0][: whole[0].rindex(b",")] + b"]}\n"
    fault = desk.export_review([shorter, *whole[1:]]).fault
    assert fault is not None
    assert fault.tampering is Tampering.UNHASHED


async def test_records_are_kept_for_as_long_as_was_asked(desk: AuditDesk) -> None:
    now = later(2 * 86_400)
    assert await AuditRetention(desk.store, lambda: now, name="janitor", days=0).purge() == 0
    assert await AuditRetention(desk.store, lambda: now, name="janitor", days=3).purge() == 0
    assert await AuditRetention(desk.store, lambda: now, name="janitor", days=1).purge() == 600
    review = await desk.review()
    assert (review.purged, review.records, review.fault) == (600, 101, None)
    await desk.signed(*lines(5))
    assert await AuditRetention(desk.store, lambda: now, name="janitor", days=1).purge() == 100
    assert (await desk.review()).fault is None


async def test_of_old_checkpoints_the_last_of_each_day_stays(small: AuditDesk) -> None:
    kept = small.store.checkpoints
    for size, days in ((20, 1), (21, 1), (22, 1), (23, 2), (24, 9)):
        await kept.add(size, f"note {size}", later(86_400 * days))
    assert await kept.thin(later(86_400 * 8)) == 2
    assert [size for size, _ in await kept.after(12, 10)] == [22, 23, 24]
