from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.ports import Clock

_SWEPT_FROM: Final = 1024


class MemoryCache:
    """The cache of an embedded vault: a dictionary that forgets by the clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._swept_at = _SWEPT_FROM

    async def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        now = self._clock()
        found = [self._live(key, now) for key in keys]
        return [held.value if held else None for held in found]

    async def put_if_newer(self, key: str, version: int, value: bytes, ttl_seconds: float | None) -> bool:
        now = self._clock()
        held = self._live(key, now)
        if held and held.version >= version:
            return False
        ends = None if ttl_seconds is None else now + timedelta(seconds=ttl_seconds)
        self._held[key] = _Held(version, value, ends)
        if len(self._held) >= self._swept_at:
            self._sweep(now)
        return True

    async def replace(self, key: str, old: bytes, new: bytes) -> bool:
        held = self._live(key, self._clock())
        if held is None or held.value != old:
            return False
        self._held[key] = held._replace(value=new)
        return True

    async def ping(self) -> None:
        """Always there."""

    async def close(self) -> None:
        self._held.clear()

    def flush(self) -> None:
        """Forget everything, as a cache may at any moment."""
        self._held.clear()

    def _sweep(self, now: datetime) -> None:
        """Drop what has ended and nobody asks for, each time that as much again has come."""
        self._held = {key: held for key, held in self._held.items() if held.ends is None or held.ends > now}
        self._swept_at = max(_SWEPT_FROM, 2 * len(self._held))

    def _live(self, key: str, now: datetime) -> "_Held | None":
        held = self._held.get(key)
        if held and held.ends is not None and held.ends <= now:
            del self._held[key]
            return None
        return held


class _Held(NamedTuple):
    version: int
    value: bytes
    ends: datetime | None
