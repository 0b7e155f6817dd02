"""The tree is RFC 9162's, whatever way its hashes are kept, and its proofs prove what they say alone."""

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import audit_tiles, merkle
from shared.merkle import Peaks, leaf_hash

MOST = 700
LEAVES = [leaf_hash(str(number).encode()) for number in range(MOST)]
SIZES = st.integers(0, MOST)


def tree_hash(leaves: list[bytes]) -> bytes:
    """RFC 9162 §2.1.1, word for word, from the leaves' hashes."""
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


ROOTS = {size: tree_hash(LEAVES[:size]) for size in {*range(20), 255, 256, 257, 511, 512, 513, MOST}}
KNOWN_SIZES = st.sampled_from(sorted(ROOTS))


def tiles_of(*counts: int) -> dict[audit_tiles.Tile, bytes]:
    """Tiles that so many leaves at a time were added to."""
    tiles: dict[audit_tiles.Tile, bytes] = {}
    size = 0
    for count in counts:
        edge = {tile: tiles[tile] for tile in audit_tiles.edge(size)}
        tiles |= audit_tiles.appended(size, edge, LEAVES[size : size + count])
        size += count
    return tiles


TILES = tiles_of(MOST)


def hashes(node: merkle.Node) -> bytes:
    return audit_tiles.hash_in(TILES, node)


def proof(spans: list[merkle.Span]) -> list[bytes]:
    return [merkle.span_hash(span, hashes) for span in spans]


def test_a_leaf_is_hashed_as_the_rfc_says() -> None:
    assert leaf_hash(b"") == hashlib.sha256(b"\x00").digest()
    assert hashlib.sha256(b"").digest() == merkle.EMPTY_ROOT


@pytest.mark.parametrize("size", ROOTS)
def test_the_root_is_the_rfcs(size: int) -> None:
    peaks = Peaks()
    for leaf in LEAVES[:size]:
        peaks.append(leaf)
    assert peaks.root == merkle.span_hash((0, size), hashes) == ROOTS[size]


@given(st.lists(st.integers(1, 300), max_size=4), SIZES)
@settings(max_examples=40)
def test_it_does_not_matter_in_what_groups_leaves_are_added(counts: list[int], rest: int) -> None:
    counts = [count for n, count in enumerate(counts) if sum(counts[: n + 1]) <= MOST]
    whole = sum(counts) + min(rest, MOST - sum(counts))
    assert tiles_of(*counts, whole - sum(counts)) == tiles_of(whole)


@given(KNOWN_SIZES, SIZES)
def test_peaks_go_on_from_any_size(size: int, start: int) -> None:
    start = min(start, size)
    peaks = Peaks(start, [hashes(node) for node in merkle.nodes((0, start))])
    for leaf in LEAVES[start:size]:
        peaks.append(leaf)
    assert (peaks.size, peaks.root) == (size, ROOTS[size])


def test_peaks_of_another_tree_are_refused() -> None:
    with pytest.raises(ValueError, match="2 peaks"):
        Peaks(5, [LEAVES[0]])


@given(KNOWN_SIZES, SIZES)
def test_an_inclusion_proof_leads_from_its_leaf_to_the_root_and_no_other_does(size: int, index: int) -> None:
    if index >= size:
        with pytest.raises(ValueError, match="no leaf"):
            merkle.inclusion(index, size)
        return
    path = proof(merkle.inclusion(index, size))
    assert merkle.included_root(LEAVES[index], index, size, path) == ROOTS[size]
    assert merkle.included_root(leaf_hash(b"other"), index, size, path) != ROOTS[size]
    for at in range(len(path)):
        wrong = [*path[:at], bytes(32), *path[at + 1 :]]
        assert merkle.included_root(LEAVES[index], index, size, wrong) != ROOTS[size]
    with pytest.raises(ValueError, match="length"):
        merkle.included_root(LEAVES[index], index, size, [*path, bytes(32)])


@given(KNOWN_SIZES, KNOWN_SIZES)
def test_a_consistency_proof_holds_for_its_two_trees_alone(first: int, second: int) -> None:
    if not 0 < first <= second:
        with pytest.raises(ValueError, match="consistent"):
            merkle.consistency(first, second)
        return
    path, roots = proof(merkle.consistency(first, second)), (ROOTS[first], ROOTS[second])
    assert merkle.is_consistent(first, second, roots, path)
    assert not merkle.is_consistent(first, second, (bytes(32), roots[1]), path)
    assert not merkle.is_consistent(first, second, (roots[0], bytes(32)), path)
    assert not merkle.is_consistent(first, second, roots, [*path, bytes(32)])
    for at in range(len(path)):
        assert not merkle.is_consistent(first, second, roots, [*path[:at], bytes(32), *path[at + 1 :]])


@given(SIZES, st.integers(0, 12), SIZES)
def test_a_node_beyond_the_tree_is_missed(size: int, height: int, index: int) -> None:
    tiles = tiles_of(size)
    if (index + 1) << height <= size:
        assert audit_tiles.hash_in(tiles, (height, index)) == hashes((height, index))
    else:
        with pytest.raises(KeyError):
            audit_tiles.hash_in(tiles, (height, index))
