"""Brings what is sealed under the current keys, while everybody goes on working.

An envelope is swapped for another only where it still lies: a refresher that has committed a newer one is
never overwritten. What is done is not looked at again, so whoever was interrupted begins anew and goes on.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Final

from shared import envelope
from shared.cache_keys import TOMBSTONE, token_key
from shared.errors import KeyMissing, SealBroken
from shared.keyring import Keyring
from shared.model import Owner, SealedColumn, SealedRow, ServiceName
from shared.ports import Cache, RowId, SealedStore

#: Rows sealed anew in one transaction.
BATCH_ROWS: Final = 100
CACHE_BATCH: Final = 500
Advanced = Callable[[int], None]


async def rewrap_column(
    store: SealedStore, keys: Keyring, column: SealedColumn, advanced: Advanced
) -> list[RowId]:
    """Seal every row of a column under the current key. Returns the rows that do not open: they stay.

    Raises: StoreUnavailable, KeyMissing where this process holds no current key.
    """
    unopened: list[RowId] = []
    after: RowId | None = None
    current = keys.primary_id(column.use)
    while page := await store.page(column, after=after, limit=BATCH_ROWS, other_than=current):
        swaps = [(row, sealed) for row in page if (sealed := _resealed(keys, row)) is not None]
        unopened += [row.id for row in page if row.id not in {swapped.id for swapped, _ in swaps}]
        await store.swap(swaps)
        advanced(len(page))
        after = page[-1].id
    return unopened


async def rewrap_cache(store: SealedStore, cache: Cache, keys: Keyring, advanced: Advanced) -> None:
    """Seal the tokens in the cache under the current key; those that do not open are left to their end.

    Raises: StoreUnavailable, CacheUnavailable, KeyMissing.
    """
    current = keys.primary_id(SealedColumn.TOKENS.use)
    async for cached in _cached(store, cache):
        for key, row in cached:
            sealed = _resealed(keys, row) if _key_id(row.sealed) != current else None
            if sealed is not None:
                await cache.replace(key, row.sealed, sealed)
        advanced(len(cached))


async def cached_by_key(store: SealedStore, cache: Cache) -> Counter[str]:
    """How many of the cached tokens are sealed with which key. Raises: StoreUnavailable, CacheUnavailable."""
    counted: Counter[str] = Counter()
    async for cached in _cached(store, cache):
        counted.update(_key_id(row.sealed) for _, row in cached)
    return counted


async def _cached(store: SealedStore, cache: Cache) -> AsyncIterator[Sequence[tuple[str, SealedRow]]]:
    """The cached token of every grant that has one, with its place in the cache."""
    after: RowId | None = None
    while page := await store.page(SealedColumn.TOKENS, after=after, limit=CACHE_BATCH):
        places = [_token_key(row) for row in page]
        values = await cache.get_many(places)
        yield [
            (place, replace(row, sealed=value))
            for place, row, value in zip(places, page, values, strict=True)
            if value is not None and value != TOMBSTONE
        ]
        after = page[-1].id


def _token_key(row: SealedRow) -> str:
    service, owner = row.bound_to
    return token_key(ServiceName(service), Owner(owner))


def _key_id(sealed: bytes) -> str:
    try:
        return envelope.key_id(sealed)
    except SealBroken:
        return ""


def _resealed(keys: Keyring, row: SealedRow) -> bytes | None:
    try:
        return envelope.resealed(keys, row)
    except (SealBroken, KeyMissing):
        return None
