"""A ledger that was torn: set aside as evidence, begun anew, and everything in it that still verifies taken over.

The old file is never written again. Streams continue in a higher epoch, so that the fleet sees the break.

A kill at any moment loses nothing that could be read: the new ledger is built beside the old one and takes its place
only when it is whole and on disk.

    <name>.building        being filled, in one transaction; thrown away if we are killed
    <name>.new             whole; if there is no <name>, the exchange was cut off and is finished
    <name>.damaged-<unix>  the old file, with its side files
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from agent.ledger import tables
from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.ledger.tables import Stand
from agent.model.identity import EquipmentId
from agent.safety.latch import Latch
from agent.wire import envelope
from agent.wire.errors import WireError
from agent.wire.messages import Batch, Event, StreamHead, Value, decode
from agent.wire.streams import gap_of

ASIDE_MAX = 3
"""Damaged files kept; the oldest goes first."""
ALL_EQUIPMENT = EquipmentId("*")
"""A latch on it says that a latch may have been lost. It is no one's id, and stays until its owner removes it."""
_SIDE_FILES = ("", "-wal", "-shm")

_DAMAGE_CODES = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Damage:
    """What was found, and what became of it.

    Args:
        aside: where the damaged file lies now.
        are_latches_known: False if latches may have been lost: treat every protected equipment as held.
        are_counters_known: False if counters may have been lost; nonces still stop replays.
        links: links taken over into the new epochs.
        links_lost: links not acknowledged that could not be read; -1 if not even their number is known.
    """

    aside: Path
    reason: str
    are_latches_known: bool
    are_counters_known: bool
    links: int
    links_lost: int


@dataclass(frozen=True, slots=True)
class Torn:
    """A damaged ledger.

    Args:
        aside: where it will lie once the new one takes its place.
    """

    path: Path
    aside: Path
    reason: str
    unix_s: int


class Receiver(Protocol):
    """The new ledger."""

    report_stream: str
    """Where the ledger's own events go."""

    def begin_epoch(
        self,
        stream: str,
        above: int,
        reason: str,
        links: Iterator[bytes],
        detail: dict[str, Value],
    ) -> int:
        """Begin an epoch and seal the links again; return how many could be read."""

    def append_events(self, stream: str, events: Sequence[Event]) -> StreamHead:
        """Seal events."""

    def raise_counter(self, kid: str, counter: int) -> None:
        """Store a counter."""

    def set_latch(self, latch: Latch) -> None:
        """Store a latch."""


def open_sound(path: Path, streams: Sequence[str], unix_s: int) -> tuple[sqlite3.Connection, Torn | None]:
    """Open the database; if it is damaged, begin a new one beside it, to be filled and then put in place.

    Raises:
        LedgerBusyError: another process has it open.
        LedgerError: not even a new one can be begun.
    """
    _finish_exchange(path)
    reason = ""
    database = None
    try:
        database = tables.open_database(path)
        reason = _problem(database, streams)
    except sqlite3.Error as error:
        if (getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF) not in _DAMAGE_CODES:
            raise LedgerError(
                f"{path}: {error}{_unwritable(path)}"
            ) from error  # A full or read-only disk damages nothing.
        reason = str(error)
    if database is not None and not reason:
        _remove(_beside(path, "building"))
        _remove(_beside(path, "new"))
        return database, None
    if database is not None:
        database.close()
    try:
        return _begin_beside(path), Torn(path, _name_aside(path, unix_s), reason or "damaged", unix_s)
    except (sqlite3.DatabaseError, OSError) as error:
        raise LedgerError(f"{path} is damaged ({reason}) and a new ledger cannot be begun: {error}") from error


def _unwritable(path: Path) -> str:
    """What SQLite calls an I/O error and a person may put right; empty if it is something else."""
    refused = [each for each in (path, path.parent) if each.exists() and not os.access(each, os.W_OK)]
    return f"; {refused[0]} is read-only for this process" if refused else ""


