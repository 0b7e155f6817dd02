import structlog

from dispenser.policy_index import PolicyIndex
from shared.model import Catalogue
from shared.ports import CatalogueStore

log = structlog.get_logger()


class CatalogueView:
    """The catalogue in memory. Whoever owns the view polls `look`."""

    def __init__(self, store: CatalogueStore) -> None:
        self._store = store
        self._current: Catalogue | None = None
        self._policies = PolicyIndex(())

    @property
    def current(self) -> Catalogue:
        """The newest catalogue seen."""
        if self._current is None:
            raise RuntimeError("The catalogue is read before anybody has looked at it.")
        return self._current

    @property
    def policies(self) -> PolicyIndex:
        """Those of the newest catalogue seen."""
        return self._policies

    async def look(self) -> None:
        """Load the catalogue if its version has moved. Raises: StoreUnavailable."""
        if self._current is None or await self._store.version() != self._current.version:
            before, self._current = self._current, await self._store.load(self._current)
            if before is None or self._current.policies is not before.policies:
                self._policies = PolicyIndex(self._current.policies)
            log.info("Catalogue loaded", version=self._current.version)
