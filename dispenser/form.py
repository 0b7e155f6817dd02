"""How a noun travels: as a map of those of its fields that are set."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, Generic, TypeVar

from dispenser import frame
from dispenser.frame import MalformedFrame, Reader

T = TypeVar("T")


class Form(Generic[T]):
    """One kind of noun: a frozen dataclass, without slots because its fields are set all at once."""

    def __init__(
        self, kind: type[T], readers: Mapping[str, Reader[Any]], unknown: Reader[object] = frame.refuse
    ) -> None:
        """`unknown` reads, and drops, what `readers` do not know."""
        self._kind = kind
        self._readers = readers
        self._unknown = unknown
        self._required = tuple(
            each.name
            for each in fields(kind)  # type: ignore[arg-type] # it is a dataclass
            if each.default is MISSING
        )

    def read(self, pairs: frame.Pairs) -> T:
        """The noun of a map. Raises: MalformedFrame."""
        noun = object.__new__(self._kind)
        # In one step, where a frozen noun's constructor takes one for each field; the rest is its class's.
        object.__setattr__(noun, "__dict__", self.checked(pairs))
        return noun

    def checked(self, pairs: frame.Pairs) -> dict[str, Any]:
        """A map's fields, as the noun has them. Raises: MalformedFrame."""
        found = frame.taken(pairs, self._readers, self._unknown)
        for name in self._required:
            if name not in found:
                raise MalformedFrame(f"`{name}` is missing.")
        return found


def written(noun: object) -> dict[str, Any]:
    """A noun's map: its fields that are neither None nor empty."""
    return {name: value for name, value in vars(noun).items() if value or value == 0}
