"""The manager's log of what it accepted and issued, which only grows: entries as rows, and hashes in tiles of 256.

It costs ingest one short row per link and one tile per 256: a hash that is not in a full tile is made again from the
entries when the manager starts. Written in the transaction of what it speaks of, so it never says less or more.

Source   docs/wire.md 11; C2SP tlog-tiles for tiles of 256.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from agent.wire.fleetlog import LogEntry
from agent.wire.merkle import leaf_hash, node_hash, root_at, root_of
from agent.wire.messages import decode
from fleet import schema
from fleet.engine import Row, add_rows

TILE = 256
TILE_LEVELS = 8
LEVELS_MAX = 8
"""Tiles of tiles: 256^8 entries."""


class _Before(NamedTuple):
    size: int
    levels: list[list[bytes]]


class MerkleLog:
    """The right edge of the tree, in the writer's thread.

    Args:
        levels: per level of tiles the hashes that do not fill one yet.
    """

    def __init__(self, size: int = 0, levels: list[list[bytes]] | None = None) -> None:
        self.size = size
        self._levels = levels or [[]]
        self._before: _Before | None = None
        self._entries: list[Row] = []
        self._tiles: list[Row] = []

    def append(self, entry: bytes, link_no: int, subject: str | None = None) -> int:
        """Add an entry; return its place. It is in the database with the next ``write``.

        Args:
            link_no: the newest link's number when it was made; so the entry of a link is found without an index.
            subject: what it is looked up by; None for a link.
        """
        if self._before is None:
            self._before = _Before(self.size, [list(level) for level in self._levels])
        place = self.size
        self._entries.append((place, link_no, subject, entry))
        self.size += 1
        self._add(leaf_hash(entry))
        return place

    def write(self, connection: Connection) -> None:
        """Write what was added since into the open transaction."""
        add_rows(connection, schema.log_entries, self._entries)
        add_rows(connection, schema.log_tiles, self._tiles)
        self._entries, self._tiles = [], []

    def committed(self) -> None:
        """What was added is durable."""
        self._before = None

    def rolled_back(self) -> None:
        """What was added since the last commit is not stored: forget it."""
        self._entries, self._tiles = [], []
        if self._before is not None:
            self.size, self._levels = self._before
            self._before = None

    def root(self) -> bytes:
        """The root over everything added."""
        rest: list[bytes] = []
        for level in self._levels:
            hashes = [*level, *rest]
            rest = [root_of(hashes)] if hashes else []
        return rest[0] if rest else root_of(())

    def _add(self, leaf: bytes) -> None:
        entry, size = leaf, self.size
        for number, level in enumerate(self._levels):
            level.append(entry)
            if len(level) < TILE:
                return
            size >>= TILE_LEVELS
            entry = root_of(level)
            self._tiles.append((number, size - 1, entry, b"".join(level)))
            level.clear()
        assert len(self._levels) < LEVELS_MAX
        self._levels.append([entry])


class StoredTree:
    """The tree as the database holds it, for proofs. Good for one reading."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tiles: dict[tuple[int, int], list[bytes]] = {}
        self.size = log_size(connection)

    def root(self, size: int) -> bytes:
        """The root over the first ``size`` entries."""
        return root_at(size, self.node)

    def node(self, level: int, place: int) -> bytes:
        """The hash of a complete subtree: ``merkle.Nodes``."""
        tile_level, inner = divmod(level, TILE_LEVELS)
        first = place << inner
        hashes = self._tile(tile_level, first // TILE)[first % TILE : first % TILE + (1 << inner)]
        while len(hashes) > 1:  # Halves each time.
            hashes = [node_hash(hashes[n], hashes[n + 1]) for n in range(0, len(hashes), 2)]
        return hashes[0]

    def _tile(self, level: int, place: int) -> list[bytes]:
        found = self._tiles.get((level, place))
        if found is None:
            found = self._tiles[level, place] = read_tile(self._connection, level, place)
        return found


def read_tile(connection: Connection, level: int, place: int) -> list[bytes]:
    """The hashes of one tile, as many as there are."""
    tiles, entries = schema.log_tiles.c, schema.log_entries.c
    whole = connection.execute(select(tiles.hashes).where(tiles.level == level, tiles.place == place)).scalar()
    if whole is not None:
        return [whole[at : at + 32] for at in range(0, len(whole), 32)]
    span = (place * TILE, (place + 1) * TILE - 1)
    if level == 0:
        rows = connection.execute(select(entries.entry).where(entries.no.between(*span)).order_by(entries.no))
        return [leaf_hash(row.entry) for row in rows]
    query = select(tiles.root).where(tiles.level == level - 1, tiles.place.between(*span)).order_by(tiles.place)
    return list(connection.execute(query).scalars())


def load_log(connection: Connection) -> MerkleLog:
    """Read where the log stands."""
    size = log_size(connection)
    levels: list[list[bytes]] = [[]]
    for level in range(LEVELS_MAX):
        units = size >> TILE_LEVELS * level
        if level and not units:
            break
        hashes = read_tile(connection, level, units // TILE) if units % TILE else []
        if level:
            levels.append(hashes)
        else:
            levels[0] = hashes
    return MerkleLog(size, levels)


def log_size(connection: Connection) -> int:
    """How many entries the log has."""
    newest = connection.execute(select(func.max(schema.log_entries.c.no))).scalar()
    return 0 if newest is None else newest + 1


def entry_at(connection: Connection, place: int) -> bytes | None:
    """One entry's bytes."""
    entries = schema.log_entries.c
    return connection.execute(select(entries.entry).where(entries.no == place)).scalar()


def entries_from(connection: Connection, first: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """Every entry from ``first`` on: place, link number, bytes; some at a time."""
    entries = schema.log_entries.c
    query = select(entries.no, entries.link_no, entries.entry).where(entries.no >= first).order_by(entries.no)
    with closing(connection.execution_options(yield_per=1_000).execute(query)) as rows:
        for row in rows:
            yield row.no, row.link_no, row.entry


def places_of(connection: Connection, subject: str) -> list[int]:
    """Where the entries about a subject stand, oldest first."""
    entries = schema.log_entries.c
    return list(connection.execute(select(entries.no).where(entries.subject == subject).order_by(entries.no)).scalars())


def digest_of(sealed: bytes) -> bytes:
    """What an entry names its subject by."""
    return sha256(sealed).digest()


def newest_digest(connection: Connection, subject: str) -> bytes:
    """The digest in the newest entry about a subject, empty if there is none."""
    places = places_of(connection, subject)
    entry = entry_at(connection, places[-1]) if places else None
    return decode(entry, LogEntry).digest if entry is not None else b""


def place_of_link(connection: Connection, link_no: int) -> int | None:
    """Where a link's entry should stand: the first one made when that link was the newest. Link numbers only rise."""
    entries = schema.log_entries.c

    def number(place: int) -> int:
        return connection.execute(select(entries.link_no).where(entries.no == place)).scalar() or 0

    return _first_reaching(log_size(connection), number, link_no)


def newest_note(connection: Connection) -> str:
    """The newest checkpoint as published, empty if there is none."""
    table = schema.log_checkpoints.c
    return connection.execute(select(table.note).order_by(table.size.desc()).limit(1)).scalar() or ""


def note_at(connection: Connection, size: int) -> str:
    """The checkpoint published at that size, empty if there is none."""
    table = schema.log_checkpoints.c
    return connection.execute(select(table.note).where(table.size == size)).scalar() or ""


def _first_reaching(count: int, number: Callable[[int], int], wanted: int) -> int | None:
    low, high = 0, count
    while low < high:  # Halves each time.
        middle = (low + high) // 2
        if number(middle) < wanted:
            low = middle + 1
        else:
            high = middle
    return low if low < count and number(low) == wanted else None
