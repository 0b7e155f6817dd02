import structlog

from shared.errors import VaultError

log = structlog.get_logger()


class Outage:
    """Says once that something cannot be done, and once that it can again."""

    def __init__(self, what: str) -> None:
        self._what = what
        #: Failures in a row.
        self.failures = 0

    def noticed(self, error: VaultError) -> None:
        """It failed."""
        self.failures += 1
        if self.failures == 1:
            log.warning("Something has to wait", what=self._what, code=error.code, why=str(error))

    def over(self) -> None:
        """It went well."""
        if self.failures:
            log.info("It goes on", what=self._what, failures=self.failures)
        self.failures = 0