def put_in_place(database: sqlite3.Connection, torn: Torn) -> sqlite3.Connection:
    """Let the ledger that was built beside the damaged one take its place; return it, open.

    Raises:
        LedgerError: it is not in place; the next start goes on from whatever was reached.
    """
    building, new = _beside(torn.path, "building"), _beside(torn.path, "new")
    try:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        if building.with_name(building.name + "-wal").exists():
            raise LedgerError(f"{building} could not be completed")
        _sync(building)
        building.replace(new)
        _sync(torn.path.parent)
        _move_aside(torn.path, torn.aside)
        new.replace(torn.path)
        _sync(torn.path.parent)
        return tables.open_database(torn.path)
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(f"{torn.path} is damaged ({torn.reason}) and cannot be exchanged: {error}") from error


def salvage(receiver: Receiver, database: sqlite3.Connection, torn: Torn, streams: Sequence[str]) -> Damage:
    """Take over what verifies. Runs in the caller's transaction, so that it is all there or nothing."""
    old = sqlite3.connect(f"file:{torn.path}?mode=ro", uri=True, isolation_level=None)
    try:
        latches = _read(lambda: tables.read_latches(old), dict[EquipmentId, Latch]())
        counters = _read(lambda: tables.read_counters(old), dict[str, int]())
        for latch in latches[0].values():
            receiver.set_latch(latch)
        if not latches[1]:
            reason = "the ledger was damaged, and a latched fault may be lost with it"
            receiver.set_latch(Latch(ALL_EQUIPMENT, "SR-13", reason, torn.unix_s * 1000, flash_requested=False))
        for kid, counter in counters[0].items():
            receiver.raise_counter(kid, counter)
        for name, value in _read(lambda: _numbers(old), list[tuple[str, int]]())[0]:
            database.execute("INSERT OR REPLACE INTO meta(name, value) VALUES(?,?)", (name, value))
        links, lost = 0, 0
        for stream in streams:
            taken, missing = _salvage_stream(receiver, old, stream, torn.reason)
            links += taken
            lost = -1 if missing < 0 or lost < 0 else lost + missing
    finally:
        old.close()
    damage = Damage(torn.aside, torn.reason, latches[1], counters[1], links, lost)
    receiver.append_events(receiver.report_stream, [_event(damage)])
    return damage


def _salvage_stream(receiver: Receiver, old: sqlite3.Connection, stream: str, reason: str) -> tuple[int, int]:
    """Return links taken over and links lost."""
    stand, is_stand_known = _read(lambda: tables.read_stand(old, stream), None)
    if stand is None:
        # Without the row we do not know what was acknowledged: the highest epoch found is taken over whole, and what
        # the fleet has twice it has under two epochs, with this event between them.
        newest, _ = _read(
            lambda: old.execute("SELECT MAX(epoch) FROM links WHERE stream=?", (stream,)).fetchone()[0], 0
        )
        stand = Stand(stream, newest or 0, 0, b"", 0, b"", 0)
    expected = stand.seq - stand.acked_seq
    detail = {"from_epoch": stand.epoch, "from_seq": stand.seq}
    links = _verified(old, stand)
    taken = receiver.begin_epoch(stream, stand.epoch, f"the store was damaged: {reason}"[:300], links, {**detail})
    return taken, max(0, expected - taken) if is_stand_known else -1


def _verified(old: sqlite3.Connection, stand: Stand) -> Iterator[bytes]:
    """Envelopes not acknowledged whose content matches their number and hash; up to where the file can be read."""
    try:
        rows = old.execute(
            "SELECT seq, hash, sealed FROM links WHERE stream=? AND epoch=? AND seq>? ORDER BY seq",
            (stand.stream, stand.epoch, stand.acked_seq),
        )
        for seq, link_hash, sealed in rows:
            found = _read_link(sealed)
            if found is not None and (found[0].epoch, found[0].seq, found[1]) == (stand.epoch, seq, link_hash):
                yield sealed
    except sqlite3.DatabaseError:
        return  # Torn from here on; the event says how many are missing.


