"""A ledger that no process has open, read without changing it: for the technician, when the process is down.

Every question opens the database and closes it again, so that a process which starts meanwhile is never kept out.
On a disk image that may not be written SQLite cannot read a write-ahead log: then a copy is read.
"""

import fcntl
import shutil
import sqlite3
import tempfile
import time
import weakref
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from agent.ledger import tables
from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.ledger.linking import newest_entries
from agent.ledger.tables import Page
from agent.wire.errors import WireError
from agent.wire.local import LogEntry

BUSY_S = 0.2
BREATH_S = 0.01
"""After each question: whoever reads page after page leaves gaps in which a process that starts can take its lock."""
LINKS_SCANNED_MAX = 100_000
"""Some ten seconds of reading on a small gateway; far above what a guard keeps."""
SHARED_LOCK_AT, SHARED_LOCK_BYTES = 0x40000002, 510
"""Where SQLite's own locks on a file lie (its file format, "locking")."""

T = TypeVar("T")


class LedgerAtRest:
    """The ledger in one file.

    Every method raises:
        LedgerBusyError: a process has it open; ask that process.
        LedgerError: it cannot be read; says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._copy: Path | None = None

    def page(self, stream: str, after: tuple[int, int], limit: int) -> Page:
        """As ``Ledger.page``."""
        return self._read(lambda database: tables.page_after(database, stream, after, limit))

    def log(self, stream: str, equipment: str, since_ms: int, limit: int) -> list[LogEntry]:
        """The newest events, newest last.

        Args:
            equipment: empty for all. since_ms: Unix time; leaves out what is older.
        """

        def read(database: sqlite3.Connection) -> list[LogEntry]:
            links = tables.newest_event_links(database, LINKS_SCANNED_MAX)
            return newest_entries((each for each in links if each[0] == stream), equipment, since_ms, limit)

        return self._read(read)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if not self._path.is_file():
                raise LedgerError(f"there is no {self._path}")
            if self._copy is not None:
                return self._answer(self._copy, read)
            try:
                return self._answer(self._path, read)
            except _UnopenableError:
                self._copy = self._copied()
                return self._answer(self._copy, read)
            finally:
                time.sleep(BREATH_S)
        except OSError as error:
            raise LedgerError(f"{self._path} cannot be read: {error.strerror}") from error

    def _copied(self) -> Path:
        """The database, with its write-ahead log, where it can be read for as long as this object lives."""
        with self._path.open("rb") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, SHARED_LOCK_BYTES, SHARED_LOCK_AT)
            except OSError as error:
                raise LedgerBusyError(f"{self._path}: a process has it open") from error
            folder = Path(tempfile.mkdtemp(prefix="armoire-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            for path in (self._path, self._path.with_name(f"{self._path.name}-wal")):
                if path.exists():
                    shutil.copyfile(path, folder / path.name)
        return folder / self._path.name

    def _answer(self, path: Path, read: Callable[[sqlite3.Connection], T]) -> T:
        uri = f"{path.absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)) as database:
                layout = database.execute("PRAGMA user_version").fetchone()[0]
                if layout != tables.LAYOUT:
                    raise LedgerError(f"{self._path}: layout {layout} is not ours; it was written by another version")
                return read(database)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise LedgerBusyError(f"{self._path}: a process has it open") from error
            is_closed = (error.sqlite_errorcode & 0xFF) in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            kind = _UnopenableError if is_closed else LedgerError
            raise kind(f"{self._path} cannot be read: {error}") from error
        except (sqlite3.DatabaseError, WireError, TypeError) as error:
            raise LedgerError(f"{self._path} is damaged: {error}") from error


class _UnopenableError(LedgerError):
    """SQLite cannot make the side files it needs."""
