import time
from typing import Any, Final

from sqlalchemy import Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

#: Seconds after which a connection in the pool is asked whether it still lives: to ask each time took a tenth
#: of a refresher's CPU.
QUIET_SECONDS: Final = 1.0
_LEFT_AT: Final = "left_at"


def ask_quiet_connections(engine: Engine) -> None:
    """Have connections that nobody used for a while prove that they live, and others made in their place."""

    def left(connection: Any, entry: ConnectionPoolEntry) -> None:  # noqa: ARG001 - as the event has it
        entry.info[_LEFT_AT] = time.monotonic()

    def taken(connection: Any, entry: ConnectionPoolEntry, proxy: Any) -> None:  # noqa: ARG001 - likewise
        left_at = entry.info.get(_LEFT_AT)
        if left_at is None or time.monotonic() - left_at < QUIET_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            # What the database ended, it mostly ended all of.
            raise InvalidatePoolError("A connection does not live any more.") from error

    event.listen(engine, "checkin", left)
    event.listen(engine, "checkout", taken)
