"""Commands on disk: written before anything is published, ended by the cabinet's signed result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, func, insert, select, update

from agent.wire.messages import Outcome, Value
from fleet import schema
from fleet.answers import CommandAnswer, Expectation
from fleet.engine import add_rows, put_rows
from fleet.event_rows import clean

AWAITING = "awaiting-approval"
SENT = "sent"
EXPIRED = "expired"
UNKNOWN = "unknown"
REFUSED = "refused"
FAILED = "failed"
OPEN = (AWAITING, SENT)
"""Anything else is an end. ``unknown`` is one too, but a result that comes late is still the truth and replaces it."""

_EXPECTATIONS = schema.command_expectations.c
_COMMANDS = select(schema.commands, _EXPECTATIONS.point, _EXPECTATIONS.value).outerjoin(
    schema.command_expectations, _EXPECTATIONS.command_id == schema.commands.c.command_id
)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """What a result means to us.

    Args:
        command: ours, as it stands now; None if we did not issue it or if it had ended before.
        is_new: the first time this result is seen.
        is_late: it came after we had given up on it.
        is_contradicting: by a process that does not judge commands to that equipment. It ends nothing.
        is_kept: the result was stored by this; False if it was held already.
    """

    command: CommandAnswer | None
    is_new: bool
    is_late: bool = False
    is_contradicting: bool = False
    is_kept: bool = True


def conclude(
    connection: Connection, outcome: Outcome, kid: str, sealed: bytes, now_ms: int, *, is_executors: bool
) -> Conclusion:
    """Keep a verified result and end the command it belongs to. Any number of times, with one effect.

    Only the addressee may end a command, so gateway and command are matched together.

    Args:
        is_executors: signed by the process that judges commands to that equipment.
    """
    results = schema.results.c
    known = connection.execute(
        select(func.count())
        .select_from(schema.results)
        .where(results.gateway == outcome.gateway, results.command_id == outcome.command_id, results.kid == kid)
    ).scalar()
    if known:
        return Conclusion(None, is_new=False, is_kept=False)
    row = (outcome.gateway, outcome.command_id, kid, outcome.ended, now_ms, sealed)
    add_rows(connection, schema.results, [row])
    if not is_executors:
        return Conclusion(None, is_new=True, is_contradicting=True)
    return end(connection, outcome, now_ms)


def end(connection: Connection, outcome: Outcome, now_ms: int) -> Conclusion:
    """End the command that an executor's word belongs to, if it is still open or was given up on."""
    table = schema.commands.c
    where = (table.command_id == outcome.command_id, table.gateway == outcome.gateway)
    held = connection.execute(select(schema.commands).where(*where)).first()
    if held is None:
        return Conclusion(None, is_new=True)
    is_late = held.status == UNKNOWN
    if held.status != SENT and not is_late:
        return Conclusion(None, is_new=False)
    connection.execute(
        update(schema.commands)
        .where(*where)
        .values(
            status=clean(outcome.ended),
            rule=clean(outcome.rule),
            reason=clean(outcome.reason),
            state=clean(outcome.state),
            ended_ms=now_ms,
        )
    )
    ended = connection.execute(_COMMANDS.where(*where)).one()
    return Conclusion(from_row(ended), is_new=True, is_late=is_late)


def raise_counter(connection: Connection, kid: str, counter: int) -> None:
    """Remember an issuer's counter. Commit before anything signed with it leaves."""
    put_rows(connection, schema.issuers, [(kid, counter)])


def counters(connection: Connection) -> dict[str, int]:
    """Every issuer's newest counter."""
    return {row.kid: row.counter for row in connection.execute(select(schema.issuers))}


def add(connection: Connection, command: CommandAnswer, sealed: bytes) -> None:
    """Write a new command."""
    number = 1 + (connection.execute(select(func.max(schema.commands.c.no))).scalar() or 0)
    connection.execute(insert(schema.commands).values(no=number, sealed=sealed, **_columns(command)))
    if command.expect is not None:
        value = msgspec.json.encode(command.expect.value).decode()
        add_rows(connection, schema.command_expectations, [(command.command_id, command.expect.point, value)])


def change(connection: Connection, command: CommandAnswer, was: str, sealed: bytes | None = None) -> bool:
    """Write a command's next step, unless it has left the status ``was`` meanwhile; True if written."""
    columns = _columns(command)
    if sealed is not None:
        columns["sealed"] = sealed
    table = schema.commands.c
    done = connection.execute(
        update(schema.commands).where(table.command_id == command.command_id, table.status == was).values(columns)
    )
    return bool(done.rowcount)


def one(connection: Connection, command_id: str) -> CommandAnswer | None:
    """One command."""
    row = connection.execute(_COMMANDS.where(schema.commands.c.command_id == command_id)).first()
    return None if row is None else from_row(row)


def newest(connection: Connection, limit: int, gateway: str = "") -> list[CommandAnswer]:
    """The newest commands, newest first."""
    table = schema.commands.c
    query = _COMMANDS.order_by(table.no.desc()).limit(limit)
    if gateway:
        query = query.where(table.gateway == gateway)
    return [from_row(row) for row in connection.execute(query)]


def unfinished(connection: Connection) -> Sequence[CommandAnswer]:
    """Commands that have not ended."""
    table = schema.commands.c
    return [from_row(row) for row in connection.execute(_COMMANDS.where(table.status.in_(OPEN)))]


def from_row(row: Any) -> CommandAnswer:
    """A row as the API shows it."""
    return CommandAnswer(
        command_id=row.command_id,
        status=row.status,
        rule=row.rule,
        reason=row.reason,
        state=row.state,
        gateway=row.gateway,
        equipment=row.equipment,
        verb=row.verb,
        args=msgspec.json.decode(row.args, type=dict[str, Value]),
        operator=row.operator,
        approvers=msgspec.json.decode(row.approvers, type=list[str]),
        issued_ms=row.issued_ms,
        not_after_ms=row.not_after_ms,
        ended_ms=row.ended_ms,
        expect=None if row.point is None else Expectation(row.point, msgspec.json.decode(row.value)),
    )


def _columns(command: CommandAnswer) -> dict[str, Any]:
    columns = msgspec.structs.asdict(command)
    del columns["expect"]  # A table of its own: few commands have one, and it never changes.
    columns["args"] = msgspec.json.encode(command.args).decode()
    columns["approvers"] = msgspec.json.encode(command.approvers).decode()
    return columns
