"""When credentials end, and since when they may be spent."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Grants of before have neither."""
    for name in ("credential_expires_at", "warn_at", "unsure_since"):
        op.add_column("grants", sa.Column(name, sa.DateTime(timezone=True)))
