"""How calls are spread over messages."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from dispenser.protocol import MAX_CALLS, MalformedFrame

Item = TypeVar("Item")
Message = TypeVar("Message")


def messages(items: Sequence[Item], build: Callable[[Sequence[Item]], Message]) -> Iterator[Message]:
    """Messages of at most 64 items, halved until `build` no longer finds them too large.

    Raises: MalformedFrame when one item alone does not fit.
    """
    for start in range(0, len(items), MAX_CALLS):
        yield from _fitting(items[start : start + MAX_CALLS], build)


def _fitting(items: Sequence[Item], build: Callable[[Sequence[Item]], Message]) -> Iterator[Message]:
    try:
        yield build(items)
    except MalformedFrame:
        if len(items) == 1:
            raise
        middle = len(items) // 2
        yield from _fitting(items[:middle], build)
        yield from _fitting(items[middle:], build)
