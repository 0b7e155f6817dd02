"""Column types that carry the model's own values, so that a row holds what its noun holds."""

from dataclasses import fields
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import JSON, DateTime, Dialect, RowMapping, Text
from sqlalchemy.types import TypeDecorator

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Noun = TypeVar("Noun", bound="DataclassInstance")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC instant, to the microsecond, in an order that the database can sort.

    PostgreSQL has such a type; SQLite gets text of a fixed width without a zone.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raises: ValueError for an instant without a zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone cannot be stored: it does not say when.")
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Word(TypeDecorator[StrEnum]):
    """One word of an enumeration, as text. New words need no migration."""

    impl = Text
    cache_ok = True

    def __init__(self, words: type[StrEnum]) -> None:
        super().__init__()
        self.words = words

    def process_bind_param(self, value: StrEnum | None, _dialect: Dialect) -> str | None:
        return None if value is None else self.words(value).value

    def process_result_value(self, value: str | None, _dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.words(value)


class Names(TypeDecorator[tuple[str, ...]]):
    """Several short texts, such as scopes."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: tuple[str, ...] | None, _dialect: Dialect) -> list[str] | None:
        return None if value is None else list(value)

    def process_result_value(self, value: list[str] | None, _dialect: Dialect) -> tuple[str, ...] | None:
        return None if value is None else tuple(value)


class ForeignText(TypeDecorator[str]):
    """Text that strangers wrote: what a database cannot hold (NUL, half surrogates) becomes a mark.

    One agent's crafted purpose must not stop the index for everybody.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, _dialect: Dialect) -> str | None:
        return None if value is None else storable(value)


def storable(text: str) -> str:
    """A text as a database holds it."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def values_of(noun: "DataclassInstance") -> dict[str, Any]:
    """A noun's fields as a row's columns."""
    return {field.name: getattr(noun, field.name) for field in fields(noun)}


def noun_of(kind: type[Noun], row: RowMapping) -> Noun:
    """The noun in a row; columns that are not its fields are the store's own."""
    return kind(**{field.name: row[field.name] for field in fields(kind)})
