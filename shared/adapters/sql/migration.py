"""Bring a database's tables to the newest revision, and tell whether they are."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import column, create_engine, event, select, table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.engine import (
    driver_url,
    engine_arguments,
    prepare,
    readable_setup,
    translated_errors,
)
from shared.adapters.sql.sqlite_file import write_ahead
from shared.errors import StoreNotMigrated

if TYPE_CHECKING:
    from alembic.config import Config

SCRIPTS: Final = Path(__file__).with_name("migrations")
#: What each process's role may do with the tables, for PostgreSQL.
RIGHTS: Final = Path(__file__).with_name("rights.sql")
#: Any number does, as long as it stays: PostgreSQL's lock that keeps two upgrades from running at once.
_LOCK: Final = 7_237_412_004
_VERSIONS: Final = table("alembic_version", column("version_num"))


def migrate(database_url: str) -> None:
    """Upgrade to the newest revision and give each process's role its rights, all of it or nothing.

    Harmless when repeated or done twice at once.

    Raises: StoreUnavailable, ConfigurationError.
    """
    from alembic import command  # noqa: PLC0415 - needed here alone

    url = driver_url(database_url, "sync")
    with readable_setup():
        engine = create_engine(url, **engine_arguments(url)).execution_options(writing=True)
    prepare(engine)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", write_ahead)
    config = _config()
    try:
        with translated_errors(), engine.begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if engine.dialect.name == "postgresql":
                connection.exec_driver_sql(RIGHTS.read_text())
    finally:
        engine.dispose()


async def require_head(connection: AsyncConnection) -> None:
    """Raises: StoreNotMigrated unless the tables are at the newest revision."""
    found = (await connection.execute(select(_VERSIONS.c.version_num))).scalars().all()
    if found != [head()]:
        raise StoreNotMigrated(
            f"The database is at revision {', '.join(found) or 'none'}, this version of the vault needs "
            f"{head()}: run `dispenser init`, or start the version that fits."
        )


@cache
def head() -> str:
    """The newest revision's id: revisions are files in a row, numbered from `r0001`."""
    return max(file.name[1:5] for file in SCRIPTS.glob("versions/r[0-9]*.py"))


def _config() -> "Config":
    from alembic.config import Config  # noqa: PLC0415 - a third of what every process would load

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    return config
