"""What the vault asks of the world.

Adapters answer, and translate every driver's error to one of `shared.errors`.
"""

from shared.ports.access import AdminStore, RevocationStore
from shared.ports.audit import AuditJournal, AuditStore, AuditTree, CheckpointLedger, CheckpointStore
from shared.ports.bus import Ack, Bus, DeadLetter, Delivery, Handler, Outgoing, RetryLater, Settlement
from shared.ports.cache import Cache
from shared.ports.catalogue import CatalogueStore, Declared
from shared.ports.clock import Clock
from shared.ports.enrolments import Consent, ConsentStore, EnrolmentStore
from shared.ports.grants import GrantStore
from shared.ports.handbacks import HandbackStore
from shared.ports.keys import RowId, SealedStore, TransportKeyStore
from shared.ports.outbox import OutboxStore
from shared.ports.provider_http import (
    AddressRefused,
    Closed,
    HttpRequest,
    HttpResponse,
    Mistrusted,
    NoAnswer,
    NotAsked,
    NotSent,
    ProviderHttp,
)
from shared.ports.rotations import Claim, Failure, Renewal, RotationStore, Unclaimed
from shared.ports.store import Store

__all__ = [
    "Ack",
    "AddressRefused",
    "AdminStore",
    "AuditJournal",
    "AuditStore",
    "AuditTree",
    "Bus",
    "Cache",
    "CatalogueStore",
    "CheckpointLedger",
    "CheckpointStore",
    "Claim",
    "Clock",
    "Closed",
    "Consent",
    "ConsentStore",
    "DeadLetter",
    "Declared",
    "Delivery",
    "EnrolmentStore",
    "Failure",
    "GrantStore",
    "HandbackStore",
    "Handler",
    "HttpRequest",
    "HttpResponse",
    "Mistrusted",
    "NoAnswer",
    "NotAsked",
    "NotSent",
    "OutboxStore",
    "Outgoing",
    "ProviderHttp",
    "Renewal",
    "RetryLater",
    "RevocationStore",
    "RotationStore",
    "RowId",
    "SealedStore",
    "Settlement",
    "Store",
    "TransportKeyStore",
    "Unclaimed",
]
