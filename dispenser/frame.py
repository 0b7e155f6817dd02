"""Reads a msgpack map that a stranger sent: nothing but plain fields, within hard limits.

Whatever the bytes, reading them raises MalformedFrame or nothing, and costs in proportion to their number.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

import msgpack

MAX_DEPTH: Final = 6
MAX_FIELDS: Final = 32
MAX_ITEMS: Final = 256
MAX_TEXT_BYTES: Final = 4096
#: Three years: more is a mistake, and would overflow the arithmetic of dates.
MAX_SECONDS: Final = 1e8
#: The end of the year 9999, in seconds since the epoch: the last that a date can be.
MAX_INSTANT: Final = 253_402_300_799.0
#: What a database's integer holds.
MAX_INTEGER: Final = 2**63 - 1

Fields = Mapping[str, Any]
T = TypeVar("T")


class MalformedFrame(ValueError):
    """A body that is not a frame of this protocol."""


def read(body: bytes, *, max_bytes: int, max_octets: int = 0) -> Fields:
    """The map in a body, in which binary fields are `max_octets` long at most. Raises: MalformedFrame."""
    if len(body) > max_bytes:
        raise MalformedFrame(f"A frame is at most {max_bytes} bytes long.")
    try:
        fields = msgpack.unpackb(
            body,
            object_pairs_hook=_unique,
            ext_hook=_no_extension,
            max_str_len=max_bytes,
            max_bin_len=max_octets,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_FIELDS,
            max_ext_len=0,
        )
    except MalformedFrame:
        raise
    except (ValueError, msgpack.UnpackException, RecursionError):
        raise MalformedFrame("The body is not msgpack as this protocol has it.") from None
    if not isinstance(fields, dict) or _depth(fields) > MAX_DEPTH:
        raise MalformedFrame(f"A frame is a map, at most {MAX_DEPTH} levels deep.")
    return fields


def only(fields: Fields, known: frozenset[str]) -> None:
    """Raises: MalformedFrame for a field that is not known: it may restrict what is asked for."""
    if not fields.keys() <= known:
        raise MalformedFrame("A field or an op is not known here: are the dispensers older than the agent?")


def optional(read_field: Callable[[Fields, str], T], fields: Fields, name: str) -> T | None:
    """What the reader makes of a field that is there; None: it is not."""
    return None if fields.get(name) is None else read_field(fields, name)


def text(fields: Fields, name: str) -> str:
    """A text as a stranger may send it: bounded, and with nothing in it that a database refuses."""
    return _bounded(any_text(fields, name), name)


def any_text(fields: Fields, name: str) -> str:
    """A text of any length that the frame has room for."""
    return field(fields, name, str)


def texts(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of texts, empty when it is missing."""
    values = optional(items, fields, name) or ()
    if not all(isinstance(value, str) for value in values):
        raise MalformedFrame(f"`{name}` is a list of texts.")
    return tuple(_bounded(value, name) for value in values)


def items(fields: Fields, name: str) -> list[Any]:
    """A list of anything."""
    return field(fields, name, list)


def seconds(fields: Fields, name: str) -> float:
    """A duration."""
    return _up_to(MAX_SECONDS, fields, name)


def instant(fields: Fields, name: str) -> float:
    """Seconds since the epoch."""
    return _up_to(MAX_INSTANT, fields, name)


def integer(fields: Fields, name: str) -> int:
    """A number from 0 that a database can hold."""
    value = field(fields, name, int)
    if not 0 <= value <= MAX_INTEGER:
        raise MalformedFrame(f"`{name}` is a number from 0 to {MAX_INTEGER}.")
    return value


def field(fields: Fields, name: str, kind: type[T]) -> T:
    """A field of just this type. Raises: MalformedFrame."""
    value = fields.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MalformedFrame(f"`{name}` is missing or not a {kind.__name__}.")
    return value


def _bounded(value: str, name: str) -> str:
    if len(value.encode()) > MAX_TEXT_BYTES:
        raise MalformedFrame(f"`{name}` is longer than {MAX_TEXT_BYTES} bytes.")
    if "\0" in value:
        raise MalformedFrame(f"`{name}` has a NUL in it, which no database takes.")
    return value


def _up_to(largest: float, fields: Fields, name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
        raise MalformedFrame(f"`{name}` is a number of seconds from 0 to {largest:.0f}.")
    return float(value)


def _unique(pairs: list[tuple[Any, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs) or not all(isinstance(key, str) for key in fields):
        raise MalformedFrame("A map's keys are texts, each once.")
    return fields


def _no_extension(_code: int, _data: bytes) -> object:
    raise MalformedFrame("Extension types are not part of this protocol.")


def _depth(value: object) -> int:
    """Levels of nesting, without recursion on what a stranger sent."""
    level, inside = 0, [value]
    while inside and level <= MAX_DEPTH:
        level += 1
        inside = [item for outer in inside for item in _items(outer)]
    return level


def _items(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
