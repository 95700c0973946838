"""Records made before their gateway knew the time, dated as soon as it has signed what its monotonic clock meant.

The envelope stays as it was signed. What is derived from it (rows of samples and events, newest values) is moved to the
time it was made, and ``undated`` keeps by how much, by which clock and how exactly.
"""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, and_, exists, select, update

from agent.wire.messages import Batch, Value
from agent.wire.redating import Mark, is_redatable, mark_of, signed_by
from fleet import schema
from fleet.engine import Row, add_rows, put_rows
from fleet.registry import Point

LINKS_PER_TURN_MAX = 500
"""Dated in one transaction: a gateway that was without time for days must not keep the others waiting."""
NOT_DATED = 0

Boot = tuple[int, str, bytes]
"""Number of the gateway, who signs (``agent`` or ``guard``), boot."""
Values = list[tuple[str, str, Point]]


class Redating:
    """Collects while messages are judged; dates when their rows are written."""

    def __init__(self) -> None:
        self._owed: set[Boot] | None = None
        self._undated: list[Row] = []
        self._marks: list[tuple[Boot, Mark]] = []

    def begin(self) -> None:
        """Forget what a void transaction has brought."""
        self._undated, self._marks = [], []

    def arrived(self, batch: Batch, gateway_no: int, link_no: int, events: tuple[int, int]) -> None:
        """Take in a link that will be stored.

        Args:
            events: numbers of its first and last event; the first is above the last if it has none.
        """
        who = signed_by(batch.stream)
        if is_redatable(batch):
            row = link_no, gateway_no, who, batch.boot, batch.clock, batch.t0_ms, batch.mono_ms, *events
            self._undated.append((*row, NOT_DATED, 0, 0))
        for event in batch.events:
            if (mark := mark_of(event)) is not None:
                self._marks.append(((gateway_no, who, mark.boot), mark))

    def write(self, connection: Connection) -> dict[int, Values]:
        """Keep what arrived, and date what can be dated, once all rows of the transaction are written.

        Returns:
            Number of a gateway -> its newest values that were dated.
        """
        if self._owed is None:  # What an earlier manager began.
            self._owed = _owed(connection)
        add_rows(connection, schema.undated, self._undated)
        put_rows(connection, schema.clock_marks, [_row(boot, mark) for boot, mark in self._marks])
        boots = {(row[1], row[2], row[3]) for row in self._undated} | {boot for boot, _ in self._marks} | self._owed
        values: dict[int, Values] = {}
        for boot in sorted(boots):
            links = _date(connection, boot)
            (self._owed.add if len(links) == LINKS_PER_TURN_MAX else self._owed.discard)(boot)
            if links:
                values.setdefault(boot[0], []).extend(_newest(connection, boot[0], links))
        self.begin()
        return values


def time_words(clock: int | None, dated_by: int | None) -> str:
    """How a record's time is known; ``clock`` is None for one whose gateway's clock the network kept."""
    if clock is None:
        return "clock"
    if dated_by:
        return "re-dated"
    return "own clock" if clock else "unknown"


def event_times(connection: Connection, numbers: Iterable[int]) -> dict[int, dict[str, str | int]]:
    """``time`` and ``within_ms`` of the answers for some events; without those whose clock the network kept."""
    wanted = set(numbers)
    if not wanted:
        return {}
    table = schema.undated.c
    query = select(table.first_event, table.last_event, table.clock, table.dated_by, table.within_ms).where(
        table.last_event >= min(wanted), table.first_event <= max(wanted), table.first_event <= table.last_event
    )
    return {
        number: {"time": time_words(row.clock, row.dated_by), "within_ms": row.within_ms}
        for row in connection.execute(query)
        for number in wanted.intersection(range(row.first_event, row.last_event + 1))
    }


def _row(boot: Boot, mark: Mark) -> Row:
    return (*boot, mark.mono_ms, mark.unix_ms, mark.within_ms, mark.clock)


def _owed(connection: Connection) -> set[Boot]:
    undated, marks = schema.undated.c, schema.clock_marks.c
    is_same = and_(marks.gateway_no == undated.gateway_no, marks.who == undated.who, marks.boot == undated.boot)
    query = (
        select(undated.gateway_no, undated.who, undated.boot)
        .join(schema.clock_marks, is_same)
        .where(undated.clock < marks.clock, undated.dated_by < marks.clock)
        .distinct()
    )
    return {(row.gateway_no, row.who, bytes(row.boot)) for row in connection.execute(query)}


def _date(connection: Connection, boot: Boot) -> list[int]:
    """Date links of one boot by its marks; return which."""
    table = schema.clock_marks.c
    is_boots = and_(table.gateway_no == boot[0], table.who == boot[1], table.boot == boot[2])
    marks = [
        Mark(boot[2], row.mono_ms, row.unix_ms, row.within_ms, row.clock)
        for row in connection.execute(select(schema.clock_marks).where(is_boots))
    ]
    if not marks:
        return []
    best_clock = max(mark.clock for mark in marks)
    undated = schema.undated.c
    query = (
        select(schema.undated)
        .where(undated.gateway_no == boot[0], undated.who == boot[1], undated.boot == boot[2])
        .where(undated.clock < best_clock, undated.dated_by < best_clock)
        .order_by(undated.link_no)
        .limit(LINKS_PER_TURN_MAX)
    )
    rows = connection.execute(query).all()
    for row in rows:
        mark = marks[0]
        for other in marks[1:]:
            mark = other if other.is_better_than(mark, row.mono_ms) else mark
        shift_ms = mark.t0_ms(row.mono_ms) - row.t0_ms
        _move(connection, row, shift_ms - row.shift_ms)
        values = {"dated_by": mark.clock, "shift_ms": shift_ms, "within_ms": mark.within(row.mono_ms)}
        connection.execute(update(schema.undated).where(undated.link_no == row.link_no).values(values))
    return [row.link_no for row in rows]


def _move(connection: Connection, row: Row, by_ms: int) -> None:
    """Move everything derived from one link in time."""
    if not by_ms:
        return
    link = row._mapping  # type: ignore[attr-defined]  # noqa: SLF001 - SQLAlchemy's own name for it
    samples, latest, events = schema.samples.c, schema.latest.c, schema.events.c
    is_links = and_(samples.gateway_no == link["gateway_no"], samples.link_no == link["link_no"])
    of_link = select(samples.point_no).where(is_links)
    is_newest = exists().where(is_links, samples.point_no == latest.point_no, samples.t_ms == latest.t_ms)
    connection.execute(
        update(schema.latest).where(latest.point_no.in_(of_link), is_newest).values(t_ms=latest.t_ms + by_ms)
    )
    connection.execute(update(schema.samples).where(is_links).values(t_ms=samples.t_ms + by_ms))
    if link["first_event"] <= link["last_event"]:
        is_links_event = events.no.between(link["first_event"], link["last_event"])
        connection.execute(update(schema.events).where(is_links_event).values(t_ms=events.t_ms + by_ms))


def _newest(connection: Connection, gateway_no: int, links: list[int]) -> Values:
    """The newest values of the points that some links speak of."""
    points, latest, samples = schema.points.c, schema.latest.c, schema.samples.c
    spoken = select(samples.point_no).where(samples.gateway_no == gateway_no, samples.link_no.in_(links))
    query = (
        select(points.equipment, points.name, latest.t_ms, latest.quality, latest.value)
        .join(schema.latest, latest.point_no == points.no)
        .where(points.no.in_(spoken))
    )
    return [
        (row.equipment, row.name, Point(msgspec.json.decode(row.value, type=Value), row.quality, row.t_ms))
        for row in connection.execute(query)
    ]
