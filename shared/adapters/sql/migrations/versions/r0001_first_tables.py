"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)
REFRESHABLE = sa.text("state IN ('active', 'refresh_failing', 'unknown')")
OPEN = sa.text("outcome IS NULL")


def upgrade() -> None:
    """From an empty database."""
    _catalogue()
    _grants()
    _credentials_on_their_way()
    _revocations_and_admins()
    _outbox()
    _audit()


def _catalogue() -> None:
    op.create_table(
        "catalogue",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.CheckConstraint("id = 1", name="ck_catalogue_one_row"),
        sa.PrimaryKeyConstraint("id", name="pk_catalogue"),
    )
    op.create_table(
        "providers",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("sealed_secrets", sa.LargeBinary()),
        sa.Column("declared_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_providers"),
    )
    op.create_table(
        "services",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("declared_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(["provider"], ["providers.name"], name="fk_services_provider"),
        sa.PrimaryKeyConstraint("name", name="pk_services"),
    )
    op.create_table(
        "agents",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("revoked_at", UTC_TIME),
        sa.Column("declared_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_agents"),
    )
    op.create_table(
        "policies",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("declared_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_policies"),
    )
    op.execute("INSERT INTO catalogue (id, version) VALUES (1, 0)")


def _grants() -> None:
    op.create_table(
        "grants",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("sealed_credential", sa.LargeBinary()),
        sa.Column("credential_fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_token", sa.LargeBinary()),
        sa.Column("token_expires_at", UTC_TIME),
        sa.Column("refresh_at", UTC_TIME),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("last_error", sa.Text()),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("updated_at", UTC_TIME, nullable=False),
        sa.Column("lease_holder", sa.Text()),
        sa.Column("lease_until", UTC_TIME),
        sa.Column("announced_until", UTC_TIME),
        sa.PrimaryKeyConstraint("id", name="pk_grants"),
        sa.UniqueConstraint("service", "owner", name="uq_grants_service_owner"),
    )
    op.create_index("ix_grants_owner", "grants", ["owner"])
    op.create_index(
        "ix_grants_refresh_at",
        "grants",
        ["refresh_at"],
        sqlite_where=REFRESHABLE,
        postgresql_where=REFRESHABLE,
    )
    op.create_table(
        "intents",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("grant_id", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("opened_at", UTC_TIME, nullable=False),
        sa.Column("outcome", sa.Text()),
        sa.Column("closed_at", UTC_TIME),
        sa.Column("parked", sa.LargeBinary()),
        sa.ForeignKeyConstraint(["grant_id"], ["grants.id"], name="fk_intents_grant_id"),
        sa.PrimaryKeyConstraint("id", name="pk_intents"),
    )
    op.create_index("ix_intents_closed_at", "intents", ["closed_at"])
    op.create_index(
        "uq_intents_open_grant_id",
        "intents",
        ["grant_id"],
        unique=True,
        sqlite_where=OPEN,
        postgresql_where=OPEN,
    )


def _credentials_on_their_way() -> None:
    op.create_table(
        "enrolments",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary()),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.Column("expires_at", UTC_TIME, nullable=False),
        sa.Column("lease_holder", sa.Text()),
        sa.Column("lease_until", UTC_TIME),
        sa.Column("ended_at", UTC_TIME),
        sa.PrimaryKeyConstraint("id", name="pk_enrolments"),
    )
    op.create_index("ix_enrolments_expires_at", "enrolments", ["expires_at"])
    op.create_table(
        "consents",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("sealed_verifier", sa.LargeBinary(), nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("state_hash", name="pk_consents"),
    )
    op.create_index("ix_consents_expires_at", "consents", ["expires_at"])


def _revocations_and_admins() -> None:
    op.create_table(
        "revocations",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("revoked_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("kind", "subject", name="pk_revocations"),
    )
    op.create_index("ix_revocations_revoked_at", "revocations", ["revoked_at"])
    op.create_table(
        "admins",
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name="pk_admins"),
    )


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer()),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("written_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
        sa.UniqueConstraint("id", name="uq_outbox_id"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("agent", sa.Text(), nullable=False),
        sa.Column("session", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer()),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("catalogue_version", sa.Integer(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("writer", "sequence", name="pk_audit"),
    )
    op.create_index("ix_audit_agent_at", "audit", ["agent", "at"])
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_owner_at", "audit", ["owner", "at"])
    op.create_index("ix_audit_service_at", "audit", ["service", "at"])
