import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit, urlunsplit

from shared.errors import StoreUnavailable


@contextmanager
def scratch_schema(database_url: str) -> Iterator[str]:
    """A PostgreSQL schema of one's own, dropped afterwards, so that a demo leaves a database as it was.

    Yields the URL into it; any other kind of database is used as it is. Raises: StoreUnavailable.
    """
    if not database_url.startswith("postgresql"):
        yield database_url
        return
    name = f"demo_{secrets.token_hex(6)}"
    _execute(database_url, f"CREATE SCHEMA {name}")
    try:
        parts = urlsplit(database_url)
        option = f"options={quote(f'-csearch_path={name}')}"
        yield urlunsplit(parts._replace(query=f"{parts.query}&{option}" if parts.query else option))
    finally:
        _execute(database_url, f"DROP SCHEMA {name} CASCADE")


def _execute(database_url: str, statement: str) -> None:
    import psycopg  # noqa: PLC0415 - an extra, asked for by the URL

    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(statement.encode())
    except psycopg.Error as error:
        raise StoreUnavailable(f"PostgreSQL refused: {type(error).__name__}.") from error
