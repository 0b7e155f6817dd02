"""SQLite on the simulation's own thread: SQLAlchemy's asynchronous dialect over a driver that never waits."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from shared.adapters.sql.engine import Database, prepare
from shared.adapters.sql.store import SqlStore, migrate


class InlineCursor:
    """A cursor whose coroutines are done when they are first run."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    async def __aenter__(self) -> "InlineCursor":
        return self

    async def execute(self, statement: str, parameters: Sequence[Any] = ()) -> "InlineCursor":
        self._cursor.execute(statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        self._cursor.executemany(statement, parameters)

    async def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()

    async def fetchone(self) -> Any:
        return self._cursor.fetchone()

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        return self._cursor.fetchmany(size or self._cursor.arraysize)

    async def close(self) -> None:
        self._cursor.close()


class InlineConnection:
    """What the dialect asks of `aiosqlite.Connection`, without its thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._conn = self._connection = connection
        self._tx = self

    @property
    def isolation_level(self) -> str | None:
        return self._conn.isolation_level

    def put_nowait(self, job: tuple["asyncio.Future[Any]", Callable[[], Any]]) -> None:
        """The dialect's way to the driver's thread, which here is this one."""
        done, call = job
        done.set_result(call())

    def cursor(self) -> InlineCursor:
        return InlineCursor(self._conn.cursor())

    async def commit(self) -> None:
        self._conn.commit()

    async def rollback(self) -> None:
        self._conn.rollback()

    async def close(self) -> None:
        self._conn.close()

    async def create_function(self, *args: Any, **named: Any) -> None:
        self._conn.create_function(*args, **named)

    def stop(self) -> None:
        self._conn.close()


class InlineDatabase(Database):
    """The database's own code on one connection in memory, which every call has to itself."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self._engine = create_async_engine(
            "sqlite+aiosqlite://", poolclass=StaticPool, connect_args={"async_creator_fn": self._connected}
        )
        prepare(self._engine.sync_engine)
        self._reading = self._engine
        self._writing = self._engine.execution_options(writing=True)
        self._closed = False

    async def _connected(self, *_: Any, **__: Any) -> InlineConnection:
        return InlineConnection(self.connection)


def fresh() -> SqlStore:
    """The SQL store, empty. There is one at a time, for an engine takes longer to make than a run."""
    database = _database()
    _empty().backup(database.connection)
    return SqlStore(database)


@cache
def _database() -> InlineDatabase:
    return InlineDatabase()


@cache
def _empty() -> sqlite3.Connection:
    """The newest tables, without rows."""
    with TemporaryDirectory() as folder:
        path = f"{folder}/vault.db"
        migrate(f"sqlite:///{path}")
        connection, memory = sqlite3.connect(path), sqlite3.connect(":memory:")
        connection.backup(memory)
        connection.close()
    return memory
