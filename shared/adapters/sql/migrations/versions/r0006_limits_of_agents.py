"""How much each agent may ask at once."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Agents of before have the dispensers' own limits."""
    for name in ("max_requests_per_second", "max_concurrency"):
        op.add_column("agents", sa.Column(name, sa.Integer))
