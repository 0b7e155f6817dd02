"""A migrated store on either database, and rows to put into it."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.sql.store import SqlStore, migrate
from shared.messages import EventType, LifecycleEvent
from shared.model import (
    AuditRecord,
    Enrolment,
    EnrolmentId,
    EnrolmentState,
    Grant,
    GrantId,
    GrantState,
    Owner,
    ServiceName,
)
from shared.ports import Claim, Renewal, Store

#: With microseconds, which must survive.
NOW = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)
_numbers = itertools.count(1)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'vault.db'}"
    return str(request.getfixturevalue("database_url"))


@pytest.fixture
def store_url(empty_store_url: str) -> str:
    """A database with its tables."""
    migrate(empty_store_url)
    return empty_store_url


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    opened = SqlStore.open(store_url)
    yield opened
    await opened.close()


@pytest.fixture
async def other_store(store_url: str) -> AsyncIterator[Store]:
    """Another process's store on the same database."""
    opened = SqlStore.open(store_url)
    yield opened
    await opened.close()


def a_grant(**changes: Any) -> Grant:
    grant = Grant(
        id=GrantId(f"grant-{next(_numbers):06}"),  # in the order of their making
        service=ServiceName("time-tracker"),
        owner=Owner("ada"),
        state=GrantState.ACTIVE,
        generation=1,
        scopes=("tasks:write", "tasks:read"),
        sealed_credential=b"\x00sealed credential 1",
        credential_fingerprint=b"fingerprint 1",
        sealed_token=b"sealed token 1",
        token_expires_at=later(3600),
        refresh_at=later(0),
        failures=0,
        last_error=None,
        created_at=later(-10),
        updated_at=later(-10),
    )
    return replace(grant, **changes)


def an_enrolment(**changes: Any) -> Enrolment:
    enrolment = Enrolment(
        id=EnrolmentId(f"enrolment-{next(_numbers)}"),
        service=ServiceName("time-tracker"),
        owner=Owner("ada"),
        state=EnrolmentState.PENDING,
        sealed=b"sealed code",
        error=None,
        created_at=NOW,
        expires_at=later(600),
    )
    return replace(enrolment, **changes)


def an_event(**changes: Any) -> LifecycleEvent:
    event = LifecycleEvent(
        id=f"event-{next(_numbers)}",
        type=EventType.REFRESHED,
        at=NOW,
        service=ServiceName("time-tracker"),
        owner=Owner("ada"),
        generation=2,
        details={"error": "none"},
    )
    return replace(event, **changes)


def a_record(**changes: Any) -> AuditRecord:
    record = AuditRecord(
        writer="serve-1",
        sequence=next(_numbers),
        at=NOW,
        action="token.dispensed",
        outcome="ok",
        agent="tracker",
        owner="ada",
        service="time-tracker",
        scopes=("tasks:write",),
    )
    return replace(record, **changes)


def a_renewal(**changes: Any) -> Renewal:
    renewal = Renewal(
        sealed_credential=b"sealed credential 2",
        credential_fingerprint=b"fingerprint 2",
        sealed_token=b"sealed token 2",
        scopes=("tasks:write",),
        token_expires_at=later(7200),
        refresh_at=later(5000),
    )
    return replace(renewal, **changes)


async def granted(store: Store, **changes: Any) -> Grant:
    """A grant in the store."""
    grant = a_grant(**changes)
    assert await store.enrolments.succeed(EnrolmentId("none"), grant, NOW, ())
    return grant


async def claimed(store: Store, grant: Grant, holder: str = "refresher-1") -> Claim:
    """The right to refresh a grant."""
    claim = await store.rotations.claim(
        grant.id, grant.generation, holder=holder, now=NOW, lease_until=later(120)
    )
    assert isinstance(claim, Claim)
    return claim


async def written_events(store: Store) -> list[LifecycleEvent]:
    return await store.outbox.pending(100, written_before=later(10_000))
