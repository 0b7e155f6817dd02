"""Merkle trees of append-only logs: hashes and proofs (RFC 9162 §2.1), computed from the hashes of subtrees.

A *node* is a complete subtree: `(height, index)` covers `1 << height` leaves from `index << height` on.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()

Node = tuple[int, int]
#: The hash of a node.
Hashes = Callable[[Node], bytes]
#: The leaves from the first on, up to and without the second.
Span = tuple[int, int]


def leaf_hash(data: bytes) -> bytes:
    """RFC 9162 §2.1.1: a leaf can never be taken for an inner node."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """RFC 9162 §2.1.1."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Peaks:
    """The hashes of the largest complete subtrees, left to right: all that appending needs to know of a tree.

    Memory is logarithmic in the size.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """`hashes`: those of `nodes((0, size))`. Raises: ValueError when they are not so many."""
        if len(hashes) != size.bit_count():
            raise ValueError(f"A tree of {size} leaves has {size.bit_count()} peaks.")
        self.size = size
        self._hashes = list(hashes)

    def append(self, added: bytes, height: int = 0) -> None:
        """Add a leaf by its hash, or a complete subtree of a height whose place begins here."""
        size, hashes = self.size >> height, self._hashes
        while size & 1:
            added = node_hash(hashes.pop(), added)
            size >>= 1
        hashes.append(added)
        self.size += 1 << height

    def copy(self) -> "Peaks":
        """The same, to go on from on its own."""
        return Peaks(self.size, self._hashes)

    @property
    def root(self) -> bytes:
        """RFC 9162 §2.1.1: the Merkle Tree Hash."""
        return _joined(self._hashes) if self._hashes else EMPTY_ROOT


def complete_hash(row: Sequence[bytes]) -> bytes:
    """The hash of a complete subtree, from the hashes of all its nodes of one height."""
    sha256 = hashlib.sha256
    while len(row) > 1:
        row = [sha256(b"\x01" + row[at] + row[at + 1]).digest() for at in range(0, len(row), 2)]
    return row[0]


def nodes(span: Span) -> list[Node]:
    """The largest complete subtrees that make up a span, left to right.

    The span begins at a multiple of the largest power of two that fits into it, as all spans here do.
    """
    start, end = span
    found = []
    while start < end:
        height = (end - start).bit_length() - 1
        found.append((height, start >> height))
        start += 1 << height
    return found


def span_hash(span: Span, hashes: Hashes) -> bytes:
    """The Merkle Tree Hash of a span's leaves."""
    return _joined([hashes(node) for node in nodes(span)]) if span[0] < span[1] else EMPTY_ROOT


def inclusion(index: int, size: int) -> list[Span]:
    """Whose hashes make the inclusion proof of a leaf, in the proof's order (RFC 9162 §2.1.3.1).

    Raises: ValueError for a leaf that the tree has not.
    """
    if not 0 <= index < size:
        raise ValueError(f"A tree of {size} leaves has no leaf {index}.")
    start, end, path = 0, size, list[Span]()
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency(first: int, second: int) -> list[Span]:
    """Whose hashes prove that the tree of the first size begins the tree of the second (RFC 9162 §2.1.4.1).

    Raises: ValueError unless 0 < first <= second.
    """
    if not 0 < first <= second:
        raise ValueError("A tree is consistent with one that is not smaller.")
    start, end, path, whole = 0, second, list[Span](), True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, whole = middle, False
    return path[::-1] if whole else [(start, end), *path[::-1]]


def included_root(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to (RFC 9162 §2.1.3.2). Raises: ValueError."""
    spans = inclusion(index, size)
    if len(path) != len(spans):
        raise ValueError("The proof has not the length that its tree wants.")
    for (start, _), beside in zip(spans, path, strict=True):
        leaf = node_hash(leaf, beside) if start > index else node_hash(beside, leaf)
    return leaf


def is_consistent(first: int, second: int, roots: tuple[bytes, bytes], path: Sequence[bytes]) -> bool:
    """The proof shows that the first tree begins the second (RFC 9162 §2.1.4.2). Raises: ValueError."""
    spans = consistency(first, second)
    if len(path) != len(spans):
        return False
    known = dict(zip(spans, path, strict=True))
    if first == second or first.bit_count() == 1:  # the second tree has it whole, so the proof leaves it out
        known[0, first] = roots[0]
    return (_rebuilt((0, first), known), _rebuilt((0, second), known)) == roots


def _rebuilt(span: Span, known: dict[Span, bytes]) -> bytes:
    """A root from the hashes of some spans that make it up; a span that cannot be made up is nothing."""
    if span in known:
        return known[span]
    start, end = span
    if end - start < 2:  # noqa: PLR2004 - a leaf has no parts
        return b""
    middle = start + _split(end - start)
    return node_hash(_rebuilt((start, middle), known), _rebuilt((middle, end), known))


def _joined(hashes: Sequence[bytes]) -> bytes:
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def _split(length: int) -> int:
    """The largest power of two below a length."""
    return 1 << ((length - 1).bit_length() - 1)
