"""A ledger that no process has open, read without changing it: for the technician, when the process is down.

Every question opens the database and closes it again, so that a process which starts meanwhile is never kept out.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from agent.ledger import tables
from agent.ledger.errors import LedgerBusyError, LedgerError
from agent.ledger.linking import batch_of, entry_of
from agent.ledger.tables import Page
from agent.wire.errors import WireError
from agent.wire.local import LogEntry

BUSY_S = 0.2
BREATH_S = 0.01
"""After each question: whoever reads page after page leaves gaps in which a process that starts can take its lock."""
LINKS_SCANNED_MAX = 100_000
"""Some ten seconds of reading on a small gateway; far above what a guard keeps."""

T = TypeVar("T")


class LedgerAtRest:
    """The ledger in one file.

    Every method raises:
        LedgerBusyError: a process has it open; ask that process.
        LedgerError: it cannot be read; says why.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def page(self, stream: str, after_id: int, limit: int) -> Page:
        """As ``Ledger.page``."""
        return self._read(lambda database: tables.page_after(database, stream, after_id, limit))

    def log(self, stream: str, equipment: str, since_ms: int, limit: int) -> list[LogEntry]:
        """The newest events, newest last.

        Args:
            equipment: empty for all. since_ms: Unix time; leaves out what is older.
        """

        def read(database: sqlite3.Connection) -> list[LogEntry]:
            entries: list[LogEntry] = []
            for found, sealed in tables.newest_event_links(database, LINKS_SCANNED_MAX):
                if found == stream and len(entries) < limit:
                    entries += (
                        each
                        for each in _newest_first(stream, sealed)
                        if equipment in ("", each.equipment) and each.t_ms >= since_ms
                    )
            return entries[:limit][::-1]

        return self._read(read)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return self._answer(read)
        finally:
            time.sleep(BREATH_S)

    def _answer(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if not self._path.is_file():
                raise LedgerError(f"there is no {self._path}")
        except OSError as error:
            raise LedgerError(f"{self._path} cannot be read: {error.strerror}") from error
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=BUSY_S)) as database:
                layout = database.execute("PRAGMA user_version").fetchone()[0]
                if layout != tables.LAYOUT:
                    raise LedgerError(f"{self._path}: layout {layout} is not ours; it was written by another version")
                return read(database)
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise LedgerBusyError(f"{self._path}: a process has it open") from error
            raise LedgerError(f"{self._path} cannot be read: {error}") from error
        except (sqlite3.DatabaseError, WireError, TypeError) as error:
            raise LedgerError(f"{self._path} is damaged: {error}") from error


def _newest_first(stream: str, sealed: bytes) -> Iterator[LogEntry]:
    batch = batch_of(sealed)
    return (entry_of(stream, batch, event) for event in reversed(batch.events))
