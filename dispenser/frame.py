"""Reads a msgpack map that a stranger sent: nothing but plain fields, within hard limits.

Whatever the bytes, reading them raises MalformedFrame or nothing, and costs in proportion to their number.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
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
#: The most that a character takes.
_CHARACTER_BYTES: Final = 4
_NUMBERS: Final = (int, float)

Fields = Mapping[str, Any]
#: A map as it was unpacked, or as a noun has it.
Pairs = Collection[tuple[str, Any]]
T = TypeVar("T")
#: Makes of a field's value, or of None when it is missing, what it stands for. Raises: MalformedFrame.
Reader = Callable[[Any, str], T]

_KEYS: Final = "A map's keys are texts, each once."
_FOREIGN: Final = "The body is not msgpack as this protocol has it."


class MalformedFrame(ValueError):
    """A body that is not a frame of this protocol."""


def read(body: bytes, *, max_bytes: int, max_octets: int = 0) -> Fields:
    """The map in a body, in which binary fields are `max_octets` long at most. Raises: MalformedFrame."""
    fields = plain(unpacked(body, max_bytes=max_bytes, max_octets=max_octets))
    if not isinstance(fields, dict):
        raise MalformedFrame("A frame is a map.")
    return fields


def unpacked(body: bytes, *, max_bytes: int, max_octets: int = 0) -> object:
    """What is in a body, for whoever looks at each map in it himself: a map is still a list of pairs.

    A list is a tuple. So each can be told from the other, a key that came twice is seen, and no function of
    Python's is called while the body is unpacked. Raises: MalformedFrame.
    """
    reading = Reading(body, max_bytes=max_bytes, max_octets=max_octets)
    value = reading.value()
    reading.end()
    return value


class Reading:
    """A body, read from its beginning to its end: maps are lists of pairs, and lists are tuples.

    Each of its methods raises MalformedFrame.
    """

    def __init__(self, body: bytes, *, max_bytes: int, max_octets: int = 0) -> None:
        if len(body) > max_bytes:
            raise MalformedFrame(f"A frame is at most {max_bytes} bytes long.")
        self._body = body
        self._unpacker = msgpack.Unpacker(
            object_pairs_hook=list,
            use_list=False,
            ext_hook=_no_extension,
            max_buffer_size=max_bytes,
            max_str_len=max_bytes,
            max_bin_len=max_octets,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_FIELDS,
            max_ext_len=0,
        )
        self._unpacker.feed(body)
        #: The last noun, and how it is spelled.
        self._noun: Any = None
        self._spelled = b""

    def value(self) -> object:
        """The next value, whatever it is."""
        return self._read(self._unpacker.unpack)

    def fields(self) -> Iterator[str]:
        """The names in a map, each once and before its value is read."""
        names = set()
        for number in range(1, self._length(self._unpacker.read_map_header, MAX_FIELDS) + 1):
            names.add(name := _key(self.value()))
            if len(names) < number:
                raise MalformedFrame(_KEYS)
            yield name

    def length(self) -> int:
        """How many values follow, in a list."""
        return self._length(self._unpacker.read_array_header, MAX_ITEMS)

    def noun(self, read: Callable[[object], T]) -> T:
        """What is made of the next value: of one that is spelled as the one before, the same noun again."""
        at = self._unpacker.tell()
        # No value's spelling is the beginning of another's.
        if self._spelled and self._body.startswith(self._spelled, at):
            self._unpacker.read_bytes(len(self._spelled))
        else:
            self._noun = read(self.value())
            self._spelled = self._body[at : self._unpacker.tell()]
        noun: T = self._noun
        return noun

    def end(self) -> None:
        """Nothing follows."""
        if self._unpacker.tell() != len(self._body):
            raise MalformedFrame(_FOREIGN)

    def _length(self, header: Callable[[], int], most: int) -> int:
        length = self._read(header)
        if length > most:
            raise MalformedFrame(_FOREIGN)
        return length

    @staticmethod
    def _read(read: Callable[[], T]) -> T:
        try:
            return read()
        except MalformedFrame:
            raise
        except (ValueError, msgpack.UnpackException, RecursionError):
            raise MalformedFrame(_FOREIGN) from None


def pairs(value: object) -> Pairs:
    """An unpacked map. Raises: MalformedFrame."""
    if not isinstance(value, list):
        raise MalformedFrame("Something else stands where this protocol has a map.")
    return value


def once(value: object) -> dict[str, Any]:
    """An unpacked map whose keys, texts or octets, came once each. Raises: MalformedFrame."""
    listed = pairs(value)
    fields = dict(listed)
    if len(fields) != len(listed):
        raise MalformedFrame(_KEYS)
    return fields


def plain(value: object, levels: int = MAX_DEPTH) -> object:
    """An unpacked value with all its maps in place, so many levels deep at most. Raises: MalformedFrame."""
    if not levels:
        raise MalformedFrame(f"A frame is at most {MAX_DEPTH} levels deep.")
    if isinstance(value, tuple):
        return tuple(plain(item, levels - 1) for item in value)
    if isinstance(value, list):
        return {_key(key): plain(item, levels - 1) for key, item in once(value).items()}
    return value


def taken(given: Pairs, readers: Mapping[str, Reader[Any]], unknown: Reader[object]) -> dict[str, Any]:
    """What its reader makes of each field, nil being as good as no field. Raises: MalformedFrame."""
    found = {}
    for name, value in given:
        reader = readers.get(name)
        if reader is None:
            unknown(value, name)
        elif value is not None:
            found[name] = reader(value, name)
    if len(found) < len(given):
        once(list(given))
    return found


def only(fields: Fields, known: frozenset[str]) -> None:
    """Raises: MalformedFrame for a field that is not known."""
    for name in fields.keys() - known:
        refuse(fields[name], name)


def field(fields: Fields, name: str, reader: Reader[T]) -> T:
    """What a reader makes of one field. Raises: MalformedFrame."""
    return reader(fields.get(name), name)


def refuse(_value: object, _name: str) -> None:
    """Of a field that is not known: it may restrict what is asked for."""
    raise MalformedFrame("A field or an op is not known here: are the dispensers older than the agent?")


def text(value: object, name: str) -> str:
    """A text as a stranger may send it: bounded, and with nothing in it that a database refuses."""
    if not isinstance(value, str):
        raise MalformedFrame(f"`{name}` is missing or not a text.")
    # Most are so short that their bytes need not be counted.
    if len(value) * _CHARACTER_BYTES > MAX_TEXT_BYTES and len(value.encode()) > MAX_TEXT_BYTES:
        raise MalformedFrame(f"`{name}` is longer than {MAX_TEXT_BYTES} bytes.")
    if "\0" in value:
        raise MalformedFrame(f"`{name}` has a NUL in it, which no database takes.")
    return value


def any_text(value: object, name: str) -> str:
    """A text of any length that the frame has room for."""
    if not isinstance(value, str):
        raise MalformedFrame(f"`{name}` is missing or not a text.")
    return value


def octets(value: object, name: str) -> bytes:
    """Bytes, as many as the frame has room for."""
    if not isinstance(value, bytes):
        raise MalformedFrame(f"`{name}` is missing or not binary.")
    return value


def items(value: object, name: str) -> tuple[Any, ...]:
    """A list of anything."""
    if not isinstance(value, tuple) or len(value) > MAX_ITEMS:
        raise MalformedFrame(f"`{name}` is missing or not a list, of {MAX_ITEMS} at most.")
    return value


def texts(value: object, name: str) -> tuple[str, ...]:
    """A list of texts, each as `text` has it."""
    listed = items(value, name)
    for item in listed:
        text(item, name)
    return listed


def integer(value: object, name: str) -> int:
    """A number from 0 that a database can hold."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_INTEGER:
        raise MalformedFrame(f"`{name}` is missing, or not a number from 0 to {MAX_INTEGER}.")
    return value


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise MalformedFrame(_KEYS)
    return key


def _no_extension(_code: int, _data: bytes) -> object:
    raise MalformedFrame("Extension types are not part of this protocol.")


def _up_to(largest: float) -> Reader[float]:
    def read_seconds(value: object, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not 0 <= value <= largest:
            raise MalformedFrame(f"`{name}` is a number of seconds from 0 to {largest:.0f}.")
        return float(value)

    return read_seconds


#: A duration.
seconds: Final = _up_to(MAX_SECONDS)
#: Seconds since the epoch.
instant: Final = _up_to(MAX_INSTANT)
