"""The store in memory, for the many runs that a database is too slow for: held to the same contract."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from shared import audit_line
from shared.adapters.sql.purge import ENROLMENTS_KEPT, INTENTS_KEPT, REVOCATIONS_KEPT
from shared.audit_filter import EVERYTHING, AuditFilter
from shared.errors import StoreUnavailable, VaultError
from shared.messages import LifecycleEvent
from shared.model import (
    REFRESHABLE,
    Agent,
    AgentName,
    AuditRecord,
    Catalogue,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    Grant,
    GrantId,
    GrantState,
    Handback,
    HandbackId,
    Intent,
    IntentId,
    Issuer,
    IssuerName,
    Offer,
    Owner,
    Policy,
    Provider,
    ProviderName,
    Revocation,
    Service,
    ServiceName,
)
from shared.ports import Claim, Consent, Declared, Failure, Renewal, Unclaimed


@dataclass(slots=True)
class GrantRow:
    """A grant with what of its row is the store's own."""

    grant: Grant
    lease_holder: str | None = None
    lease_until: datetime | None = None
    announced_until: datetime | None = None

    def end_lease(self, holder: str) -> None:
        if self.lease_holder == holder:
            self.lease_holder = self.lease_until = None


@dataclass(slots=True)
class IntentRow:
    """An intent, open while it has no outcome."""

    intent: Intent
    outcome: str | None = None
    closed_at: datetime | None = None
    parked: bytes | None = None

    def close(self, outcome: str, now: datetime) -> None:
        self.outcome, self.closed_at = outcome, now


@dataclass(slots=True)
class EnrolmentRow:
    """An enrolment with its lease."""

    enrolment: Enrolment
    lease_until: datetime | None = None
    lease_holder: str | None = None
    ended_at: datetime | None = None

    def free(self, now: datetime) -> bool:
        pending = self.enrolment.state is EnrolmentState.PENDING and self.enrolment.expires_at > now
        return pending and (self.lease_until is None or self.lease_until <= now)


@dataclass(slots=True)
class Tables:
    """All rows."""

    version: int = 0
    providers: dict[ProviderName, Provider] = field(default_factory=dict)
    secrets: dict[ProviderName, bytes] = field(default_factory=dict)
    services: dict[ServiceName, Service] = field(default_factory=dict)
    agents: dict[AgentName, Agent] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    issuers: dict[IssuerName, Issuer] = field(default_factory=dict)
    grants: dict[GrantId, GrantRow] = field(default_factory=dict)
    intents: dict[IntentId, IntentRow] = field(default_factory=dict)
    enrolments: dict[EnrolmentId, EnrolmentRow] = field(default_factory=dict)
    #: With the end of their leases.
    handbacks: dict[HandbackId, tuple[Handback, datetime | None]] = field(default_factory=dict)
    consents: dict[bytes, Consent] = field(default_factory=dict)
    revocations: dict[tuple[str, str], Revocation] = field(default_factory=dict)
    admins: dict[bytes, str] = field(default_factory=dict)
    outbox: dict[str, tuple[LifecycleEvent, datetime]] = field(default_factory=dict)
    audit: dict[tuple[str, int], AuditRecord] = field(default_factory=dict)
    transport_keys: dict[int, tuple[bytes, datetime]] = field(default_factory=dict)

    def put_events(self, events: Sequence[LifecycleEvent], now: datetime) -> None:
        for event in events:
            self.outbox.setdefault(event.id, (event, now))

    def put_handback(self, grant: Grant, sealed: bytes, now: datetime) -> None:
        handback = Handback(
            id=HandbackId(f"{grant.id}.{grant.generation}"),
            grant_id=grant.id,
            service=grant.service,
            owner=grant.owner,
            generation=grant.generation,
            sealed_credential=sealed,
            created_at=now,
        )
        self.handbacks[handback.id] = handback, None


