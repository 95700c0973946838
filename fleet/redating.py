"""Records made before their gateway knew the time, dated as soon as it has signed what its monotonic clock meant.

The envelope stays as it was signed. What is derived from it (rows of samples and events, newest values) is moved to the
time it was made, and ``undated`` keeps by how much, by which clock and how exactly.
"""

from collections import Counter
from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update

from agent.wire.messages import Batch, Value
from agent.wire.redating import Mark, is_redatable, mark_of, signed_by
from fleet import schema
from fleet.engine import Row, add_rows, put_rows
from fleet.registry import Point

LINKS_PER_TURN_MAX = 500
"""Dated in one transaction, of each signer: a gateway that was without time for days must not keep the others waiting."""
BOOTS_MAX = 8
"""Marks of so many starts of one signer are kept. A cabinet that starts more often within one backlog is ill, or lies."""
MARKS_PER_BOOT_MAX = 4
NOT_DATED = 0

By = tuple[int, str]
"""Number of the gateway, who signs (``agent`` or ``guard``)."""
Boot = tuple[int, str, bytes]
"""The same, and the boot."""
Values = list[tuple[str, str, Point]]


class Redating:
    """Collects while messages are judged; dates when their rows are written."""

    def __init__(self) -> None:
        self._owed: set[Boot] | None = None
        self._undated: list[Row] = []
        self._marks: dict[By, list[Mark]] = {}

    def begin(self) -> None:
        """Forget what a void transaction has brought."""
        self._undated, self._marks = [], {}

    def arrived(self, batch: Batch, gateway_no: int, link_no: int, events: tuple[int, int]) -> int:
        """Take in a link that will be stored.

        Args:
            events: numbers of its first and last event; the first is above the last if it has none.

        Returns:
            How many marks are left out: of a link one counts, and of a transaction as many as are kept.
        """
        who = signed_by(batch.stream)
        if is_redatable(batch):
            row = link_no, gateway_no, who, batch.boot, batch.clock, batch.t0_ms, batch.mono_ms, *events
            self._undated.append((*row, NOT_DATED, 0, 0))
        marks = [mark for event in reversed(batch.events) if (mark := mark_of(event)) is not None]
        if not marks:
            return 0
        before = self._marks.get((gateway_no, who), [])
        kept = _newest_marks([*before, max(marks, key=lambda mark: mark.clock)])
        self._marks[gateway_no, who] = kept
        return len(before) + len(marks) - len(kept)

    def write(self, connection: Connection) -> dict[int, Values]:
        """Keep what arrived, and date what can be dated, once all rows of the transaction are written.

        Returns:
            Number of a gateway -> its newest values that were dated.
        """
        if self._owed is None:  # What an earlier manager began.
            self._owed = _owed(connection)
        add_rows(connection, schema.undated, self._undated)
        boots = {(row[1], row[2], row[3]) for row in self._undated} | self._owed
        boots |= {(*by, mark.boot) for by, marks in self._marks.items() for mark in marks}
        kept = _keep(connection, {boot[0] for boot in boots}, self._marks) if boots else {}
        self._owed.clear()
        values: dict[int, Values] = {}
        dated: Counter[By] = Counter()
        for boot in sorted(boots & kept.keys()):
            by = boot[:2]
            left = LINKS_PER_TURN_MAX - dated[by]
            links = _date(connection, boot, kept[boot], left) if left else []
            dated[by] += len(links)
            if len(links) == left:
                self._owed.add(boot)
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


def _newest_marks(marks: list[Mark]) -> list[Mark]:
    """Of some marks of one signer those that are kept.

    Args:
        marks: oldest first, as the answer.
    """
    kept: dict[bytes, dict[int, Mark]] = {}
    for mark in reversed(marks):
        if mark.boot in kept or len(kept) < BOOTS_MAX:
            of_boot = kept.setdefault(mark.boot, {})
            if len(of_boot) < MARKS_PER_BOOT_MAX:
                of_boot.setdefault(mark.mono_ms, mark)
    return [mark for of_boot in reversed(kept.values()) for mark in reversed(of_boot.values())]


def _keep(connection: Connection, gateways: set[int], arrived: dict[By, list[Mark]]) -> dict[Boot, list[Mark]]:
    """Store the marks that arrived, remove those there is no room for; return all of these gateways."""
    table = schema.clock_marks.c
    held: dict[By, list[Mark]] = {}
    query = select(schema.clock_marks).where(table.gateway_no.in_(gateways)).order_by(table.unix_ms)
    for row in connection.execute(query):
        mark = Mark(bytes(row.boot), row.mono_ms, row.unix_ms, row.within_ms, row.clock)
        held.setdefault((row.gateway_no, row.who), []).append(mark)
    removed: list[dict[str, object]] = []
    for by, marks in arrived.items():
        before, held[by] = held.get(by, []), _newest_marks([*held.get(by, []), *marks])
        keys = {(mark.boot, mark.mono_ms) for mark in held[by]}
        gone = (mark for mark in before if (mark.boot, mark.mono_ms) not in keys)
        removed += ({"no": by[0], "by": by[1], "of": mark.boot, "at": mark.mono_ms} for mark in gone)
    if removed:
        is_that = and_(
            table.gateway_no == bindparam("no"),
            table.who == bindparam("by"),
            table.boot == bindparam("of"),
            table.mono_ms == bindparam("at"),
        )
        connection.execute(delete(schema.clock_marks).where(is_that), removed)
    put_rows(
        connection,
        schema.clock_marks,
        [
            (*by, mark.boot, mark.mono_ms, mark.unix_ms, mark.within_ms, mark.clock)
            for by, marks in arrived.items()
            for mark in marks
        ],
    )
    kept: dict[Boot, list[Mark]] = {}
    for by, marks in held.items():
        for mark in marks:
            kept.setdefault((*by, mark.boot), []).append(mark)
    return kept


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


def _date(connection: Connection, boot: Boot, marks: list[Mark], links_max: int) -> list[int]:
    """Date links of one boot by its marks; return which."""
    best_clock = max(mark.clock for mark in marks)
    undated = schema.undated.c
    query = (
        select(schema.undated)
        .where(undated.gateway_no == boot[0], undated.who == boot[1], undated.boot == boot[2])
        .where(undated.clock < best_clock, undated.dated_by < best_clock)
        .order_by(undated.link_no)
        .limit(links_max)
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
