import asyncio
from types import TracebackType
from typing import Final, Self

import structlog

from shared.errors import VaultError
from shared.model import Catalogue
from shared.ports import CatalogueStore

#: A changed policy or a revoked agent takes effect within this many seconds.
POLL_SECONDS: Final = 0.5
log = structlog.get_logger()


class CatalogueView:
    """The catalogue in memory, at most `POLL_SECONDS` old while the database answers.

    While it does not, the last one stays in force: cached tokens go on being served.
    """

    def __init__(self, store: CatalogueStore) -> None:
        self._store = store
        self._current: Catalogue | None = None
        self._polling: asyncio.Task[None] | None = None

    @property
    def current(self) -> Catalogue:
        """The newest catalogue seen."""
        if self._current is None:
            raise RuntimeError("The catalogue is read before it was loaded: enter the view first.")
        return self._current

    async def __aenter__(self) -> Self:
        self._current = await self._store.load()
        self._polling = asyncio.create_task(self._poll(), name="catalogue")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)

    async def refresh(self) -> None:
        """Look for a newer version now. Raises: StoreUnavailable."""
        if await self._store.version() != self.current.version:
            self._current = await self._store.load()
            log.info("Catalogue changed", version=self._current.version)

    async def _poll(self) -> None:
        reachable = True
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                await self.refresh()
                reachable = True
            except VaultError as error:
                if reachable:
                    log.warning("Catalogue cannot be read; the last one stays in force", code=error.code)
                reachable = False