class MemoryCatalogue:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def load(self, before: Catalogue | None = None) -> Catalogue:
        tables = self._tables
        policies = tuple(tables.policies[name] for name in sorted(tables.policies))
        return Catalogue(
            version=tables.version,
            providers=dict(tables.providers),
            services=dict(tables.services),
            agents=dict(tables.agents),
            policies=before.policies if before is not None and before.policies == policies else policies,
            issuers=dict(tables.issuers),
        )

    async def offer(self) -> Offer:
        return Offer(
            version=self._tables.version,
            providers=dict(self._tables.providers),
            services=dict(self._tables.services),
        )

    async def agent(self, name: AgentName) -> Agent | None:
        return self._tables.agents.get(name)

    async def version(self) -> int:
        return self._tables.version

    async def apply(self, declared: Declared, now: datetime) -> int:
        tables = self._tables
        known = {*tables.providers, *(provider.name for provider, _ in declared.providers)}
        if any(service.provider not in known for service in declared.services):
            raise VaultError("A service of an unknown provider.")
        tables.providers |= {provider.name: provider for provider, _ in declared.providers}
        tables.secrets |= {p.name: sealed for p, sealed in declared.providers if sealed is not None}
        tables.services |= {service.name: service for service in declared.services}
        tables.policies |= {policy.name: policy for policy in declared.policies}
        tables.issuers |= {issuer.name: issuer for issuer in declared.issuers}
        for agent in declared.agents:
            before = tables.agents.get(agent.name)
            tables.agents[agent.name] = replace(agent, revoked_at=before.revoked_at if before else None)
        tables.version += 1
        return tables.version

    async def provider_secrets(self, name: ProviderName) -> bytes | None:
        return self._tables.secrets.get(name)

    async def set_agent_revoked(self, name: AgentName, revoked_at: datetime | None) -> bool:
        agent = self._tables.agents.get(name)
        if agent is None:
            return False
        self._tables.agents[name] = replace(agent, revoked_at=revoked_at)
        self._tables.version += 1
        return True