def _problem(database: sqlite3.Connection, streams: Sequence[str]) -> str:
    """What is wrong with a database that opened, or an empty string. Follows every chain not yet acknowledged."""
    check = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    if check != "ok":
        return str(check)
    if missing := tables.missing_tables(database):
        return f"no table {missing[0]}"
    for stream in streams:
        stand = tables.read_stand(database, stream)
        if stand is None:
            continue
        rows = database.execute(
            "SELECT seq, first_seq, hash, sealed FROM links WHERE stream=? AND epoch=? AND seq>? ORDER BY seq",
            (stream, stand.epoch, stand.acked_seq),
        )
        at, link_hash = stand.acked_seq, stand.acked_hash
        for seq, first_seq, row_hash, sealed in rows:
            found = _read_link(sealed)
            if found is None or found[0].seq != seq or found[1] != row_hash or first_seq > at + 1:
                return f"link {seq} of {stream} is not what was sealed"
            if first_seq == at + 1 and found[0].prev != link_hash:
                return f"link {seq} of {stream} does not follow {at}"
            at, link_hash = seq, row_hash
        if (at, link_hash) != (stand.seq, stand.hash):
            return f"{stream} ends at link {at} instead of {stand.seq}"
    return ""


def _read_link(sealed: object) -> tuple[Batch, bytes] | None:
    """A link and its hash, None if it is not one."""
    if not isinstance(sealed, bytes):
        return None
    try:
        batch = decode(envelope.parse(sealed).payload, Batch)
    except WireError:
        return None
    gap = gap_of(batch)
    return batch, envelope.digest(sealed) if gap is None else gap.hash


def _numbers(old: sqlite3.Connection) -> list[tuple[str, int]]:
    return [(str(name), int(value)) for name, value in old.execute("SELECT name, value FROM meta")]


def _read(read: Callable[[], T], otherwise: T) -> tuple[T, bool]:
    """Read something from the damaged file; say whether it could be read."""
    try:
        return read(), True
    except (sqlite3.DatabaseError, TypeError, ValueError):
        return otherwise, False


def _beside(path: Path, what: str) -> Path:
    return path.with_name(f"{path.name}.{what}")


def _begin_beside(path: Path) -> sqlite3.Connection:
    """An empty ledger, whatever an earlier attempt has left; locked, so that nobody else builds one."""
    building = _beside(path, "building")
    try:
        database = tables.open_database(building)
        if not database.execute("SELECT COUNT(*) FROM streams").fetchone()[0]:
            return database
        database.close()
    except LedgerBusyError:
        raise
    except (sqlite3.DatabaseError, LedgerError):
        pass  # Torn, or another version's.
    _remove(building)
    return tables.open_database(building)


def _finish_exchange(path: Path) -> None:
    """Go on where ``put_in_place`` was cut off between moving the old file away and the new one in."""
    new = _beside(path, "new")
    if path.exists() or not new.exists():
        return
    try:
        if asides := _asides(path):
            _move_aside(path, asides[-1])  # A write-ahead log left behind must not be read into the new file.
        new.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise LedgerError(f"{path} was damaged, and the new one cannot take its place: {error.strerror}") from error


def _name_aside(path: Path, unix_s: int) -> Path:
    target = path.with_name(f"{path.name}.damaged-{unix_s}")
    for number in range(1, 1000):  # Several in one second: a boot loop.
        if not target.exists():
            break
        target = path.with_name(f"{path.name}.damaged-{unix_s}-{number}")
    return target


def _asides(path: Path) -> list[Path]:
    """Damaged files kept, in the order they were moved away."""
    found = path.parent.glob(f"{path.name}.damaged-*")
    return sorted(
        (each for each in found if not each.name.endswith(("-wal", "-shm"))), key=lambda each: each.stat().st_ctime_ns
    )


def _move_aside(path: Path, target: Path) -> None:
    """Move a ledger with its side files, itself first: without its log it must never pass for a sound one."""
    for side in _SIDE_FILES:
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + side).replace(target.with_name(target.name + side))
    for each in _asides(path)[:-ASIDE_MAX]:
        _remove(each)


def _remove(path: Path) -> None:
    for side in _SIDE_FILES:
        path.with_name(path.name + side).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _event(damage: Damage) -> Event:
    text = f"the store was damaged and begun anew; the old file is {damage.aside.name}"
    detail: dict[str, Value] = {
        "reason": damage.reason[:300],
        "latches_known": damage.are_latches_known,
        "counters_known": damage.are_counters_known,
        "links_taken_over": damage.links,
        "links_lost": damage.links_lost,
    }
    return Event(0, "ledger.damaged", "", "", text, detail)
