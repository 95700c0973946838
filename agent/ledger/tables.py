"""The ledger's tables and the rows in them. Every function runs in the caller's transaction."""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.model.identity import EquipmentId
from agent.safety.latch import Latch
from agent.wire.messages import StreamHead
from agent.wire.streams import NO_HASH, Link

LAYOUT = 1
BUSY_MS = 2_000

_SCHEMA = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE streams(
    stream TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    acked_seq INTEGER NOT NULL,
    acked_hash BLOB NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE links(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    records INTEGER NOT NULL,
    has_events INTEGER NOT NULL,
    sealed BLOB NOT NULL
);
CREATE UNIQUE INDEX links_number ON links(stream, epoch, seq);
CREATE INDEX links_events ON links(id) WHERE has_events;
CREATE TABLE counters(kid TEXT PRIMARY KEY, counter INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE latches(
    equipment TEXT PRIMARY KEY,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    since_unix_ms INTEGER NOT NULL,
    flash_requested INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class Stand:
    """Where one stream stands; the row of ``streams``.

    Args:
        bytes: of all links kept, older epochs included.
    """

    stream: str
    epoch: int
    seq: int
    hash: bytes
    acked_seq: int
    acked_hash: bytes
    bytes: int

    @property
    def head(self) -> StreamHead:
        """The newest link."""
        return StreamHead(self.stream, self.epoch, self.seq, self.hash)

    @property
    def acked(self) -> StreamHead:
        """The newest link the fleet acknowledged."""
        return StreamHead(self.stream, self.epoch, self.acked_seq, self.acked_hash)


@dataclass(frozen=True, slots=True)
class Page:
    """Some links of a stream in the order of their numbers, older epochs first.

    Args:
        newest: the stream's newest link. kept_bytes: of all its links.
        rows: epoch, number, envelope; a page without rows is behind the last.
    """

    newest: StreamHead
    kept_bytes: int
    rows: list[tuple[int, int, bytes]]


def open_database(path: Path) -> sqlite3.Connection:
    """Open or create the database, for this process alone.

    Raises:
        LedgerBusyError: another process has it.
        sqlite3.DatabaseError: damaged, or not ours.
        LedgerError: it cannot be created.
    """
    try:
        database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_MS / 1000)
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path}: cannot be opened: {error}") from error
    try:
        # Exclusive before WAL: no shared memory file, and a second process is refused instead of forking the streams.
        database.execute("PRAGMA locking_mode=EXCLUSIVE")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")  # A power cut loses nothing that was answered with "stored".
        database.execute("PRAGMA journal_size_limit=4194304")
        database.execute("BEGIN IMMEDIATE")
        layout = database.execute("PRAGMA user_version").fetchone()[0]
        if layout == 0:
            for statement in _SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version={LAYOUT}")
        elif layout != LAYOUT:
            raise LedgerError(f"{path}: layout {layout} is not ours; it was written by another version")
        database.execute("COMMIT")
    except sqlite3.OperationalError as error:
        database.close()
        if "locked" in str(error):
            raise LedgerBusyError(f"{path}: another process has it open") from error
        raise
    except BaseException:  # Whatever it was, the lock on the file must go.
        database.close()
        raise
    return database


def missing_tables(database: sqlite3.Connection) -> list[str]:
    """Tables of ours that are not there."""
    found = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    return [name for name in ("meta", "streams", "links", "counters", "latches") if name not in found]


def read_stand(database: sqlite3.Connection, stream: str) -> Stand | None:
    """One stream's row."""
    row = database.execute(
        "SELECT stream, epoch, seq, hash, acked_seq, acked_hash, bytes FROM streams WHERE stream=?", (stream,)
    ).fetchone()
    return None if row is None else Stand(*row)


def write_stand(database: sqlite3.Connection, stand: Stand) -> None:
    """Insert or replace one stream's row."""
    database.execute(
        "INSERT OR REPLACE INTO streams(stream, epoch, seq, hash, acked_seq, acked_hash, bytes) VALUES(?,?,?,?,?,?,?)",
        (stand.stream, stand.epoch, stand.seq, stand.hash, stand.acked_seq, stand.acked_hash, stand.bytes),
    )


def insert_link(
    database: sqlite3.Connection, stand: Stand, link: Link, first_seq: int, records: int, *, has_events: bool
) -> None:
    """Add one link of the stream's epoch."""
    database.execute(
        "INSERT INTO links(stream, epoch, seq, first_seq, hash, records, has_events, sealed) VALUES(?,?,?,?,?,?,?,?)",
        (stand.stream, stand.epoch, link.seq, first_seq, link.hash, records, has_events, link.sealed),
    )
    stand.bytes += len(link.sealed)


def links_after(database: sqlite3.Connection, stream: str, epoch: int, seq: int, limit: int) -> list[Link]:
    """Links of one epoch above ``seq``, oldest first."""
    rows = database.execute(
        "SELECT seq, hash, sealed FROM links WHERE stream=? AND epoch=? AND seq>? ORDER BY seq LIMIT ?",
        (stream, epoch, seq, limit),
    )
    return [Link(*row) for row in rows]


def page_after(database: sqlite3.Connection, stream: str, after: tuple[int, int], limit: int) -> Page:
    """The links of a stream behind one of them, whatever its epoch. Not by id: a gap record is younger than its number."""
    stand = read_stand(database, stream) or Stand(stream, 0, 0, NO_HASH, 0, NO_HASH, 0)
    rows = database.execute(
        "SELECT epoch, seq, sealed FROM links WHERE stream=? AND (epoch, seq)>(?, ?) ORDER BY epoch, seq LIMIT ?",
        (stream, *after, limit),
    )
    return Page(stand.head, stand.bytes, [(int(row[0]), int(row[1]), bytes(row[2])) for row in rows])


def hash_at(database: sqlite3.Connection, stream: str, epoch: int, seq: int) -> bytes | None:
    """The hash of one link, None if it is not kept."""
    row = database.execute("SELECT hash FROM links WHERE stream=? AND epoch=? AND seq=?", (stream, epoch, seq))
    found = row.fetchone()
    return None if found is None else bytes(found[0])


def delete_links(database: sqlite3.Connection, stand: Stand, epoch: int, up_to_seq: int, above_seq: int = -1) -> int:
    """Drop links ``above_seq`` < seq <= ``up_to_seq`` of one epoch; return the records in them."""
    where = "stream=? AND epoch=? AND seq<=? AND seq>?"
    key = (stand.stream, epoch, up_to_seq, above_seq)
    sums = f"SELECT COALESCE(SUM(LENGTH(sealed)), 0), COALESCE(SUM(records), 0) FROM links WHERE {where}"  # noqa: S608
    size, records = database.execute(sums, key).fetchone()
    database.execute(f"DELETE FROM links WHERE {where}", key)  # noqa: S608
    stand.bytes -= size
    return int(records)


def newest_event_links(database: sqlite3.Connection, limit: int) -> Iterator[tuple[str, bytes]]:
    """Stream and envelope of links that carry events, newest first, whatever their epoch."""
    yield from database.execute("SELECT stream, sealed FROM links WHERE has_events ORDER BY id DESC LIMIT ?", (limit,))


def hide_events(database: sqlite3.Connection, stand: Stand, above_seq: int) -> None:
    """Leave the links of a stand's epoch above ``above_seq`` out of the log."""
    where = "stream=? AND epoch=? AND seq>?"
    database.execute(f"UPDATE links SET has_events=0 WHERE {where}", (stand.stream, stand.epoch, above_seq))  # noqa: S608


def read_counters(database: sqlite3.Connection) -> dict[str, int]:
    """Issuer kid -> newest counter."""
    return dict(database.execute("SELECT kid, counter FROM counters"))


def write_counter(database: sqlite3.Connection, kid: str, counter: int) -> None:
    """Raise one issuer's counter; it never falls."""
    database.execute(
        "INSERT INTO counters(kid, counter) VALUES(?,?) "
        "ON CONFLICT(kid) DO UPDATE SET counter=MAX(counter, excluded.counter)",
        (kid, counter),
    )


def read_latches(database: sqlite3.Connection) -> dict[EquipmentId, Latch]:
    """Every latched fault."""
    rows = database.execute("SELECT equipment, rule, reason, since_unix_ms, flash_requested FROM latches")
    return {
        EquipmentId(equipment): Latch(EquipmentId(equipment), rule, reason, since_unix_ms, bool(flash))
        for equipment, rule, reason, since_unix_ms, flash in rows
    }


def write_latch(database: sqlite3.Connection, latch: Latch) -> None:
    """Insert or replace one latch."""
    database.execute(
        "INSERT OR REPLACE INTO latches(equipment, rule, reason, since_unix_ms, flash_requested) VALUES(?,?,?,?,?)",
        (latch.equipment, latch.rule, latch.reason, latch.since_unix_ms, latch.flash_requested),
    )


def delete_latch(database: sqlite3.Connection, equipment: EquipmentId) -> None:
    """Remove one latch."""
    database.execute("DELETE FROM latches WHERE equipment=?", (equipment,))


def read_number(database: sqlite3.Connection, name: str) -> int:
    """A number in ``meta``, 0 if it is not there."""
    row = database.execute("SELECT value FROM meta WHERE name=?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def write_number(database: sqlite3.Connection, name: str, value: int) -> None:
    """Insert or replace a number in ``meta``."""
    database.execute("INSERT OR REPLACE INTO meta(name, value) VALUES(?,?)", (name, value))


def raise_number(database: sqlite3.Connection, name: str) -> int:
    """Add one to a number in ``meta`` and return it."""
    row = database.execute(
        "INSERT INTO meta(name, value) VALUES(?, 1) ON CONFLICT(name) DO UPDATE SET value=value+1 RETURNING value",
        (name,),
    ).fetchone()
    return int(row[0])
