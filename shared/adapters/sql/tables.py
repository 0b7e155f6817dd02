"""The tables. A column that holds a noun's field has its name; the others are the store's own."""

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

from shared.adapters.sql.columns import ForeignText, Names, UtcDateTime, Word
from shared.messages import EventType
from shared.model import REFRESHABLE, EnrolmentState, GrantState, Proof, RevocationKind

#: Constraints get names by rule, so that a migration can speak of them.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: One row: every change of what is declared raises its version.
catalogue = Table(
    "catalogue",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("version", Integer, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

providers = Table(
    "providers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("sealed_secrets", LargeBinary),
    Column("declared_at", UtcDateTime, nullable=False),
)

services = Table(
    "services",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, ForeignKey("providers.name"), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("declared_at", UtcDateTime, nullable=False),
)

agents = Table(
    "agents",
    metadata,
    Column("name", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("proof", Word(Proof), nullable=False, server_default=Proof.OPTIONAL.value),
    Column("revoked_at", UtcDateTime),
    Column("max_requests_per_second", Integer),
    Column("max_concurrency", Integer),
    Column("declared_at", UtcDateTime, nullable=False),
)

issuers = Table(
    "issuers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("declared_at", UtcDateTime, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("name", Text, primary_key=True),
    Column("spec", JSON, nullable=False),
    Column("declared_at", UtcDateTime, nullable=False),
)

# No foreign key to services: a token that a provider has issued is kept, whatever became of the declaration.
grants = Table(
    "grants",
    metadata,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Word(GrantState), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("scopes", Names, nullable=False),
    Column("sealed_credential", LargeBinary),
    Column("credential_fingerprint", LargeBinary, nullable=False),
    Column("sealed_token", LargeBinary),
    Column("token_expires_at", UtcDateTime),
    Column("refresh_at", UtcDateTime),
    Column("failures", Integer, nullable=False),
    Column("last_error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("credential_expires_at", UtcDateTime),
    Column("warn_at", UtcDateTime),
    Column("unsure_since", UtcDateTime),
    # Who may refresh it now, and until when the scheduler keeps quiet about it.
    Column("lease_holder", Text),
    Column("lease_until", UtcDateTime),
    Column("announced_until", UtcDateTime),
    UniqueConstraint("service", "owner"),
)

#: Spelled out rather than bound: a database uses a partial index only for a condition it can read.
refreshable = grants.c.state.in_([literal_column(f"'{state}'") for state in sorted(REFRESHABLE)])

Index(None, grants.c.refresh_at, sqlite_where=refreshable, postgresql_where=refreshable)
Index(None, grants.c.owner)

intents = Table(
    "intents",
    metadata,
    Column("id", Text, primary_key=True),
    Column("grant_id", Text, ForeignKey("grants.id"), nullable=False),
    Column("generation", Integer, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("holder", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    # Open while there is no outcome.
    Column("outcome", Text),
    Column("closed_at", UtcDateTime),
    # An answer whose lineage is not the grant's, sealed.
    Column("parked", LargeBinary),
)

is_open = intents.c.outcome.is_(None)

#: The database itself refuses a second open intent on a grant.
Index(
    "uq_intents_open_grant_id",
    intents.c.grant_id,
    unique=True,
    sqlite_where=is_open,
    postgresql_where=is_open,
)
Index(None, intents.c.closed_at)

enrolments = Table(
    "enrolments",
    metadata,
    Column("id", Text, primary_key=True),
    Column("service", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Word(EnrolmentState), nullable=False),
    Column("sealed", LargeBinary),
    Column("error", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("lease_holder", Text),
    Column("lease_until", UtcDateTime),
    Column("ended_at", UtcDateTime),
    Index(None, "expires_at"),
)

#: Written in the transaction that revokes the grant, or that ends a rotation under way then; gone once the
#: provider has been told.
handbacks = Table(
    "handbacks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("grant_id", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("sealed_credential", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("lease_holder", Text),
    Column("lease_until", UtcDateTime),
    Index(None, "created_at"),
)

consents = Table(
    "consents",
    metadata,
    Column("state_hash", LargeBinary, primary_key=True),
    Column("service", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("sealed_verifier", LargeBinary, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("browser_hash", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Index(None, "expires_at"),
)

revocations = Table(
    "revocations",
    metadata,
    Column("kind", Word(RevocationKind), primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("revoked_at", UtcDateTime, nullable=False),
    Index(None, "revoked_at"),
)

admins = Table(
    "admins",
    metadata,
    Column("token_hash", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    # In the order of writing. SQLite numbers rows by itself in INTEGER columns only.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("type", Word(EventType), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("service", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("generation", Integer),
    Column("details", JSON, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)

transport_keys = Table(
    "transport_keys",
    metadata,
    # Counted from the epoch.
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

audit_log = Table(
    "audit_log",
    metadata,
    # The leaf's place in the tree: the order of shipping.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("writer", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # What is asked for; all that is told comes from the line.
    Column("at", UtcDateTime, nullable=False),
    Column("action", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("agent", ForeignText, nullable=False),
    Column("session", ForeignText, nullable=False),
    Column("owner", ForeignText, nullable=False),
    Column("service", ForeignText, nullable=False),
    Column("generation", BigInteger),
    Column("fingerprint", Text, nullable=False),
    Column("line", Text, nullable=False),
    UniqueConstraint("writer", "sequence"),
)
has_fingerprint = audit_log.c.fingerprint != literal_column("''")

Index(None, audit_log.c.at)
Index(None, audit_log.c.agent, audit_log.c.at)
Index(None, audit_log.c.owner, audit_log.c.at)
Index(None, audit_log.c.service, audit_log.c.owner, audit_log.c.generation)
Index(None, audit_log.c.fingerprint, sqlite_where=has_fingerprint, postgresql_where=has_fingerprint)

#: One row: who appends holds it.
audit_tree = Table(
    "audit_tree",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="one_row"),
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("written_at", UtcDateTime, nullable=False),
)
