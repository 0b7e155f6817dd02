"""What the vault asks of the world.

Adapters answer, and translate every driver's error to one of `shared.errors`.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from shared.audit_filter import EVERYTHING, AuditFilter
from shared.merkle import Node
from shared.messages import LifecycleEvent
from shared.model import (
    Agent,
    AgentName,
    AuditRecord,
    Catalogue,
    Client,
    Enrolment,
    EnrolmentId,
    Grant,
    GrantId,
    GrantState,
    Handback,
    HandbackId,
    Intent,
    IntentId,
    Issuer,
    Offer,
    Owner,
    Policy,
    Provider,
    ProviderName,
    Revocation,
    SealedColumn,
    SealedRow,
    Service,
    ServiceName,
)

#: A row's key in its table.
RowId = str | bytes | int
#: Tells the time: aware, UTC.
Clock = Callable[[], datetime]

# --------------------------------------------------------------------------------------------------- bus


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish, persistent unless it expires."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    message_id: str | None = None
    content_type: str = "application/msgpack"
    #: Seconds after which nobody needs it.
    expiration_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A message as a consumer gets it."""

    body: bytes
    headers: Mapping[str, Any]
    routing_key: str
    correlation_id: str | None
    reply_to: str | None
    #: Validated by the broker: the user that published (https://www.rabbitmq.com/docs/validated-user-id).
    user_id: str | None
    expiration_seconds: float | None
    redelivered: bool


@dataclass(frozen=True, slots=True)
class Ack:
    """Done with."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Nobody can handle it: to the dead letters."""


@dataclass(frozen=True, slots=True)
class RetryLater:
    """Try again: through the retry queue nearest above the delay, counted in the attempt header."""

    delay_seconds: float


Settlement = Ack | DeadLetter | RetryLater
Handler = Callable[[Delivery], Awaitable[Settlement]]


class Bus(Protocol):
    """The broker. Reconnects by itself, for ever; what cannot wait raises BusUnavailable."""

    @property
    def connected(self) -> bool:
        """Connected and consuming all that was asked for."""

    async def start(self) -> None:
        """Connect. Waits for the broker as long as it takes, and says so in the log."""

    async def declare(self) -> None:
        """Declare the topology. For `dispenser init` alone."""

    async def publish(self, message: Outgoing) -> None:
        """Publish, and return once the broker has confirmed.

        Raises: BusUnavailable, Unroutable, QueueFull.
        """

    async def reply(self, reply_to: str, correlation_id: str, body: bytes, expiration_seconds: float) -> None:
        """Answer a request: at most once, unconfirmed, dropped when nobody listens."""

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> None:
        """Hand every message to the handler, up to `prefetch` at once, on this and every later connection."""

    async def drain(self) -> None:
        """Take no more messages, and wait until those in hand are settled."""

    async def close(self) -> None:
        """Disconnect for good."""


# ------------------------------------------------------------------------------------------------- cache


class Cache(Protocol):
    """A shared map from keys to versioned values, which may lose everything at any moment."""

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values, in the keys' order, in one round trip. Raises: CacheUnavailable."""

    async def put_if_newer(self, key: str, version: int, value: bytes, ttl_seconds: float | None) -> bool:
        """Store unless a value of the same or a higher version is there. Raises: CacheUnavailable."""

    async def replace(self, key: str, old: bytes, new: bytes) -> bool:
        """Put `new` in `old`'s place where that is still there; its version and its end stay.

        Raises: CacheUnavailable.
        """

    async def ping(self) -> None:
        """Raises: CacheUnavailable."""

    async def close(self) -> None:
        """Disconnect for good."""


