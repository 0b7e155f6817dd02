"""Credentials of revoked grants, on their way back to their providers."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """None of before: their credentials are wiped."""
    op.create_table(
        "handbacks",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("grant_id", sa.Text, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("sealed_credential", sa.LargeBinary, nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("lease_holder", sa.Text),
        sa.Column("lease_until", UTC_TIME),
        sa.PrimaryKeyConstraint("id", name="pk_handbacks"),
    )
    op.create_index("ix_handbacks_created_at", "handbacks", ["created_at"])
