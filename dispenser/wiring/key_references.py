"""What still needs each key: rows, cached tokens, and files on this machine."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from dispenser import connect_ticket, vault_token
from dispenser.retirement import FOLLOWED, Reference
from dispenser.rewrap import cached_by_key
from dispenser.wiring.world import World
from shared import envelope
from shared.errors import CacheUnavailable, SealBroken
from shared.key_record import KeyRecord
from workers.spool import Spool

REWRAP: Final = "`dispenser keys rewrap` brings them under the current key."
SPOOLED: Final = "a refresher that is started on this machine uses them."
UNDER_WAY: Final = "their answers may be sealed with it; they end by themselves."
NAMING: Final = "without it they are not found by a token any more. --now gives that up."
#: What nobody counts, by use: its name, and for how long after the key's time it may be about.
OUTLIVING: Final[Mapping[str, tuple[str, timedelta]]] = {
    "signing": (
        "vault tokens",
        timedelta(seconds=vault_token.LONGEST_TTL_SECONDS + vault_token.SKEW_SECONDS),
    ),
    "cache": ("links to connect an account", timedelta(seconds=connect_ticket.LIFETIME_SECONDS)),
}
References = Mapping[str, Sequence[Reference]]


async def references(at: World, records: Sequence[KeyRecord]) -> References:
    """By key id. Raises: StoreUnavailable, SpoolUnavailable."""
    found: dict[str, list[Reference]] = defaultdict(list)
    for column, rows in (await at.store.sealed.count()).items():
        for key_id, count in rows.items():
            found[key_id].append(Reference(what=column.value, count=count, remedy=REWRAP))
    for key_id, count in (await _cached(at)).items():
        found[key_id].append(Reference(what="cached tokens", count=count, remedy=REWRAP))
    for key_id, count in (await _spooled(at)).items():
        found[key_id].append(Reference(what="spooled answers", count=count, remedy=SPOOLED))
    for record in records:
        found[record.id] += [*await _under_way(at, record), *await _naming(at, record)]
        found[record.id] += outliving(record, at.clock())
    return found


async def _cached(at: World) -> Counter[str]:
    try:
        return await cached_by_key(at.store.sealed, at.cache)
    except CacheUnavailable:
        return Counter()  # a cache that comes back empty or not: what does not open is read from the database


async def _spooled(at: World) -> Counter[str]:
    """Answers of refreshers that ended in the middle, or are at it now."""
    folders = sorted(path for path in (at.settings.home / "spool").glob("*") if path.is_dir())
    pending = [found for folder in folders for found in await Spool(folder).pending()]
    counted: Counter[str] = Counter()
    for found in pending:
        if found.sealed is not None:
            try:
                counted[envelope.key_id(found.sealed)] += 1
            except SealBroken:
                continue
    return counted


async def _under_way(at: World, record: KeyRecord) -> list[Reference]:
    """Rotations whose answers may be sealed with the key already, on whatever machine."""
    if record.use != "grant" or record.superseded_at is None:
        return []
    begun = [intent.opened_at for intent in await at.store.rotations.open_intents()]
    count = sum(moment < record.superseded_at + FOLLOWED for moment in begun)
    return [Reference(what="rotations under way", count=count, remedy=UNDER_WAY)] if count else []


async def _naming(at: World, record: KeyRecord) -> list[Reference]:
    """Records of the audit that name tokens by it."""
    if record.use != "audit" or record.superseded_at is None or record.retired_at is not None:
        return []
    count = await at.store.audit.naming(record.current_from, record.superseded_at + FOLLOWED)
    what = "audit records that name tokens"
    return [Reference(what=what, count=count, remedy=NAMING, given_up=True)] if count else []


def outliving(record: KeyRecord, now: datetime) -> list[Reference]:
    """What was made with a key in its time, and is good for as long as it says itself."""
    if record.use not in OUTLIVING or record.superseded_at is None or record.retired_at is not None:
        return []
    what, life = OUTLIVING[record.use]
    end = record.superseded_at + life
    remedy = f"they may be good until {end.isoformat(timespec='seconds')}. --now refuses them from now on."
    return [Reference(what=what, count=None, remedy=remedy, given_up=True)] if now < end else []
