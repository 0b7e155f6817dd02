from collections.abc import Callable, Mapping
from datetime import datetime

import structlog

from dispenser import transport_key
from dispenser.transport_key import MATERIAL_BYTES, TransportKey
from shared import envelope
from shared.errors import KeyMissing, SealBroken
from shared.keyring import Keyring
from shared.ports import Clock, TransportKeyStore

log = structlog.get_logger()


class TransportView:
    """The dispensers' transport keys, in memory. Whoever owns the view polls `look`.

    Whichever dispenser looks first makes the next day's key, a day ahead, so all have it when it is used.
    """

    def __init__(
        self, store: TransportKeyStore, keys: Keyring, clock: Clock, entropy: Callable[[int], bytes]
    ) -> None:
        """`entropy`: random bytes, as many as asked for."""
        self._store = store
        self._keys = keys
        self._clock = clock
        self._entropy = entropy
        self._sealed: Mapping[int, bytes] = {}
        self._by_day: Mapping[int, TransportKey] = {}
        self.by_id: Mapping[bytes, TransportKey] = {}

    @property
    def current(self) -> TransportKey:
        """What new tickets are sealed with."""
        return transport_key.current(self._by_day, self._clock())

    @property
    def published(self) -> tuple[TransportKey, ...]:
        """The keys that agents are to know: those of today and tomorrow, or what there is."""
        today = self.current.day
        return tuple(key for day, key in sorted(self._by_day.items()) if day >= today)

    async def look(self) -> None:
        """Learn of keys that others made and that were purged; make what is missing.

        Raises: StoreUnavailable, KeyMissing where none can be opened.
        """
        now = self._clock()
        sealed = await self._alive(now)
        missing = [day for day in transport_key.wanted(now) if day not in sealed]
        for day in missing:
            await self._make(day)
        if missing:
            sealed = await self._alive(now)
        if sealed != self._sealed:
            self._adopt(sealed)

    async def _alive(self, now: datetime) -> dict[int, bytes]:
        """Those whose time is not over, purged or not."""
        sealed = await self._store.load()
        return {day: one for day, one in sealed.items() if now < transport_key.expires_at(day)}

    async def _make(self, day: int) -> None:
        material = self._entropy(MATERIAL_BYTES)
        sealed = envelope.seal_transport_key(self._keys, day, material)
        await self._store.add(day, sealed, transport_key.expires_at(day))

    def _adopt(self, sealed: Mapping[int, bytes]) -> None:
        opened = {day: key for day, one in sealed.items() if (key := self._open(day, one)) is not None}
        if not opened:
            raise KeyMissing("This process's keyring opens none of the transport keys in the database.")
        self._by_day = opened
        self.by_id = {key.id: key for key in opened.values()}
        self._sealed = sealed

    def _open(self, day: int, sealed: bytes) -> TransportKey | None:
        if self._sealed.get(day) == sealed:
            return self._by_day.get(day)
        try:
            return transport_key.from_material(day, envelope.open_transport_key(self._keys, day, sealed))
        except (KeyMissing, SealBroken) as error:
            log.warning("A transport key does not open", day=day, why=str(error))
            return None
