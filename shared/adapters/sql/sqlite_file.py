import asyncio
import sqlite3
from typing import Any

import aiosqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry


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
    """What is committed survives a power cut, and readers do not wait for the writer."""
    connection.isolation_level = None  # BEGIN is ours: the driver's would come too late, and never IMMEDIATE
    cursor = connection.cursor()
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()