class MemoryGrants:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def find(self, service: ServiceName, owner: Owner) -> Grant | None:
        return next(iter(await self.select(service=service, owner=owner)), None)

    async def get(self, grant_id: GrantId) -> Grant | None:
        row = self._tables.grants.get(grant_id)
        return None if row is None else row.grant

    async def select(self, *, service: ServiceName | None = None, owner: Owner | None = None) -> list[Grant]:
        found = [
            row.grant
            for row in self._tables.grants.values()
            if service in (None, row.grant.service) and owner in (None, row.grant.owner)
        ]
        return sorted(found, key=lambda grant: (grant.service, grant.owner))

    async def count(self) -> Mapping[GrantState, int]:
        states = [row.grant.state for row in self._tables.grants.values()]
        return {state: states.count(state) for state in set(states)}

    async def claim_due(
        self, now: datetime, announced_until: datetime, limit: int, *, unsure_until: datetime | None = None
    ) -> list[Grant]:
        due = sorted(
            (row.grant.refresh_at, row.grant.id)
            for row in self._tables.grants.values()
            if row.grant.state in REFRESHABLE
            and row.grant.refresh_at is not None
            and row.grant.refresh_at <= now
            and (row.announced_until is None or row.announced_until <= now)
        )
        rows = [self._tables.grants[grant_id] for _, grant_id in due[:limit]]
        for row in rows:
            unsure = row.grant.unsure_since is not None
            row.announced_until = (unsure and unsure_until) or announced_until
        return [row.grant for row in rows]

    async def revoke(
        self, grant_id: GrantId, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        row = self._tables.grants.get(grant_id)
        if row is None or row.grant.state is GrantState.REVOKED:
            return None
        self._tables.put_events(events, now)
        return self._revoked(row, now)

    async def revoke_all(
        self,
        now: datetime,
        event: Callable[[Grant], LifecycleEvent],
        *,
        services: Collection[ServiceName] | None = None,
        owner: Owner | None = None,
    ) -> list[Grant]:
        rows = [
            row
            for _, row in sorted(self._tables.grants.items())
            if row.grant.state is not GrantState.REVOKED
            and (services is None or row.grant.service in services)
            and owner in (None, row.grant.owner)
        ]
        revoked = [self._revoked(row, now) for row in rows]
        self._tables.put_events([event(grant) for grant in revoked], now)
        return revoked

    def _revoked(self, row: GrantRow, now: datetime) -> Grant:
        if row.grant.sealed_credential is not None:
            self._tables.put_handback(row.grant, row.grant.sealed_credential, now)
        row.announced_until = None
        row.grant = replace(
            row.grant,
            state=GrantState.REVOKED,
            generation=row.grant.generation + 1,
            updated_at=now,
            sealed_credential=None,
            credential_fingerprint=b"",
            sealed_token=None,
            token_expires_at=None,
            refresh_at=None,
            credential_expires_at=None,
            warn_at=None,
        )
        return row.grant

    async def revoked_since(self, moment: datetime) -> list[Grant]:
        rows = [row.grant for row in self._tables.grants.values()]
        return [grant for grant in rows if grant.state is GrantState.REVOKED and grant.updated_at >= moment]


class MemoryRotations:
    def __init__(self, tables: Tables, new_id: Callable[[], str]) -> None:
        self._tables = tables
        self._new_id = new_id

    async def claim(
        self, grant_id: GrantId, generation: int, *, holder: str, now: datetime, lease_until: datetime
    ) -> Claim | Unclaimed:
        row = self._tables.grants.get(grant_id)
        if row is None:
            return Unclaimed(why="missing", grant=None)
        why = self._refusal(row, generation, holder, now)
        if why is not None:
            return Unclaimed(why=why, grant=row.grant)
        intent = Intent(
            id=IntentId(self._new_id()),
            grant_id=grant_id,
            generation=generation,
            fingerprint=row.grant.credential_fingerprint,
            holder=holder,
            opened_at=now,
        )
        self._tables.intents[intent.id] = IntentRow(intent)
        row.lease_holder, row.lease_until = holder, lease_until
        return Claim(grant=row.grant, intent=intent, audited=self._audited(row.grant))

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
        row = self._tables.grants.get(intent.grant_id)
        expected = (expected_generation, expected_fingerprint)
        if row is None or (row.grant.generation, row.grant.credential_fingerprint) != expected:
            return None
        if expected_state not in (None, row.grant.state):
            return None
        row.lease_holder = row.lease_until = row.announced_until = None
        row.grant = replace(
            row.grant,
            **{name: getattr(renewal, name) for name in renewal.__dataclass_fields__},
            generation=expected_generation + 1,
            state=GrantState.ACTIVE,
            failures=0,
            last_error=None,
            unsure_since=None,
            updated_at=now,
        )
        self._close(intent, "done", now)
        self._tables.put_events(events, now)
        return row.grant

    async def fail(
        self, intent: Intent, failure: Failure, *, now: datetime, events: Sequence[LifecycleEvent]
    ) -> Grant | None:
        if not self._close_open(intent, failure.error, now):
            return None
        row = self._tables.grants.get(intent.grant_id)
        if row is None:
            return None
        if row.grant.generation != intent.generation:
            row.end_lease(intent.holder)
            return row.grant
        row.lease_holder = row.lease_until = row.announced_until = None
        row.grant = replace(
            row.grant,
            state=failure.state,
            last_error=failure.error,
            refresh_at=failure.refresh_at,
            unsure_since=failure.unsure_since,
            failures=row.grant.failures + 1,
            updated_at=now,
        )
        self._tables.put_events(events, now)
        return row.grant

    async def release(self, intent: Intent, why: str, now: datetime) -> None:
        self._close_open(intent, why, now)
        self._end_lease(intent)

    async def park(self, intent: Intent, sealed: bytes, now: datetime) -> bool:
        row = self._tables.intents.get(intent.id)
        if row is None or row.outcome == "done":
            return False
        row.close("parked", now)
        row.parked = sealed
        self._end_lease(intent)
        return True

    async def hand_back(self, intent: Intent, handback: Handback, now: datetime) -> None:
        self._tables.handbacks.setdefault(handback.id, (handback, None))
        self._close(intent, "handed_back", now)
        self._end_lease(intent)

    async def open_intents(self, *, holder: str | None = None) -> list[Intent]:
        found = [
            row.intent
            for row in self._tables.intents.values()
            if row.outcome is None and holder in (None, row.intent.holder)
        ]
        return sorted(found, key=lambda intent: (intent.opened_at, intent.id))

    async def intent(self, intent_id: IntentId) -> tuple[Intent, str | None] | None:
        row = self._tables.intents.get(intent_id)
        return None if row is None else (row.intent, row.outcome)

    def _audited(self, grant: Grant) -> int:
        records = self._tables.audit.values()
        place = (grant.service, grant.owner)
        return max((r.generation or 0 for r in records if (r.service, r.owner) == place), default=0)

    def _refusal(self, row: GrantRow, generation: int, holder: str, now: datetime) -> str | None:
        if row.grant.generation != generation:
            return "stale"
        if row.grant.state not in REFRESHABLE:
            return "state"
        leased = row.lease_until is not None and row.lease_until > now and row.lease_holder != holder
        opened = any(
            other.outcome is None and other.intent.grant_id == row.grant.id
            for other in self._tables.intents.values()
        )
        return "busy" if leased or opened else None

    def _close(self, intent: Intent, outcome: str, now: datetime) -> None:
        row = self._tables.intents.get(intent.id)
        if row is not None:
            row.close(outcome, now)

    def _close_open(self, intent: Intent, outcome: str, now: datetime) -> bool:
        row = self._tables.intents.get(intent.id)
        if row is None or row.outcome is not None:
            return False
        row.close(outcome, now)
        return True

    def _end_lease(self, intent: Intent) -> None:
        row = self._tables.grants.get(intent.grant_id)
        if row is not None:
            row.end_lease(intent.holder)


class MemoryEnrolments:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, enrolment: Enrolment) -> None:
        if enrolment.id in self._tables.enrolments:
            raise VaultError("An enrolment of this id is there.")
        self._tables.enrolments[enrolment.id] = EnrolmentRow(enrolment)

    async def get(self, enrolment_id: EnrolmentId) -> Enrolment | None:
        row = self._tables.enrolments.get(enrolment_id)
        return None if row is None else row.enrolment

    async def take(
        self,
        enrolment_id: EnrolmentId,
        *,
        holder: str,
        now: datetime,
        until: datetime,
        over: datetime | None = None,
    ) -> Enrolment | None:
        row = self._tables.enrolments.get(enrolment_id)
        if row is None or not row.free(now):
            return None
        if row.lease_until not in {None, over} and row.lease_holder != holder:
            return None
        row.lease_until, row.lease_holder = until, holder
        return row.enrolment

    async def pending(self, now: datetime, limit: int) -> list[EnrolmentId]:
        free = [row.enrolment for row in self._tables.enrolments.values() if row.free(now)]
        return [one.id for one in sorted(free, key=lambda one: (one.created_at, one.id))][:limit]

    async def lapsed(self, now: datetime) -> Mapping[EnrolmentId, datetime]:
        rows = self._tables.enrolments.items()
        return {key: row.lease_until for key, row in rows if row.lease_until and row.free(now)}

    async def succeed(
        self, enrolment_id: EnrolmentId, grant: Grant, now: datetime, events: Sequence[LifecycleEvent]
    ) -> bool:
        if not self._fits(grant):
            return False
        self._tables.grants[grant.id] = GrantRow(grant)
        self._end(enrolment_id, EnrolmentState.DONE, None, now)
        self._tables.put_events(events, now)
        return True

    async def fail(self, enrolment_id: EnrolmentId, error: str, now: datetime) -> None:
        self._end(enrolment_id, EnrolmentState.FAILED, error, now)

    def _fits(self, grant: Grant) -> bool:
        for row in self._tables.grants.values():
            same_place = (row.grant.service, row.grant.owner) == (grant.service, grant.owner)
            if row.grant.id == grant.id and not same_place:
                raise VaultError("An id is of one service and owner.")
            if same_place:
                return row.grant.id == grant.id and row.grant.generation < grant.generation
        return True

    def _end(
        self, enrolment_id: EnrolmentId, state: EnrolmentState, error: str | None, now: datetime
    ) -> None:
        row = self._tables.enrolments.get(enrolment_id)
        if row is None or row.enrolment.state is EnrolmentState.DONE:
            return
        row.enrolment = replace(row.enrolment, state=state, error=error, sealed=None)
        row.lease_until, row.ended_at = None, now


