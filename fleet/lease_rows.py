"""The lease's row: read, taken, renewed and given up, each in one transaction that changes nothing if the row is another's.

Plain SQL through SQLAlchemy. Every step that matters begins with an UPDATE that names what the row must still be: the
database's own lock on the row decides between two who ask in the same moment.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update

from fleet import schema
from fleet.lease import LeaseRow

_TABLE = schema.leases.c
NAME = "leader"


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks for the lease, and what it says of itself."""

    holder: str
    life: str
    url: str


def prepare(connection: Connection, log: str) -> None:
    """Make the row if there is none: a lease that nobody holds.

    Args:
        log: what the log of a shared store is called from now on; empty if each manager has a store of its own.
    """
    if connection.execute(select(_TABLE.name).where(_TABLE.name == NAME)).first() is None:
        free = LeaseRow("", "", 0, 0, 0, "", "", log)
        connection.execute(insert(schema.leases).values(name=NAME, **_columns(free)))


def read(connection: Connection) -> LeaseRow:
    """The row as it is."""
    row = connection.execute(select(schema.leases).where(_TABLE.name == NAME)).one()
    return LeaseRow(row.holder, row.life, row.term, row.beat, row.since_ms, row.url, row.wanted, row.log)


def take(connection: Connection, seen: LeaseRow, claim: Claim, above: int, unix_ms: int) -> LeaseRow | None:
    """Take it if it is still as seen, under a term above its last one and above ``above``; None if it is not."""
    is_same = (_TABLE.life == seen.life, _TABLE.term == seen.term, _TABLE.beat == seen.beat)
    taken = LeaseRow(
        claim.holder, claim.life, 1 + max(seen.term, above), seen.beat + 1, unix_ms, claim.url, "", seen.log
    )
    return taken if _change(connection, is_same, _columns(taken)) else None


def renew(connection: Connection, life: str, term: int) -> LeaseRow | None:
    """Say that the holder lives, and let nobody else write before this transaction ends; None if it is not the holder."""
    is_renewed = _change(connection, (_TABLE.life == life, _TABLE.term == term), {"beat": _TABLE.beat + 1})
    return read(connection) if is_renewed else None


def raise_term(connection: Connection, life: str, term: int, above: int) -> LeaseRow | None:
    """Go on under a term above ``above``; None if ``life`` is not the holder."""
    raised = {"term": 1 + max(term, above), "beat": _TABLE.beat + 1}
    return read(connection) if _change(connection, (_TABLE.life == life, _TABLE.term == term), raised) else None


def release(connection: Connection, life: str, term: int) -> bool:
    """Give it up; False if it was another's already."""
    return _change(connection, (_TABLE.life == life, _TABLE.term == term), {"life": "", "beat": _TABLE.beat + 1})


def want(connection: Connection, manager: str) -> None:
    """Ask the holder to give it up in favour of a manager."""
    _change(connection, (), {"wanted": manager})


def _change(connection: Connection, where: tuple[Any, ...], values: dict[str, Any]) -> bool:
    return connection.execute(update(schema.leases).where(_TABLE.name == NAME, *where).values(values)).rowcount == 1


def _columns(row: LeaseRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in LeaseRow.__dataclass_fields__}
