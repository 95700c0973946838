"""The one place that knows which database it is. Elsewhere there is SQLAlchemy Core and nothing else.

Rows are written many at a time, by one statement of many rows: a statement is the unit at which Python's lock is given
up, and 500 rows per hand-over is what lets the database work beside the event loop.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, Table, create_engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import OperationalError, ProgrammingError, SQLAlchemyError

from fleet.errors import FolderError
from fleet.schema import metadata

ROWS_PER_STATEMENT_MAX = 500
BUSY_TIMEOUT_MS = 5_000
_SQLITE = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # An acknowledged batch survives a power cut; NORMAL would lose the newest.
    f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}",
    "PRAGMA cache_size=-65536",  # KiB
    "PRAGMA journal_size_limit=67108864",
    "PRAGMA wal_autocheckpoint=4000",  # pages of 4 KiB
    "PRAGMA foreign_keys=OFF",
)
_INSERT: dict[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}

_VALUES = re.compile(r"(?<= VALUES )(\([^()]*\))")

Row = Sequence[Any]


def open_database(place: Path | str, tables: Sequence[Table] | None = None) -> Engine:
    """Open or create the database with its tables.

    Args:
        place: a file of SQLite's, or an address as SQLAlchemy writes it (``postgresql+psycopg://``; not tried yet).
        tables: all of ours if None.

    Raises:
        FolderError: it cannot be opened.
    """
    engine = None
    try:
        if isinstance(place, str):
            engine = create_engine(place)
        else:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            engine = create_engine(f"sqlite:///{place}", connect_args={"check_same_thread": False})
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare)
        _create(engine, tables)
    except (SQLAlchemyError, OSError, ImportError) as error:
        if engine is not None:
            engine.dispose()
        raise FolderError(f"{place}: the database cannot be used: {error.__cause__ or error}") from error
    return engine


def _create(engine: Engine, tables: Sequence[Table] | None) -> None:
    """Make what is missing. Another manager that starts in the same moment may be faster with the next table."""
    for _ in range(len(metadata.tables)):
        try:
            return metadata.create_all(engine, tables=tables)
        except (OperationalError, ProgrammingError):
            if not inspect(engine).get_table_names():
                raise  # Nobody else has made any: something is wrong.
    return metadata.create_all(engine, tables=tables)


def _prepare(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in _SQLITE:
        cursor.execute(pragma)
    cursor.close()


def add_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; one whose key is there already is left as it is.

    Args:
        rows: values in the order of the table's columns.
    """
    _write(connection, table, rows, keep=True)


def put_rows(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows; one whose key is there already is replaced. No key may appear twice in ``rows``."""
    _write(connection, table, rows, keep=False)


def _write(connection: Connection, table: Table, rows: Sequence[Row], *, keep: bool) -> None:
    # Whole statements of 500, then of 50, then single rows: three texts per table, prepared once.
    start = 0
    for size in (ROWS_PER_STATEMENT_MAX, 50, 1):
        while len(rows) - start >= size:
            flat = tuple(chain.from_iterable(rows[start : start + size]))
            connection.exec_driver_sql(_statement(connection.dialect, table, size, keep), flat)
            start += size


@lru_cache(maxsize=128)
def _statement(dialect: Dialect, table: Table, size: int, keep: bool) -> str:
    columns: list[Column[Any]] = list(table.columns)
    keys = list(table.primary_key.columns)
    insert = _INSERT[dialect.name](table).values([dict.fromkeys((column.name for column in columns), None)])
    rest = [column for column in columns if column not in keys]
    if keep:
        statement = insert.on_conflict_do_nothing()
    else:
        statement = insert.on_conflict_do_update(
            index_elements=keys, set_={column.name: insert.excluded[column.name] for column in rest}
        )
    before, values, after = _VALUES.split(str(statement.compile(dialect=dialect)), maxsplit=1)
    return before + ", ".join([values] * size) + after  # To have 500 rows compiled costs half a second for a table.
