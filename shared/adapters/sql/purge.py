"""What has outlived its use, and when that is."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Delete, and_, delete, or_

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import consents, enrolments, intents, revocations, transport_keys

#: Closed intents tell the story of a lost grant, so they stay for a while.
INTENTS_KEPT: Final = timedelta(days=7)
#: Whoever connected the account may still ask how it ended.
ENROLMENTS_KEPT: Final = timedelta(hours=1)
#: Much longer than any vault token lives: a revocation that goes must leave nothing to revoke.
REVOCATIONS_KEPT: Final = timedelta(days=90)


async def purge(database: Database, now: datetime) -> dict[str, int]:
    """Remove it. Returns how many rows, by table."""
    counts = {}
    async with database.writing() as connection:
        for table, removal in _removals(now).items():
            counts[table] = (await connection.execute(removal)).rowcount
    return counts


def _removals(now: datetime) -> Mapping[str, Delete]:
    # A refresher may still hold an enrolment that has expired; parked answers wait for people.
    unheld = or_(enrolments.c.lease_until.is_(None), enrolments.c.lease_until <= now)
    expired = and_(enrolments.c.ended_at.is_(None), enrolments.c.expires_at <= now, unheld)
    ended = enrolments.c.ended_at <= now - ENROLMENTS_KEPT
    closed = and_(intents.c.closed_at <= now - INTENTS_KEPT, intents.c.parked.is_(None))
    return {
        "enrolments": delete(enrolments).where(or_(expired, ended)),
        "consents": delete(consents).where(consents.c.expires_at <= now),
        "intents": delete(intents).where(closed),
        # Once it is gone, what was sealed to it stays sealed.
        "transport_keys": delete(transport_keys).where(transport_keys.c.expires_at <= now),
        "revocations": delete(revocations).where(revocations.c.revoked_at <= now - REVOCATIONS_KEPT),
    }
