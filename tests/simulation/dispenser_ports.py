"""What of the world a dispenser alone uses: the cache's answers to one agent, and its audit journal."""

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from simulation.network import Network, at_once

from shared.adapters.memory_cache import MemoryCache
from shared.errors import AuditUnavailable, CacheUnavailable
from shared.model import AuditRecord


@dataclass(slots=True)
class Asking:
    """What an agent's question met with on its way."""

    #: The sealed token that the cache answered with at first; None: it did not, or had none.
    cached: bytes | None = None
    looked: bool = False
    audited: bool = False
    journal_failed: bool = False


class Askings:
    """The questions under way, each known in the task that answers it and in those that one begins."""

    def __init__(self) -> None:
        self._current: ContextVar[Asking | None] = ContextVar("asking", default=None)

    def begin(self) -> Asking:
        asking = Asking()
        self._current.set(asking)
        return asking

    def end(self) -> None:
        self._current.set(None)

    @property
    def current(self) -> Asking | None:
        return self._current.get()


class CachePort:
    """A process's way to the cache."""

    def __init__(self, cache: MemoryCache, network: Network, askings: Askings) -> None:
        self._cache = cache
        self._network = network
        self._askings = askings

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        asking = self._askings.current
        first = asking is not None and not asking.looked
        if asking is not None:
            asking.looked = True
        found = await self._network.call(
            "cache", "cache.get", lambda: at_once(self._cache.get_many(keys)), _unavailable
        )
        if asking is not None and first:
            asking.cached = found[-1]
        return found

    async def put_if_newer(self, key: str, version: int, value: bytes, ttl_seconds: float | None) -> bool:
        return await self._network.call(
            "cache",
            "cache.put",
            lambda: at_once(self._cache.put_if_newer(key, version, value, ttl_seconds)),
            _unavailable,
        )

    async def ping(self) -> None:
        """It is asked by `doctor` alone."""

    async def close(self) -> None:
        """Nothing is open."""


class JournalPort:
    """A dispenser's audit journal."""

    def __init__(self, network: Network, askings: Askings) -> None:
        self._network = network
        self._askings = askings
        self._records: list[AuditRecord] = []

    async def append(self, *records: AuditRecord) -> None:
        asking = self._askings.current
        try:
            await self._network.call(
                "journal", "journal.append", lambda: self._records.extend(records), _unwritten
            )
        except AuditUnavailable:
            if asking is not None:
                asking.journal_failed = True
            raise
        if asking is not None:
            asking.audited = True


def _unavailable() -> CacheUnavailable:
    return CacheUnavailable("The simulated cache does not answer.")


def _unwritten() -> AuditUnavailable:
    return AuditUnavailable("The simulated journal cannot be written.")