class MemoryHandbacks:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def take(
        self, handback_id: HandbackId, *, holder: str, now: datetime, until: datetime
    ) -> Handback | None:
        if handback_id not in await self.pending(now, len(self._tables.handbacks)):
            return None
        handback, _ = self._tables.handbacks[handback_id]
        self._tables.handbacks[handback_id] = handback, until
        return handback

    async def pending(self, now: datetime, limit: int) -> Sequence[HandbackId]:
        rows = self._tables.handbacks.values()
        free = [one for one, leased_until in rows if leased_until is None or leased_until <= now]
        return [one.id for one in sorted(free, key=lambda one: (one.created_at, one.id))][:limit]

    async def end(self, handback_id: HandbackId) -> None:
        self._tables.handbacks.pop(handback_id, None)


class MemoryConsents:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, consent: Consent) -> None:
        self._tables.consents[consent.state_hash] = consent

    async def take(self, state_hash: bytes, now: datetime) -> Consent | None:
        found = self._tables.consents.pop(state_hash, None)
        return None if found is None or found.expires_at <= now else found


class MemoryRevocations:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, revocation: Revocation) -> None:
        subject = (revocation.kind, revocation.subject)
        before = self._tables.revocations.get(subject)
        if before is None or before.revoked_at < revocation.revoked_at:
            self._tables.revocations[subject] = revocation

    async def since(self, moment: datetime) -> list[Revocation]:
        found = [one for one in self._tables.revocations.values() if one.revoked_at >= moment]
        return sorted(found, key=lambda one: (one.revoked_at, one.kind, one.subject))


