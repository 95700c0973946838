"""A verified batch taken apart: its samples and events as rows, and as what the registry is told."""

from itertools import repeat

import msgspec

from agent.model.observation import Quality
from agent.wire.messages import Batch, Event
from fleet import changes, event_rows
from fleet.answers import EventAnswer
from fleet.changes import Change
from fleet.event_rows import clean
from fleet.registry import Latch, Point
from fleet.rows import Rows
from fleet.standing import POINTS_PER_GATEWAY_MAX, Known, Place, Standing, split_name

TIME_MS_MAX = 2**63 - 1
GOOD = int(Quality.GOOD)
GUARDS_STREAM = "safety"
"""Sealed by the guard. Latches are the guard's: what the agent's own streams say of them is an event and no more."""
LATCH_SET = "latch.set"
LATCH_RESET = "latch.reset"

_json = msgspec.json.Encoder()


def samples(batch: Batch, known: Known, link_no: int, standing: Standing, rows: Rows) -> list[tuple[str, str, Point]]:
    """Turn the columns into history rows and newest values.

    Points beyond POINTS_PER_GATEWAY_MAX stay in the envelope only.
    """
    known_place = known.points.get
    places = [known_place(name) or _place(name, known, standing, rows) for name in batch.names]
    # Column by column: a loop over samples is the largest part of what a verified batch costs (benchmarks, fleet ingest).
    numbers, equipment, names = zip(*places, strict=True)
    points = batch.points
    point_no = [numbers[index] for index in points]
    t_ms = [batch.t0_ms + dt_ms for dt_ms in batch.dt_ms]
    if not 0 <= min(t_ms) <= max(t_ms) <= TIME_MS_MAX:
        t_ms = [_bounded(each) for each in t_ms]
    quality = [GOOD] * len(points)
    for index, exception in batch.quality:
        quality[index] = exception
    # As JSON text: exact, and one column whatever the type. What JSON cannot say (NaN) becomes null.
    texts = _json.encode_lines(batch.values).decode().split("\n")[:-1]  # No text has a line break of its own.
    history = zip(repeat(known.no), repeat(link_no), range(len(points)), point_no, t_ms, quality, texts, strict=False)
    values = map(Point, batch.values, quality, t_ms, repeat(batch.stream))
    told = [(equipment[index], names[index], value) for index, value in zip(points, values, strict=True)]
    rows.latest.update(zip(point_no, zip(point_no, t_ms, quality, texts, strict=True), strict=True))
    if 0 not in numbers:
        rows.samples.extend(history)
        return told
    rows.latest.pop(0, None)
    rows.samples.extend(row for row in history if row[3])
    return [each for each, number in zip(told, point_no, strict=True) if number]


def events(
    batch: Batch, known: Known, link_no: int, standing: Standing, rows: Rows, now_ms: int
) -> tuple[list[Change], int]:
    """Turn all events of a link into rows; it is remembered which they are if their times may be learnt later.

    Returns:
        What it changed, and how many marks of the time were left out.
    """
    first = standing.event_no + 1
    told = [change for each in batch.events for change in event(batch, each, standing, rows, now_ms)]
    return told, standing.redating.arrived(batch, known.no, link_no, (first, standing.event_no))


def event(batch: Batch, told: Event, standing: Standing, rows: Rows, now_ms: int) -> list[Change]:
    """Turn one event into its row; a latch that the guard set or reset is remembered as such."""
    standing.event_no += 1
    answer = EventAnswer(
        id=standing.event_no,
        t_ms=_bounded(batch.t0_ms + told.dt_ms),
        stored_ms=now_ms,
        gateway=batch.gateway,
        equipment=clean(told.equipment),
        stream=batch.stream,
        seq=batch.seq,
        kind=clean(told.kind),
        rule=clean(told.rule),
        text=clean(told.text),
        detail=told.detail,
    )
    rows.events.append(event_rows.to_row(answer))
    told_changes: list[Change] = [changes.Happened(answer)]
    if batch.stream == GUARDS_STREAM and answer.equipment and answer.kind in {LATCH_SET, LATCH_RESET}:
        latch = Latch(answer.rule, answer.text, answer.t_ms) if answer.kind == LATCH_SET else None
        key = (batch.gateway, answer.equipment)
        rows.latches[key] = None if latch is None else (*key, latch.rule, latch.reason, latch.since_ms)
        told_changes.append(changes.Latched(*key, latch))
    return told_changes


def _bounded(t_ms: int) -> int:
    """A gateway's own word for the time, kept inside what a database column can hold."""
    return min(max(0, t_ms), TIME_MS_MAX)


def _place(name: str, known: Known, standing: Standing, rows: Rows) -> Place:
    place = known.points.get(name)
    if place is not None:
        return place
    kept = clean(name)  # As the database has it, so that a restart finds the same point.
    equipment, own_name = split_name(kept)
    if len(known.points) >= POINTS_PER_GATEWAY_MAX:
        return 0, equipment, own_name
    place = known.points.get(kept)
    if place is None:
        standing.point_no += 1
        place = known.points[kept] = (standing.point_no, equipment, own_name)
        rows.points.append((standing.point_no, known.no, equipment, own_name))
    return place
