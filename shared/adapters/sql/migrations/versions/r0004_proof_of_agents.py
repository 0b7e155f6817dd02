"""Whether an agent's vault tokens are bound to a key."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Agents of before need not."""
    op.add_column("agents", sa.Column("proof", sa.Text, nullable=False, server_default="optional"))
