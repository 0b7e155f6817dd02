import asyncio
import sqlite3
import time
from typing import Any, Final

import aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

#: Seconds that a switch of the journal's mode may wait for others, and between two tries.
_SWITCH_SECONDS: Final = 10.0
_PAUSE_SECONDS: Final = 0.005


async def open_file(path: str, **options: Any) -> aiosqlite.Connection:
    """A connection, whose thread ends with the process. Raises: sqlite3.Error.

    aiosqlite does not wait for the thread of a file that did not open; it would then speak to a closed loop.
    """
    connection = aiosqlite.connect(path, **options)
    thread = connection._thread  # noqa: SLF001 - there is no other way to it, SQLAlchemy goes it too
    thread.daemon = True
    try:
        return await connection
    except sqlite3.Error:
        await asyncio.to_thread(thread.join)
        raise


def make_durable(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """What is committed survives a power cut."""
    connection.isolation_level = None  # BEGIN is ours: the driver's would come too late, and never IMMEDIATE
    cursor = connection.cursor()
    for setting in ("synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def write_ahead(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """Readers do not wait for the writer: the file keeps this mode for good.

    SQLite may refuse one of two that switch at once instead of letting it wait: that one asks again.
    """
    giving_up = time.monotonic() + _SWITCH_SECONDS
    cursor = connection.cursor()
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > giving_up:
                raise
            time.sleep(_PAUSE_SECONDS)
        else:
            break
    cursor.close()
