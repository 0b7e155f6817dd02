"""SQLite on the simulation's own thread: SQLAlchemy's asynchronous dialect over a driver that never waits."""

import asyncio
import contextvars
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from datetime import datetime
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any, Final, Self, TypeVar

from simulation.loop import SimulatedLoop
from simulation.process import Process
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import StaticPool

from shared.adapters.sql.engine import Database, prepare
from shared.adapters.sql.store import SqlStore, migrate
from shared.ports import Store

T = TypeVar("T")
#: Of a store, by their names.
ROOMS: Final = tuple(name for name, room in vars(Store).items() if isinstance(room, property))


class InlineCursor:
    """A cursor whose coroutines are done when they are first run."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._cursor = cursor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    async def __aenter__(self) -> Self:
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
        self._transactions = 0
        self._idle = asyncio.Event()

    async def _connected(self, *_: Any, **__: Any) -> InlineConnection:
        return InlineConnection(self.connection)


class InlineStore:
    """The SQL store, whose calls are done when they are first run.

    SQLAlchemy puts connections away in tasks, so each call has an event loop to itself.
    """

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._loop = SimulatedLoop(lambda: 0.0, Process("database"))
        for name in ROOMS:
            setattr(self, name, _InlineRoom(getattr(store, name), self._at_once))

    async def ping(self) -> None:
        self._at_once(self._store.ping())

    async def now(self) -> datetime:
        return self._at_once(self._store.now())

    async def purge(self, now: datetime) -> dict[str, int]:
        return self._at_once(self._store.purge(now))

    async def close(self) -> None:
        """The database stays, for the next run."""
        self._loop.close()

    def _at_once(self, call: Coroutine[Any, Any, T]) -> T:
        outer = asyncio._get_running_loop()
        asyncio._set_running_loop(None)
        try:
            return self._loop.run_until_complete(_alone(call))
        finally:
            asyncio._set_running_loop(outer)
            self._loop.forget()


class _InlineRoom:
    def __init__(self, room: Any, at_once: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._room = room
        self._at_once = at_once

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method, at_once = getattr(self._room, name), self._at_once

        async def call(*arguments: Any, **named: Any) -> Any:
            return at_once(method(*arguments, **named))

        setattr(self, name, call)
        return call


async def _alone(call: Coroutine[Any, Any, T]) -> T:
    # In no simulated process: a killed one's calls go on in the database all the same.
    return await asyncio.get_running_loop().create_task(call, context=contextvars.Context())


def fresh() -> InlineStore:
    """The SQL store, empty. There is one at a time, for an engine takes longer to make than a run."""
    database = _database()
    _empty().backup(database.connection)
    return InlineStore(SqlStore(database))


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
