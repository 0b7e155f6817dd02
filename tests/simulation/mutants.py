"""The protocol with one step missing: what the checker has to notice."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from simulation import memory_store
from simulation.memory_store import MemoryRotations

from shared.model import REFRESHABLE, Grant, Intent, RefusalKind
from shared.ports import Failure
from shared.store_clock import StoreClock
from workers import decision
from workers.decision import Apply, Superseded
from workers.flights import Flights
from workers.outcome import Refused
from workers.token_endpoint import TokenEndpoint


@contextmanager
def no_intent() -> Iterator[None]:
    """Whoever asks may redeem a grant's token, though somebody else is at it."""

    def refusal(_: object, row: memory_store.GrantRow, generation: int, *__: object) -> str | None:
        if row.grant.generation != generation:
            return "stale"
        return None if row.grant.state in REFRESHABLE else "state"

    with patch.object(MemoryRotations, "_refusal", refusal):
        yield


@contextmanager
def no_spool() -> Iterator[None]:
    """An answer is parsed at once, and is on no disk meanwhile."""

    async def keep(*_: object) -> None:
        return None

    with patch.object(TokenEndpoint, "_keep", keep):
        yield


@contextmanager
def no_lineage() -> Iterator[None]:
    """An answer counts at the generation it was asked for at, and is dropped everywhere else."""

    def lineage(intent: Intent, _: bytes, stored: Grant | None) -> Apply | Superseded:
        fits = stored is not None and stored.generation == intent.generation
        return Apply(intent.generation) if fits else Superseded()

    with patch.object(decision, "lineage", lineage):
        yield


@contextmanager
def no_shield() -> Iterator[None]:
    """Whoever gives up waiting takes the request along."""

    async def join(self: Flights[Any, Any], key: Any, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        return None if self._grounded else await begin()

    with patch.object(Flights, "join", join):
        yield


@contextmanager
def no_swap() -> Iterator[None]:
    """A commit takes place whatever is stored meanwhile, instead of comparing first."""
    commit = MemoryRotations.commit

    async def blind(self: MemoryRotations, intent: Intent, **named: Any) -> Grant | None:
        row = self._tables.grants.get(intent.grant_id)
        if row is None:
            return None
        named["expected_generation"] = row.grant.generation
        named["expected_fingerprint"] = row.grant.credential_fingerprint
        named["expected_state"] = row.grant.state
        return await commit(self, intent, **named)

    with patch.object(MemoryRotations, "commit", blind):
        yield


@contextmanager
def no_pardon() -> Iterator[None]:
    """A provider that refuses our client is held against the grant that happened to be asked for."""
    failure = decision.failure

    def blaming(refused: Refused, *grant: Any, **named: Any) -> Failure | None:
        kind = RefusalKind.TRANSIENT if refused.kind is RefusalKind.CLIENT_CONFIG else refused.kind
        return failure(replace(refused, kind=kind), *grant, **named)

    with patch.object(decision, "failure", blaming):
        yield


@contextmanager
def no_one_clock() -> Iterator[None]:
    """Every process goes by its own clock."""
    with patch.object(StoreClock, "__call__", lambda clock: clock._own()):
        yield


#: By the step that is missing.
MUTANTS: Final[dict[str, Callable[[], AbstractContextManager[None]]]] = {
    "intent": no_intent,
    "spool": no_spool,
    "lineage": no_lineage,
    "shield": no_shield,
    "swap": no_swap,
    "pardon": no_pardon,
    "one clock": no_one_clock,
}
