"""How a tree is kept: in tiles of 256 hashes (https://c2sp.org/tlog-tiles), so that appending writes few rows
and any proof reads few.

Tile `(level, number)` holds the hashes of the nodes of height `8 * level` from `256 * number` on; only the
last one of a level may have room left.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Final

from shared.merkle import HASH_BYTES, Node, complete_hash

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT

Tile = tuple[int, int]


def tile_of(node: Node) -> Tile:
    """The tile from which a node's hash is computed."""
    height, index = node
    level = height // HEIGHT
    return level, (index << (height - level * HEIGHT)) // WIDTH


def hash_in(tiles: Mapping[Tile, bytes], node: Node) -> bytes:
    """A node's hash. Raises: KeyError for a tile or a place in it that is not there."""
    height, index = node
    level, tile = tile_of(node)
    below = height - level * HEIGHT
    first = (index << below) % WIDTH
    hashes = divided(tiles[level, tile])[first : first + (1 << below)]
    if len(hashes) != 1 << below:
        raise KeyError(node)
    return complete_hash(hashes)


def edge(size: int) -> list[Tile]:
    """The tiles that appending to a tree of this size goes on with, lowest level first."""
    found: list[Tile] = []
    for level in count():
        hashes = size >> (level * HEIGHT)
        if hashes == 0:
            return found
        if hashes % WIDTH:
            found.append((level, hashes // WIDTH))
    raise AssertionError


def appended(size: int, tiles: Mapping[Tile, bytes], leaves: Sequence[bytes]) -> dict[Tile, bytes]:
    """The tiles that change when leaves, by their hashes, are added to a tree.

    `tiles`: those of `edge(size)`. Raises: KeyError when one is missing.
    """
    changed: dict[Tile, bytes] = {}
    new = list(leaves)
    for level in count():
        if not new:
            return changed
        hashes = size >> (level * HEIGHT)
        first = hashes // WIDTH
        kept = divided(tiles[level, first])[: hashes % WIDTH] if hashes % WIDTH else []
        parts = list(_parted([*kept, *new]))
        changed |= {(level, first + n): b"".join(part) for n, part in enumerate(parts)}
        new = [complete_hash(part) for part in parts if len(part) == WIDTH]
    raise AssertionError


def divided(tile: bytes) -> list[bytes]:
    """The hashes in a tile."""
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def _parted(hashes: Sequence[bytes]) -> Iterable[Sequence[bytes]]:
    return (hashes[at : at + WIDTH] for at in range(0, len(hashes), WIDTH))
