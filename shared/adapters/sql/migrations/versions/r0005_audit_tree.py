"""The audit as a log of lines, under a Merkle tree."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from shared.audit_tiles import appended, edge
from shared.merkle import leaf_hash

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
BATCH = 1000
COLUMNS = (
    "writer",
    "sequence",
    "at",
    "action",
    "outcome",
    "agent",
    "session",
    "owner",
    "service",
    "generation",
)


def upgrade() -> None:
    """Records of before become the tree's first leaves, oldest first."""
    log = _log()
    tree = op.create_table(
        "audit_tree",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_audit_tree_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_audit_tree"),
    )
    tiles = op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name="pk_audit_tiles"),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("written_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_audit_checkpoints"),
    )
    size, hashes = 0, dict[tuple[int, int], bytes]()
    for rows in _batches():
        leaves = [leaf_hash(row["line"].encode()) for row in rows]
        changed = appended(size, {tile: hashes[tile] for tile in edge(size)}, leaves)
        hashes |= changed
        op.bulk_insert(log, [row | {"position": size + n} for n, row in enumerate(rows)])
        size += len(rows)
    op.bulk_insert(
        tiles, [{"level": level, "number": n, "hashes": tile} for (level, n), tile in hashes.items()]
    )
    op.bulk_insert(tree, [{"id": 1, "size": size}])
    op.drop_table("audit")


def _log() -> sa.Table:
    log = op.create_table(
        "audit_log",
        sa.Column(
            "position",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("generation", sa.BigInteger()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_audit_log"),
        sa.UniqueConstraint("writer", "sequence", name="uq_audit_log_writer_sequence"),
    )
    has_fingerprint = sa.text("fingerprint != ''")
    op.create_index("ix_audit_log_at", "audit_log", ["at"])
    op.create_index("ix_audit_log_agent_at", "audit_log", ["agent", "at"])
    op.create_index("ix_audit_log_owner_at", "audit_log", ["owner", "at"])
    op.create_index("ix_audit_log_service_owner_generation", "audit_log", ["service", "owner", "generation"])
    op.create_index(
        "ix_audit_log_fingerprint",
        "audit_log",
        ["fingerprint"],
        sqlite_where=has_fingerprint,
        postgresql_where=has_fingerprint,
    )
    return log


def _batches() -> Sequence[list[dict[str, Any]]]:
    before = sa.Table("audit", sa.MetaData(), autoload_with=op.get_bind())
    query = sa.select(before).order_by(before.c.at, before.c.writer, before.c.sequence)
    found = op.get_bind().execute(query).mappings()
    return [[_row(dict(row)) for row in rows] for rows in found.partitions(BATCH)]


def _row(before: dict[str, Any]) -> dict[str, Any]:
    """A row of the log, its line as journals write them."""
    shown = {name: value for name, value in before.items() if value not in ("", [], None)}
    shown["at"] = _utc(before["at"]).isoformat()
    line = json.dumps(shown, sort_keys=True, separators=(",", ":"))
    return {name: before[name] for name in (*COLUMNS, "fingerprint")} | {"line": line}


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
