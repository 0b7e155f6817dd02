from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from simulation.history import History, Row, Written
from simulation.inline_sqlite import ROOMS
from simulation.network import Network, at_once
from simulation.process import Process

from shared.errors import StoreUnavailable
from shared.messages import LifecycleEvent
from shared.model import EnrolmentId, Grant, GrantId, Handback, Intent
from shared.ports import Claim, Clock, Failure, GrantStore, Renewal, Store, Unclaimed


class StorePort:
    """A process's way to the database: every call a short transaction, done whole or not at all."""

    def __init__(
        self, store: Store, network: Network, process: Process, history: History, *, clock: Clock
    ) -> None:
        watched = _watched(store, process, history)
        for name in ROOMS:
            setattr(self, name, _Room(watched.get(name, getattr(store, name)), name, network))
        self._store = store
        self._network = network
        self._clock = clock

    async def ping(self) -> None:
        await self._network.call("store", "store.ping", lambda: at_once(self._store.ping()), _unavailable)

    async def now(self) -> datetime:
        return await self._network.call("store", "store.now", self._clock, _unavailable)

    async def purge(self, now: datetime) -> dict[str, int]:
        return await self._network.call(
            "store", "store.purge", lambda: at_once(self._store.purge(now)), _unavailable
        )

    async def close(self) -> None:
        """Nothing is held open."""


class _Room:
    """One room of the store, over the network."""

    def __init__(self, room: Any, name: str, network: Network) -> None:
        self._room = room
        self._name = name
        self._network = network

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        call, what, network = getattr(self._room, method), f"{self._name}.{method}", self._network

        async def remote(*arguments: Any, **named: Any) -> Any:
            return await network.call("store", what, lambda: at_once(call(*arguments, **named)), _unavailable)

        setattr(self, method, remote)
        return remote


def _unavailable() -> StoreUnavailable:
    return StoreUnavailable("The simulated database does not answer.")


def _watched(store: Store, process: Process, history: History) -> dict[str, Any]:
    ledger = _Ledger(store.grants, process, history)
    return {
        "rotations": _WatchedRotations(store.rotations, ledger),
        "enrolments": _WatchedEnrolments(store.enrolments, ledger),
    }


class _Ledger:
    """Writes down what a transaction did to a grant."""

    def __init__(self, grants: GrantStore, process: Process, history: History) -> None:
        self._grants = grants
        self._process = process
        self._history = history

    def row(self, grant_id: GrantId) -> Row | None:
        grant = at_once(self._grants.get(grant_id))
        return None if grant is None else row_of(grant)

    def add(self, what: str, grant_id: GrantId, cause: str, before: Row | None, detail: str = "") -> None:
        after = self.row(grant_id)
        self._history.add(
            Written, what=what, process=self._process.name, grant=grant_id, cause=cause,
            before=before, after=after, detail=detail,
        )  # fmt: skip


class _Watched:
    def __init__(self, room: Any, ledger: _Ledger) -> None:
        self._room = room
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._room, name)


class _WatchedRotations(_Watched):
    async def claim(self, grant_id: GrantId, generation: int, **named: Any) -> Claim | Unclaimed:
        before = self._ledger.row(grant_id)
        claim: Claim | Unclaimed = await self._room.claim(grant_id, generation, **named)
        if isinstance(claim, Claim):
            self._ledger.add("claim", grant_id, claim.intent.id, before)
        return claim

    async def commit(self, intent: Intent, *, renewal: Renewal, **named: Any) -> Grant | None:
        before = self._ledger.row(intent.grant_id)
        stored: Grant | None = await self._room.commit(intent, renewal=renewal, **named)
        self._ledger.add("lost swap" if stored is None else "commit", intent.grant_id, intent.id, before)
        return stored

    async def fail(self, intent: Intent, failure: Failure, **named: Any) -> Grant | None:
        before = self._ledger.row(intent.grant_id)
        stored: Grant | None = await self._room.fail(intent, failure, **named)
        counted = stored is not None and stored.generation == intent.generation
        self._ledger.add(
            "fail" if counted else "late fail", intent.grant_id, intent.id, before, failure.error
        )
        return stored

    async def release(self, intent: Intent, why: str, now: datetime) -> None:
        before = self._ledger.row(intent.grant_id)
        await self._room.release(intent, why, now)
        self._ledger.add("release", intent.grant_id, intent.id, before, why)

    async def park(self, intent: Intent, sealed: bytes, now: datetime) -> None:
        before = self._ledger.row(intent.grant_id)
        await self._room.park(intent, sealed, now)
        self._ledger.add("park", intent.grant_id, intent.id, before)

    async def hand_back(self, intent: Intent, handback: Handback, now: datetime) -> None:
        before = self._ledger.row(intent.grant_id)
        await self._room.hand_back(intent, handback, now)
        self._ledger.add("hand back", intent.grant_id, intent.id, before)


class _WatchedEnrolments(_Watched):
    async def succeed(
        self, enrolment_id: EnrolmentId, grant: Grant, now: datetime, events: Sequence[LifecycleEvent]
    ) -> bool:
        before = self._ledger.row(grant.id)
        stored: bool = await self._room.succeed(enrolment_id, grant, now, events)
        if stored:
            self._ledger.add("connect", grant.id, enrolment_id, before)
        return stored


def row_of(grant: Grant) -> Row:
    """What the history keeps of a grant."""
    return Row(
        generation=grant.generation,
        state=grant.state,
        fingerprint=grant.credential_fingerprint,
        failures=grant.failures,
        last_error=grant.last_error,
    )
