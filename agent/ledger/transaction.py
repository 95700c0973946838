"""The ledger's transactions: on disk and in memory it changes together, or not at all."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from agent.ledger.errors import LedgerError
from agent.ledger.tables import Stand


@contextmanager
def reading() -> Iterator[None]:
    """What the database says of a failing disk becomes the ledger's own error.

    Raises:
        LedgerError: what was asked for cannot be read.
    """
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"not read: {error}") from error


class Transactional:
    """A database, and what memory holds of it. Undoing reads nothing: a disk that fails may not answer then either."""

    _database: sqlite3.Connection

    def __init__(self) -> None:
        self._stands: dict[str, Stand] = {}
        self._depth = 0
        self._is_spoilt = False

    @property
    def in_transaction(self) -> bool:
        """True inside ``atomic``, unless the database gave the transaction up by itself or a part could not be undone."""
        return self._database.in_transaction and not self._is_spoilt

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """One transaction around several calls; nested, a savepoint. An exception undoes exactly what is inside.

        Raises:
            LedgerError: the disk is full or failing; nothing inside is stored.
        """
        is_nested = self._depth > 0
        before = {stream: replace(stand) for stream, stand in self._stands.items()}
        self._depth += 1
        try:
            self._begin(is_nested=is_nested)
            yield
            self._require_transaction()
            self._database.execute("RELEASE part" if is_nested else "COMMIT")
        except BaseException as error:  # Also a cancellation must not leave half a transaction.
            self._undo(is_nested=is_nested)
            self._stands.update(before)
            if isinstance(error, sqlite3.Error):
                raise LedgerError(f"not stored: {error}") from error
            raise
        finally:
            self._depth -= 1

    def _begin(self, *, is_nested: bool) -> None:
        if is_nested:
            self._require_transaction()
            self._database.execute("SAVEPOINT part")
            return
        if self._database.in_transaction:
            self._database.execute("ROLLBACK")  # The disk did not let go of the last one.
        self._is_spoilt = False
        self._database.execute("BEGIN IMMEDIATE")

    def _require_transaction(self) -> None:
        """What comes after a lost transaction would be stored without what came before."""
        if not self.in_transaction:
            raise LedgerError("not stored: the transaction was given up")

    def _undo(self, *, is_nested: bool) -> None:
        if not self._database.in_transaction:
            return
        try:
            if is_nested and not self._is_spoilt:
                self._database.execute("ROLLBACK TO part")
                self._database.execute("RELEASE part")
            else:
                self._database.execute("ROLLBACK")
        except sqlite3.Error:
            self._is_spoilt = True  # Nothing of it is committed; the next transaction begins with undoing it.
