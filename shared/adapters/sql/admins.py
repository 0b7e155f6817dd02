from datetime import datetime

from sqlalchemy import select

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import admins


class SqlAdmins:
    """Admin tokens, by SHA-256: looked up by hash, so a comparison's time tells nothing of a token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, token_hash: bytes, now: datetime) -> None:
        """Let a token in. One that is in already stays as it is."""
        put = self._database.insert(admins).values(name=name, token_hash=token_hash, created_at=now)
        async with self._database.writing() as connection:
            await connection.execute(put.on_conflict_do_nothing())

    async def named(self, token_hash: bytes) -> str | None:
        """Who was let in with the token of this hash."""
        query = select(admins.c.name).where(admins.c.token_hash == token_hash)
        async with self._database.reading() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def any(self) -> bool:
        """Some token has been let in."""
        async with self._database.reading() as connection:
            return (await connection.execute(select(admins.c.name).limit(1))).first() is not None