class MemoryAdmins:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def add(self, name: str, token_hash: bytes, now: datetime) -> None:
        self._tables.admins.setdefault(token_hash, name)

    async def named(self, token_hash: bytes) -> str | None:
        return self._tables.admins.get(token_hash)

    async def any(self) -> bool:
        return bool(self._tables.admins)


class MemoryOutbox:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def put(self, events: Sequence[LifecycleEvent], now: datetime) -> None:
        self._tables.put_events(events, now)

    async def pending(self, limit: int, *, written_before: datetime) -> list[LifecycleEvent]:
        waiting = [event for event, written in self._tables.outbox.values() if written < written_before]
        return waiting[:limit]

    async def sent(self, event_ids: Sequence[str]) -> None:
        for event_id in event_ids:
            self._tables.outbox.pop(event_id, None)


class MemoryCheckpoints:
    """There are none: see `MemoryStore`."""

    async def thin(self, before: datetime) -> int:
        return 0


class MemoryAudit:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def append(self, lines: Sequence[bytes]) -> None:
        for record in map(audit_line.decode, lines):
            self._tables.audit.setdefault((record.writer, record.sequence), record)

    async def query(self, wanted: AuditFilter = EVERYTHING, *, limit: int = 1000) -> list[AuditRecord]:
        newest = reversed(self._tables.audit.values())
        found = [record for record in newest if wanted.matches(record)]
        return sorted(found, key=lambda record: record.at, reverse=True)[:limit]

    async def generation(self, service: ServiceName, owner: Owner) -> int:
        known = self._tables.audit.values()
        return max((r.generation or 0 for r in known if (r.service, r.owner) == (service, owner)), default=0)


class MemoryTransportKeys:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    async def load(self) -> Mapping[int, bytes]:
        return {day: sealed for day, (sealed, _) in self._tables.transport_keys.items()}

    async def add(self, day: int, sealed: bytes, expires_at: datetime) -> None:
        self._tables.transport_keys.setdefault(day, (sealed, expires_at))


class MemoryStore:
    """The store's rooms over one set of tables. Every call is done at once, whole or not at all."""

    def __init__(self, new_id: Callable[[], str] | None = None) -> None:
        self._tables = tables = Tables()
        self._closed = False
        numbers = itertools.count(1)
        self.catalogue = MemoryCatalogue(tables)
        self.grants = MemoryGrants(tables)
        self.rotations = MemoryRotations(tables, new_id or (lambda: f"intent-{next(numbers)}"))
        self.enrolments = MemoryEnrolments(tables)
        self.handbacks = MemoryHandbacks(tables)
        self.consents = MemoryConsents(tables)
        self.revocations = MemoryRevocations(tables)
        self.admins = MemoryAdmins(tables)
        self.outbox = MemoryOutbox(tables)
        self.audit = MemoryAudit(tables)
        self.checkpoints = MemoryCheckpoints()
        #: Nobody in a simulation signs the audit, or brings values under newer keys.
        self.audit_tree = self.sealed = None
        self.transport_keys = MemoryTransportKeys(tables)

    async def ping(self) -> None:
        if self._closed:
            raise StoreUnavailable("The store is closed.")

    async def now(self) -> datetime:
        return datetime.now(UTC)

    async def purge(self, now: datetime) -> dict[str, int]:
        tables = self._tables
        return {
            "enrolments": _remove(tables.enrolments, lambda row: _outlived(row, now)),
            "consents": _remove(tables.consents, lambda consent: consent.expires_at <= now),
            "transport_keys": _remove(tables.transport_keys, lambda row: row[1] <= now),
            "intents": _remove(
                tables.intents,
                lambda row: (
                    row.parked is None and row.closed_at is not None and row.closed_at <= now - INTENTS_KEPT
                ),
            ),
            "revocations": _remove(
                tables.revocations, lambda revoked: revoked.revoked_at <= now - REVOCATIONS_KEPT
            ),
        }

    async def close(self) -> None:
        self._closed = True


def _outlived(row: EnrolmentRow, now: datetime) -> bool:
    if row.ended_at is not None:
        return row.ended_at <= now - ENROLMENTS_KEPT
    unheld = row.lease_until is None or row.lease_until <= now
    return row.enrolment.expires_at <= now and unheld


def _remove(table: dict[object, object], outlived: Callable[[object], bool]) -> int:
    gone = [key for key, row in table.items() if outlived(row)]
    for key in gone:
        del table[key]
    return len(gone)
