from collections.abc import Collection, Iterable, Mapping, Sequence

from sqlalchemy import select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.sql.engine import Database
from shared.adapters.sql.tables import audit_tiles, audit_tree
from shared.audit_tiles import WIDTH, Tile, appended, divided, edge, hash_in, tile_of
from shared.merkle import Node

#: Tiles asked for at once: less than any database takes parameters.
MOST_TILES = 500


class SqlAuditTree:
    """The tree over the audit's lines, in tiles."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def size(self) -> int:
        """How many leaves it has."""
        async with self._database.reading() as connection:
            return int((await connection.execute(select(audit_tree.c.size))).scalar_one())

    async def hashes(self, nodes: Collection[Node]) -> Mapping[Node, bytes]:
        """The hashes of complete subtrees; one that the tree has not is missing."""
        async with self._database.reading() as connection:
            tiles = await _tiles(connection, {tile_of(node) for node in nodes})
        return dict(_found(tiles, nodes))

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """The hashes of a range of leaves; short where the tree is."""
        first, last = start // WIDTH, (end - 1) // WIDTH
        query = (
            select(audit_tiles.c.hashes)
            .where(audit_tiles.c.level == 0, audit_tiles.c.number.between(first, last))
            .order_by(audit_tiles.c.number)
        )
        async with self._database.reading() as connection:
            tiles = (await connection.execute(query)).scalars().all()
        found = [leaf for tile in tiles for leaf in divided(tile)]
        return found[start - first * WIDTH : end - first * WIDTH]


async def held(connection: AsyncConnection) -> int:
    """The tree's size, which is the caller's to change until its transaction ends."""
    query = select(audit_tree.c.size).with_for_update()
    return int((await connection.execute(query)).scalar_one())


async def grow(database: Database, connection: AsyncConnection, size: int, leaves: Sequence[bytes]) -> None:
    """Add leaves, by their hashes, to the tree of this size, which the caller holds."""
    tiles = await _tiles(connection, edge(size))
    rows = [
        {"level": level, "number": number, "hashes": hashes}
        for (level, number), hashes in appended(size, tiles, leaves).items()
    ]
    put = database.insert(audit_tiles)
    replacing = put.on_conflict_do_update(
        index_elements=["level", "number"], set_={"hashes": put.excluded.hashes}
    )
    await connection.execute(replacing, rows)
    await connection.execute(update(audit_tree).values(size=size + len(leaves)))


async def _tiles(connection: AsyncConnection, wanted: Collection[Tile]) -> dict[Tile, bytes]:
    places, tiles = list(wanted), dict[Tile, bytes]()
    for at in range(0, len(places), MOST_TILES):
        place = tuple_(audit_tiles.c.level, audit_tiles.c.number)
        query = select(audit_tiles).where(place.in_(places[at : at + MOST_TILES]))
        rows = (await connection.execute(query)).all()
        tiles |= {(row.level, row.number): row.hashes for row in rows}
    return tiles


def _found(tiles: Mapping[Tile, bytes], nodes: Iterable[Node]) -> Iterable[tuple[Node, bytes]]:
    for node in nodes:
        try:
            yield node, hash_in(tiles, node)
        except KeyError:
            continue
