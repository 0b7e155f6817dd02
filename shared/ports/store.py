from datetime import datetime
from typing import Protocol

from shared.ports.access import AdminStore, RevocationStore
from shared.ports.audit import AuditStore, AuditTree, CheckpointStore
from shared.ports.catalogue import CatalogueStore
from shared.ports.enrolments import ConsentStore, EnrolmentStore
from shared.ports.grants import GrantStore
from shared.ports.handbacks import HandbackStore
from shared.ports.keys import SealedStore, TransportKeyStore
from shared.ports.outbox import OutboxStore
from shared.ports.rotations import RotationStore


class Store(Protocol):
    """The SQL truth."""

    @property
    def catalogue(self) -> CatalogueStore: ...
    @property
    def grants(self) -> GrantStore: ...
    @property
    def rotations(self) -> RotationStore: ...
    @property
    def enrolments(self) -> EnrolmentStore: ...
    @property
    def handbacks(self) -> HandbackStore: ...
    @property
    def consents(self) -> ConsentStore: ...
    @property
    def revocations(self) -> RevocationStore: ...
    @property
    def admins(self) -> AdminStore: ...
    @property
    def outbox(self) -> OutboxStore: ...
    @property
    def audit(self) -> AuditStore: ...
    @property
    def audit_tree(self) -> AuditTree: ...
    @property
    def checkpoints(self) -> CheckpointStore: ...
    @property
    def sealed(self) -> SealedStore: ...
    @property
    def transport_keys(self) -> TransportKeyStore: ...

    async def ping(self) -> None:
        """Raises: StoreUnavailable, StoreNotMigrated."""

    async def now(self) -> datetime:
        """The database's own time, to the millisecond at least. Raises: StoreUnavailable."""

    async def purge(self, now: datetime) -> dict[str, int]:
        """Remove what has outlived its use: ended enrolments and consents, closed intents, old revocations
        and transport keys. Returns how many rows, by table."""

    async def close(self) -> None: ...
