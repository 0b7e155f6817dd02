from datetime import datetime

from shared.adapters.sql.admins import SqlAdmins
from shared.adapters.sql.audit import SqlAudit
from shared.adapters.sql.audit_tree import SqlAuditTree
from shared.adapters.sql.catalogue import SqlCatalogue
from shared.adapters.sql.checkpoints import SqlCheckpoints
from shared.adapters.sql.consents import SqlConsents
from shared.adapters.sql.engine import Database
from shared.adapters.sql.enrolments import SqlEnrolments
from shared.adapters.sql.grants import SqlGrants
from shared.adapters.sql.handbacks import SqlHandbacks
from shared.adapters.sql.migration import migrate, require_head
from shared.adapters.sql.outbox import SqlOutbox
from shared.adapters.sql.purge import purge
from shared.adapters.sql.revocations import SqlRevocations
from shared.adapters.sql.rotations import SqlRotations
from shared.adapters.sql.sealed import SqlSealed
from shared.adapters.sql.transport_keys import SqlTransportKeys

__all__ = ["SqlStore", "migrate"]


class SqlStore:
    """The SQL truth, one noun a room. Every call is one short transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.catalogue = SqlCatalogue(database)
        self.grants = SqlGrants(database)
        self.rotations = SqlRotations(database)
        self.enrolments = SqlEnrolments(database)
        self.handbacks = SqlHandbacks(database)
        self.consents = SqlConsents(database)
        self.revocations = SqlRevocations(database)
        self.admins = SqlAdmins(database)
        self.outbox = SqlOutbox(database)
        self.audit = SqlAudit(database)
        self.audit_tree = SqlAuditTree(database)
        self.checkpoints = SqlCheckpoints(database)
        self.sealed = SqlSealed(database)
        self.transport_keys = SqlTransportKeys(database)

    @classmethod
    def open(cls, database_url: str) -> "SqlStore":
        """A store on `sqlite:///path` or `postgresql://…`; it connects when first asked something.

        Raises: ConfigurationError.
        """
        return cls(Database(database_url))

    async def ping(self) -> None:
        """Raises: StoreUnavailable, StoreNotMigrated."""
        async with self._database.reading() as connection:
            await require_head(connection)

    async def now(self) -> datetime:
        """The database's own time. Raises: StoreUnavailable."""
        return await self._database.now()

    async def purge(self, now: datetime) -> dict[str, int]:
        """Remove what has outlived its use. Returns how many rows, by table."""
        return await purge(self._database, now)

    async def close(self) -> None:
        """Disconnect for good: what is asked later raises StoreUnavailable."""
        await self._database.close()