# ------------------------------------------------------------------------------------------------- store
# Every call is one short transaction. Raises StoreUnavailable, or StoreNotMigrated where tables are missing.


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a catalogue should hold. A sealed secret of None keeps the one there is."""

    providers: Sequence[tuple[Provider, bytes | None]] = ()
    services: Sequence[Service] = ()
    agents: Sequence[Agent] = ()
    policies: Sequence[Policy] = ()
    issuers: Sequence[Issuer] = ()


class CatalogueStore(Protocol):
    """Providers, services, agents and policies."""

    async def load(self, before: Catalogue | None = None) -> Catalogue:
        """All of it, as of one version. Agents and policies that `before` has alike are the very same."""

    async def offer(self) -> Offer:
        """Services and providers, without the many agents and policies."""

    async def agent(self, name: AgentName) -> Agent | None:
        """One of the agents."""

    async def version(self) -> int:
        """The current version: cheap enough to ask for every second."""

    async def apply(self, declared: Declared, now: datetime) -> int:
        """Insert or replace what is declared (nothing is removed; `revoked_at` is kept) and return the new
        version."""

    async def provider_secrets(self, name: ProviderName) -> bytes | None:
        """The sealed secrets."""

    async def set_agent_revoked(self, name: AgentName, revoked_at: datetime | None) -> bool:
        """Revoke or restore an agent. False: there is none of that name. Raises the version."""


class GrantStore(Protocol):
    """Grants, as everybody may see them."""

    async def find(self, service: ServiceName, owner: Owner) -> Grant | None: ...
    async def get(self, grant_id: GrantId) -> Grant | None: ...
    async def select(
        self, *, service: ServiceName | None = None, owner: Owner | None = None
    ) -> list[Grant]: ...

    async def count(self) -> Mapping[GrantState, int]:
        """How many there are, by state; states that no grant is in are left out."""

    async def claim_due(
        self, now: datetime, announced_until: datetime, limit: int, *, unsure_until: datetime | None = None
    ) -> list[Grant]:
        """Grants whose `refresh_at` has come, in a refreshable state, not announced by another scheduler;
        marks them announced, those whose credential may be spent until `unsure_until`. On PostgreSQL `FOR
        UPDATE SKIP LOCKED`, so that schedulers do not wait for each other. Oldest first."""

    async def revoke(
        self, grant_id: GrantId, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """State `revoked`, generation + 1, credential and token wiped, nothing due; the credential goes to
        the handbacks. None: no such grant, or revoked already."""

    async def revoke_all(
        self,
        now: datetime,
        event: Callable[[Grant], LifecycleEvent],
        *,
        services: Collection[ServiceName] | None = None,
        owner: Owner | None = None,
    ) -> list[Grant]:
        """As `revoke`, every grant of these services, of this owner, or at all, in one transaction. Returns
        them as they now are; those that were revoked already are not among them."""

    async def revoked_since(self, moment: datetime) -> list[Grant]:
        """Grants that were revoked at the moment or later, and still are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to refresh a grant until the lease ends."""

    grant: Grant
    intent: Intent
    #: The highest generation that the audit knew of the grant before its row was read; 0: it knew none.
    audited: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclaimed:
    """Why not: `stale` (the generation moved on), `busy` (another refresher, or an open intent), `state`
    (not refreshable), `missing`."""

    why: str
    grant: Grant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """A grant's new columns after a rotation, sealed for `generation` = the expected one + 1."""

    #: None with an empty fingerprint: the grant keeps no credential.
    sealed_credential: bytes | None
    credential_fingerprint: bytes
    sealed_token: bytes
    scopes: tuple[str, ...]
    token_expires_at: datetime | None
    refresh_at: datetime | None
    credential_expires_at: datetime | None = None
    warn_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a refresh that brought no token does to its grant."""

    state: GrantState
    error: str
    refresh_at: datetime | None
    unsure_since: datetime | None = None


class RotationStore(Protocol):
    """The journal of rotations and the writes that end one."""

    async def claim(
        self, grant_id: GrantId, generation: int, *, holder: str, now: datetime, lease_until: datetime
    ) -> Claim | Unclaimed:
        """Take the lease and write the intent, in one transaction: its commit proves that the database
        writes. Refused while another's lease runs or any intent on the grant is open."""

    async def commit(
        self,
        intent: Intent,
        *,
        expected_generation: int,
        expected_fingerprint: bytes,
        renewal: Renewal,
        now: datetime,
        events: Sequence[LifecycleEvent],
        expected_state: GrantState | None = None,
    ) -> Grant | None:
        """Compare-and-swap on generation and fingerprint, and on the state where the events tell of it:
        generation + 1, state `active`, failures 0, no
        doubt left, intent closed as `done`, lease ended, events into the outbox. None: the grant is not as
        expected, and nothing was written."""

    async def fail(
        self, intent: Intent, failure: Failure, *, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        """Close the intent with the error; where the grant still is at the intent's generation: failures + 1,
        the failure's columns, lease ended, events into the outbox. Returns the grant as it now is. None: the
        intent was closed before, by whoever took it over, or there is no such grant; nothing was written."""

    async def release(self, intent: Intent, why: str, now: datetime) -> None:
        """Close the intent and end the lease without touching the grant: nothing was sent."""

    async def park(self, intent: Intent, sealed: bytes, now: datetime) -> bool:
        """Keep an answer whose lineage is not the grant's, for people to look at, and close the intent.

        False: it was committed before, and the grant has gone on from there.
        """

    async def hand_back(self, intent: Intent, handback: Handback, now: datetime) -> None:
        """Put a credential that came for a revoked grant among the handbacks, unless it is there, and close
        the intent."""

    async def open_intents(self, *, holder: str | None = None) -> list[Intent]:
        """Intents without an outcome."""

    async def intent(self, intent_id: IntentId) -> tuple[Intent, str | None] | None:
        """An intent and its outcome. None for that: it is still open."""


class EnrolmentStore(Protocol):
    """Credentials on their way in."""

    async def add(self, enrolment: Enrolment) -> None: ...
    async def get(self, enrolment_id: EnrolmentId) -> Enrolment | None: ...

    async def take(
        self,
        enrolment_id: EnrolmentId,
        *,
        holder: str,
        now: datetime,
        until: datetime,
        over: datetime | None = None,
    ) -> Enrolment | None:
        """The enrolment, leased to one refresher. None: ended, expired, or another's.

        A lease that has run out is still its holder's, who may have an answer to it. `over`: one that ran
        until then is nobody's any more.
        """

    async def pending(self, now: datetime, limit: int) -> list[EnrolmentId]:
        """Those without a lease, or whose lease has run out, oldest first."""

    async def lapsed(self, now: datetime) -> Mapping[EnrolmentId, datetime]:
        """Those whose lease has run out, and until when it ran."""

    async def succeed(
        self, enrolment_id: EnrolmentId, grant: Grant, now: datetime, events: Sequence[LifecycleEvent]
    ) -> bool:
        """Insert or replace the grant row whole, wipe what was presented, state `done`; one transaction.
        False: the grant of this service and owner has another id, or is at this generation or a later one,
        and nothing was written."""

    async def fail(self, enrolment_id: EnrolmentId, error: str, now: datetime) -> None:
        """Wipe what was presented, state `failed`. An existing grant stays as it is."""


class HandbackStore(Protocol):
    """Credentials of revoked grants that their providers have not been told of yet."""

    async def take(
        self, handback_id: HandbackId, *, holder: str, now: datetime, until: datetime
    ) -> Handback | None:
        """The handback, leased to one refresher. None: ended, or another's."""

    async def pending(self, now: datetime, limit: int) -> Sequence[HandbackId]:
        """Those that nobody holds, oldest first."""

    async def end(self, handback_id: HandbackId) -> None:
        """Forget it, and the credential in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """A consent that an owner has begun in a browser (state of RFC 6749 §4.1.1), kept until its callback."""

    #: SHA-256 of `state`, so that a read of the database does not finish a consent.
    state_hash: bytes
    service: ServiceName
    owner: Owner
    #: The PKCE verifier, sealed under the cache key by the gateway that made it.
    sealed_verifier: bytes
    redirect_uri: str
    #: SHA-256 of the cookie of the browser that began it (RFC 9700 §4.7).
    browser_hash: bytes
    expires_at: datetime


class ConsentStore(Protocol):
    """Consents under way at gateways: any of them may get the callback."""

    async def add(self, consent: Consent) -> None: ...

    async def take(self, state_hash: bytes, now: datetime) -> Consent | None:
        """Remove and return it: a `state` works once. None: unknown or expired."""


class RevocationStore(Protocol):
    """The truth behind the epochs in the cache."""

    async def add(self, revocation: Revocation) -> None:
        """The later of two for one subject stays."""

    async def since(self, moment: datetime) -> list[Revocation]: ...


class TransportKeyStore(Protocol):
    """The keys that agents seal their requests to, sealed under the keyring's transport key, by day."""

    async def load(self) -> Mapping[int, bytes]:
        """All that have not been purged."""

    async def add(self, day: int, sealed: bytes, expires_at: datetime) -> None:
        """Keep it, unless another dispenser was faster: each day has one key."""


class SealedStore(Protocol):
    """Every sealed value, whatever it is: for whoever brings them under a newer key."""

    async def count(self) -> Mapping[SealedColumn, Mapping[str, int]]:
        """How many rows of each column are sealed with which key, by its id."""

    async def page(
        self, column: SealedColumn, *, after: RowId | None, limit: int, other_than: str | None = None
    ) -> list[SealedRow]:
        """Rows in the order of their ids; with `other_than` those alone that another key has sealed."""

    async def swap(self, swaps: Sequence[tuple[SealedRow, bytes]]) -> int:
        """Put each new envelope in its old one's place, where that is still there. Returns how many were."""


class AdminStore(Protocol):
    """Admin tokens, by SHA-256."""

    async def add(self, name: str, token_hash: bytes, now: datetime) -> None: ...
    async def named(self, token_hash: bytes) -> str | None:
        """Whose token it is. None: nobody's."""

    async def any(self) -> bool: ...


class OutboxStore(Protocol):
    """Lifecycle events that were committed with their cause and wait for the bus."""

    async def put(self, events: Sequence[LifecycleEvent], now: datetime) -> None:
        """Those without a cause in SQL, such as a provider's incident."""

    async def pending(self, limit: int, *, written_before: datetime) -> list[LifecycleEvent]: ...
    async def sent(self, event_ids: Sequence[str]) -> None: ...


class AuditStore(Protocol):
    """The audit: records in the order of their shipping, each at a position that it keeps."""

    async def append(self, lines: Sequence[bytes]) -> None:
        """Add journals' lines, and to the tree as its next leaves. Idempotent by writer and sequence.

        Raises: MalformedMessage for a line that is none.
        """

    async def query(self, wanted: AuditFilter = EVERYTHING, *, limit: int = 1000) -> list[AuditRecord]:
        """Newest first."""

    async def read(self, start: int, limit: int) -> list[tuple[int, bytes]]:
        """Positions and lines, from a position on, in order. Purged ones are not there."""

    async def position(self, writer: str, sequence: int) -> int | None:
        """Where a record is."""

    async def misindexed(self, start: int, end: int) -> int | None:
        """The first position in a range at which what questions look at is not what the line says."""

    async def naming(self, since: datetime, until: datetime) -> int:
        """How many records of a time name a token, by its fingerprint."""

    async def generation(self, service: ServiceName, owner: Owner) -> int:
        """The highest generation that the audit knows of a grant; 0: it knows none."""

    async def generations(self) -> Mapping[tuple[ServiceName, Owner], int]:
        """The highest generation of every grant that the audit knows."""

    async def purge(self, before: datetime, limit: int, purged: Callable[[int], bytes]) -> int:
        """Remove records of before a moment, up to the first that is not; at most so many, and none that no
        checkpoint covers. How many there are none of from the first on, `purged` makes a record of, which is
        added in the same transaction. The tree keeps their hashes. Returns how many were removed."""


class AuditTree(Protocol):
    """The hashes of the audit's tree (RFC 9162), those of purged records too."""

    async def size(self) -> int:
        """How many leaves it has."""

    async def hashes(self, nodes: Collection[Node]) -> Mapping[Node, bytes]:
        """The hashes of complete subtrees; a node that the tree has not, or not any more, is missing."""

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """The hashes of a range of leaves; short where the tree is."""


class CheckpointStore(Protocol):
    """Signed checkpoints of the audit's tree, by its size."""

    async def add(self, size: int, note: str, now: datetime) -> None:
        """Keep one. That of a size there is already stays as it is."""

    async def thin(self, before: datetime) -> int:
        """Of those written before a moment, keep the last of each day. Returns how many went."""

    async def newest(self) -> str | None: ...
    async def after(self, size: int, limit: int) -> list[tuple[int, str]]:
        """Those of larger trees with their sizes, smallest first."""


class CheckpointLedger(Protocol):
    """Checkpoints outside of the database. Raises: AuditUnavailable."""

    def add(self, note: str, at: datetime) -> None:
        """Durable on return."""

    def last(self) -> str | None:
        """The note that was added last."""


class AuditJournal(Protocol):
    """Where a decision is written down before it takes effect."""

    async def append(self, *records: AuditRecord) -> None:
        """Returns once all of them are durable; `writer` and `sequence` are the journal's to set.

        Raises: AuditUnavailable.
        """


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


# -------------------------------------------------------------------------------------------------- http


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A request to a provider, ready to send."""

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    #: It may go to this very machine: the provider is declared `insecure_local`.
    local: bool = False
    #: Which client was given what it carries.
    client: Client | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A provider's answer, whole, at most 64 KiB."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class NotSent(Exception):
    """Nothing reached the provider (DNS, connect, TLS): asking again is safe."""


class NotAsked(NotSent):
    """Something is there that may not be asked. The message is for the operator."""


class AddressRefused(NotAsked):
    """The provider's name leads where no request may go."""


class Mistrusted(NotAsked):
    """The provider's certificate is not believed."""


class NoAnswer(Exception):
    """The request may have reached the provider and its answer is lost: asking again may not be safe."""


class Closed(NoAnswer):
    """The provider ended the connection without an answer: it is done with the request, whatever it did."""


class ProviderHttp(Protocol):
    """Talks to providers: no redirects, no retries, bounded answers."""

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Raises: NotSent, NoAnswer."""

    async def close(self) -> None: ...
