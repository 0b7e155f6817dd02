"""Sealed columns, all in the same way: how many rows under which key, and one envelope for another."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, LargeBinary, Select, func, select, update

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import (
    consents,
    enrolments,
    grants,
    handbacks,
    intents,
    providers,
    transport_keys,
)
from shared.model import SealedColumn, SealedRow
from shared.ports import RowId

#: Where an envelope's key id stands (see `shared.envelope`), as SQL counts.
_KEY_ID_FROM: Final = 3
_KEY_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A column, its table's key, and what its envelopes are bound to."""

    column: Column[Any]
    id: Column[Any]
    bound_to: tuple[ColumnElement[Any], ...]
    #: Of the values of `bound_to`.
    words: Callable[..., tuple[str, ...]] = lambda *values: values

    def query(self) -> Select[Any]:
        """Rows that hold an envelope, in the order of their ids."""
        query = select(self.id, self.column, *self.bound_to).where(self.column.is_not(None))
        if self.column.table is intents:
            query = query.join_from(intents, grants, intents.c.grant_id == grants.c.id)
        return query.order_by(self.id)

    @property
    def key_id(self) -> ColumnElement[bytes]:
        """Of the key that a row's envelope is sealed with."""
        return func.substr(self.column, _KEY_ID_FROM, _KEY_ID_BYTES, type_=LargeBinary)


def _provider_words(name: str, spec: Mapping[str, Any]) -> tuple[str, ...]:
    return name, spec["token_url"], spec["client_id"], spec.get("revocation_url") or ""


def _consent_words(state_hash: bytes, *rest: str) -> tuple[str, ...]:
    return state_hash.hex(), *rest


_PLACES: Final[Mapping[SealedColumn, _Place]] = {
    SealedColumn.PROVIDER_SECRETS: _Place(
        column=providers.c.sealed_secrets,
        id=providers.c.name,
        bound_to=(providers.c.name, providers.c.spec),
        words=_provider_words,
    ),
    SealedColumn.CREDENTIALS: _Place(
        column=grants.c.sealed_credential, id=grants.c.id, bound_to=(grants.c.id, grants.c.owner)
    ),
    SealedColumn.TOKENS: _Place(
        column=grants.c.sealed_token, id=grants.c.id, bound_to=(grants.c.service, grants.c.owner)
    ),
    SealedColumn.PARKED: _Place(
        column=intents.c.parked, id=intents.c.id, bound_to=(intents.c.grant_id, grants.c.owner)
    ),
    SealedColumn.ENROLMENTS: _Place(
        column=enrolments.c.sealed,
        id=enrolments.c.id,
        bound_to=(enrolments.c.id, enrolments.c.service, enrolments.c.owner),
    ),
    SealedColumn.VERIFIERS: _Place(
        column=consents.c.sealed_verifier,
        id=consents.c.state_hash,
        bound_to=(consents.c.state_hash, consents.c.service, consents.c.owner),
        words=_consent_words,
    ),
    SealedColumn.HANDBACKS: _Place(
        column=handbacks.c.sealed_credential,
        id=handbacks.c.id,
        bound_to=(handbacks.c.grant_id, handbacks.c.owner),
    ),
    SealedColumn.TRANSPORT_KEYS: _Place(column=transport_keys.c.sealed, id=transport_keys.c.day, bound_to=()),
}


class SqlSealed:
    """Every sealed value, whatever it is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self) -> Mapping[SealedColumn, Mapping[str, int]]:
        """How many rows of each column are sealed with which key, by its id."""
        async with self._database.reading() as connection:
            counts = {}
            for column, place in _PLACES.items():
                key_id = place.key_id.label("key_id")
                query = select(key_id, func.count()).where(place.column.is_not(None)).group_by("key_id")
                counts[column] = {bytes(key).hex(): rows for key, rows in await connection.execute(query)}
        return counts

    async def page(
        self, column: SealedColumn, *, after: RowId | None, limit: int, other_than: str | None = None
    ) -> list[SealedRow]:
        """Rows in the order of their ids; with `other_than` those alone that another key has sealed."""
        place = _PLACES[column]
        query = place.query().limit(limit)
        if after is not None:
            query = query.where(place.id > after)
        if other_than is not None:
            query = query.where(place.key_id != bytes.fromhex(other_than))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [
            SealedRow(column=column, id=row_id, sealed=sealed, bound_to=place.words(*bound_to))
            for row_id, sealed, *bound_to in rows
        ]

    async def swap(self, swaps: Sequence[tuple[SealedRow, bytes]]) -> int:
        """Put each new envelope in its old one's place, where that is still there. Returns how many were."""
        swapped = 0
        async with self._database.writing() as connection:
            for row, sealed in swaps:
                place = _PLACES[row.column]
                still = update(place.column.table).where(place.id == row.id, place.column == row.sealed)
                swapped += (await connection.execute(still.values({place.column: sealed}))).rowcount
        return swapped
