"""The way to a database: short transactions for reading and for writing, errors translated in one place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Table, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    OperationalError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shared.adapters.certificate import libpq_mistrust
from shared.adapters.sql.liveness import ask_quiet_connections
from shared.adapters.sql.sqlite_file import make_durable, open_file
from shared.errors import ConfigurationError, StoreNotMigrated, StoreUnavailable, VaultError

SQLITE_DRIVERS: Final = {"async": "sqlite+aiosqlite", "sync": "sqlite+pysqlite"}
POSTGRESQL_DRIVER: Final = "postgresql+psycopg"  # speaks both
#: Seconds that a writer waits for the file's write lock, or a call for a free connection.
WAIT_SECONDS: Final = 10
#: Connections at most. Those that were needed once are kept: to make one costs as much as many transactions.
POOL_SIZE: Final = 10
CONNECT_SECONDS: Final = 5
#: SQLSTATE of a table, a column or a schema that is not there.
_MISSING: Final = frozenset({"42P01", "42703", "3F000"})

#: How a transaction opens, by database and whether it writes. A paused process that holds a lock holds others
#: up for no longer than the wait: said to the transaction alone, since a pooler may share connections.
_OPENING: Final[Mapping[tuple[str, bool], str]] = {
    ("sqlite", False): "BEGIN",
    ("sqlite", True): "BEGIN IMMEDIATE",
    ("postgresql", True): (
        f"SET LOCAL lock_timeout = '{WAIT_SECONDS}s';"
        f"SET LOCAL idle_in_transaction_session_timeout = '{WAIT_SECONDS}s'"
    ),
}

#: How a database tells the time, in seconds since 1970.
_CLOCKS: Final = {
    "sqlite": "SELECT (julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
}

Insert = postgresql.Insert | sqlite.Insert


class Database:
    """A small pool of connections. Connects at the first use."""

    def __init__(self, database_url: str) -> None:
        url = driver_url(database_url, "async")
        with readable_setup():
            self._engine = create_async_engine(url, **engine_arguments(url))
        prepare(self._engine.sync_engine)
        self._reading = self._engine
        self._writing = self._engine.execution_options(writing=True)
        if url.get_backend_name() == "postgresql":
            # Several SELECTs of one call see one moment, as they do in SQLite.
            self._reading = self._engine.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        self._closed = False
        self._transactions = 0
        self._idle = asyncio.Event()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that sees one moment. Raises: StoreUnavailable, StoreNotMigrated."""
        with self._in_hand(), translated_errors():
            async with self._reading.connect() as connection:
                yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed unless its body raises. Raises: StoreUnavailable, StoreNotMigrated."""
        with self._in_hand(), translated_errors():
            async with self._writing.begin() as connection:
                yield connection

    async def now(self) -> datetime:
        """The time, as the database's machine has it. Raises: StoreUnavailable."""
        async with self.reading() as connection:
            told = await connection.exec_driver_sql(_CLOCKS[self._engine.dialect.name])
            return datetime.fromtimestamp(float(told.scalar_one()), UTC)

    def insert(self, table: Table) -> Insert:
        """An INSERT that may say ON CONFLICT: both databases know it, SQLAlchemy in their dialects alone."""
        if self._engine.dialect.name == "postgresql":
            return postgresql.insert(table)
        return sqlite.insert(table)

    async def close(self) -> None:
        """Disconnect for good, once the transactions in hand are over: nobody closes a connection in use."""
        self._closed = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while self._transactions:
                    self._idle.clear()
                    await self._idle.wait()
        await self._engine.dispose()

    @contextmanager
    def _in_hand(self) -> Iterator[None]:
        if self._closed:
            raise StoreUnavailable("The store is closed: this process is shutting down.")
        self._transactions += 1
        try:
            yield
        finally:
            self._transactions -= 1
            if not self._transactions:
                self._idle.set()


def driver_url(database_url: str, mode: str) -> URL:
    """The address with its driver. Raises: ConfigurationError, which shows no part of it."""
    try:
        url = make_url(database_url)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            ["DISPENSER_DATABASE_URL: not an address; write sqlite:///path or postgresql://…"]
        ) from None
    drivers = {"sqlite": SQLITE_DRIVERS[mode], "postgresql": POSTGRESQL_DRIVER}
    if url.get_backend_name() not in drivers:
        raise ConfigurationError(["DISPENSER_DATABASE_URL: its scheme must be sqlite or postgresql."])
    return url.set(drivername=drivers[url.get_backend_name()])


def engine_arguments(url: URL) -> dict[str, Any]:
    """Waits are bounded, and no statement's values reach an error message."""
    pool = {"pool_size": POOL_SIZE, "max_overflow": 0, "pool_timeout": WAIT_SECONDS}
    if url.get_backend_name() == "sqlite":
        arguments: dict[str, Any] = {"timeout": WAIT_SECONDS}
        if url.drivername == SQLITE_DRIVERS["async"]:
            arguments |= {"async_creator_fn": open_file}
        return {"hide_parameters": True, **pool, "connect_args": arguments}
    limits = {"connect_timeout": CONNECT_SECONDS, "tcp_user_timeout": WAIT_SECONDS * 1000}
    return {"hide_parameters": True, **pool, "connect_args": limits}


def prepare(engine: Engine) -> None:
    """Make SQLite durable, look after PostgreSQL's connections, and open transactions as `_OPENING` says."""
    event.listen(engine, "begin", _open)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", make_durable)
    else:
        ask_quiet_connections(engine)


def _open(connection: Connection) -> None:
    writing = connection.get_execution_options().get("writing", False)
    opening = _OPENING.get((connection.dialect.name, writing))
    if opening is not None:
        connection.exec_driver_sql(opening)


@contextmanager
def readable_setup() -> Iterator[None]:
    """A driver that is not installed is a mistake of the set-up. Raises: ConfigurationError."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            [f"The database needs {error.name}: install token-dispenser[server,postgres]."]
        ) from error


@contextmanager
def translated_errors() -> Iterator[None]:
    """The one place that knows drivers' errors. Raises: StoreUnavailable, StoreNotMigrated, VaultError."""
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        meaning = _meaning(error)
        # PostgreSQL shows the whole row that it refuses, so that message goes no further.
        raise meaning from (None if type(meaning) is VaultError else error)


def _meaning(error: DBAPIError | PoolTimeout) -> VaultError:
    if isinstance(error, DBAPIError) and _tables_missing(error):
        return StoreNotMigrated("The database has no tables, or older ones: run `dispenser init`.")
    if isinstance(error, OperationalError) and (untrusted := libpq_mistrust(str(error.orig))) is not None:
        return StoreUnavailable(f"The database is not believed: {untrusted}.")
    if isinstance(error, PoolTimeout | OperationalError | InterfaceError | InternalError):
        return StoreUnavailable(
            f"The database did not answer ({type(error).__name__}): "
            "check DISPENSER_DATABASE_URL and that the server is up."
        )
    return VaultError(
        f"The database refused a statement ({type(error.orig).__name__}), so nothing was written: "
        "check the rights of this process's database role."
    )


def _tables_missing(error: DBAPIError) -> bool:
    # SQLite has one code for every mistake in a statement, so its words must do.
    words = ("no such table", "no such column", "has no column named")
    return getattr(error.orig, "sqlstate", None) in _MISSING or any(w in str(error.orig) for w in words)
