"""The store: what is read from it. Everything is written by the one writer (``fleet.writer``)."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from sqlalchemy import Connection, func, select
from sqlalchemy.exc import SQLAlchemyError

from agent.wire.messages import EquipmentCard, StreamHead, Value
from fleet import damage, event_rows, redating, schema
from fleet.answers import EventAnswer, SampleAnswer
from fleet.engine import open_database, put_rows
from fleet.errors import FolderError, StoreError
from fleet.registry import Gateway, Latch, Point, Registry
from fleet.standing import Standing, load_standing

HISTORY_MAX = 10_000
EVENTS_MAX = 1_000
CLOCK_SLACK_MS = 600_000
"""A gateway's clock may be this far ahead of ours and its history is still found."""

T = TypeVar("T")


class Store:
    """The manager's database.

    Raises:
        FolderError: it cannot be opened, is damaged, or belongs to a newer version.
    """

    def __init__(self, place: Path | str) -> None:
        self.place = place
        self.damage = damage.remembered(place) if isinstance(place, Path) else ""
        if self.damage:
            raise FolderError(self.damage)
        try:
            self.engine = open_database(place)
        except FolderError as error:
            if damage.is_shown_by(error) and isinstance(place, Path):
                raise FolderError(damage.remember(place, str(error.__cause__ or error))) from error
            raise
        self.transact(_check_version)

    def transact(self, work: Callable[[Connection], T]) -> T:
        """Run one piece of work in a transaction of its own, durable when this returns.

        Raises:
            StoreError: nothing of it was stored.
        """
        if self.damage:
            raise StoreError(self.damage)
        try:
            with self.engine.begin() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise self.failure(error) from error

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run one reading.

        Raises:
            StoreError: the database does not answer.
        """
        try:
            with self.engine.connect() as connection:
                return work(connection)
        except SQLAlchemyError as error:
            raise self.failure(error) from error

    def failure(self, error: SQLAlchemyError) -> StoreError:
        """What to raise for an error of the database. If that shows damage, nothing is stored in it from now on."""
        reason = str(error.__cause__ or error)
        if isinstance(self.place, Path) and damage.is_shown_by(error):
            self.damage = damage.remember(self.place, reason)
        return StoreError(self.damage or f"{self.place}: {reason}")

    def standing(self) -> Standing:
        """Where everything stands, for the writer."""
        return self.read(load_standing)

    def registry(self) -> Registry:
        """Every gateway with its newest values, for the start."""
        return self.read(_load_registry)

    def close(self) -> None:
        """Give the database back."""
        self.engine.dispose()


def raise_term(connection: Connection, above: int = 0) -> int:
    """Take a term higher than any we had, and than ``above``: what an earlier process of ours says no longer counts."""
    term = 1 + max(above, _setting(connection, "term"))
    put_rows(connection, schema.settings, [("term", term)])
    return term


def history(connection: Connection, place: tuple[str, str], name: str, since_ms: int, limit: int) -> list[SampleAnswer]:
    """The newest ``limit`` values of a point since ``since_ms``, oldest first.

    Args:
        place: gateway and equipment.
    """
    gateway, equipment = place
    points, samples, links = schema.points.c, schema.samples.c, schema.links.c
    point = connection.execute(
        select(points.no, points.gateway_no)
        .join(schema.gateways, schema.gateways.c.no == points.gateway_no)
        .where(schema.gateways.c.id == gateway, points.equipment == equipment, points.name == name)
    ).first()
    if point is None:
        return []
    # What was read after ``since_ms`` was stored after it, so older links need not be looked at.
    first_link = connection.execute(
        select(func.min(links.no)).where(links.stored_ms >= max(0, since_ms - CLOCK_SLACK_MS))
    ).scalar()
    if first_link is None:
        return []
    undated = schema.undated.c
    rows = connection.execute(
        select(samples.t_ms, samples.quality, samples.value, undated.clock, undated.dated_by, undated.within_ms)
        .select_from(schema.samples.outerjoin(schema.undated, undated.link_no == samples.link_no))
        .where(
            samples.gateway_no == point.gateway_no,
            samples.link_no >= first_link,
            samples.point_no == point.no,
            samples.t_ms >= since_ms,
        )
        .order_by(samples.link_no.desc(), samples.n.desc())
        .limit(min(limit, HISTORY_MAX))
    )
    return [
        SampleAnswer(
            row.t_ms, _value(row.value), row.quality, redating.time_words(row.clock, row.dated_by), row.within_ms or 0
        )
        for row in rows
    ][::-1]


def events(connection: Connection, limit: int, gateway: str = "", equipment: str = "") -> list[EventAnswer]:
    """The newest events, newest first."""
    table = schema.events.c
    query = select(schema.events).order_by(table.no.desc()).limit(min(limit, EVENTS_MAX))
    if gateway:
        query = query.where(table.gateway == gateway)
    if equipment:
        query = query.where(table.equipment == equipment)
    found = [event_rows.from_row(row) for row in connection.execute(query)]
    times = redating.event_times(connection, [event.id for event in found])
    return [msgspec.structs.replace(each, **times[each.id]) if each.id in times else each for each in found]


def _load_registry(connection: Connection) -> Registry:
    registry = Registry()
    by_number: dict[int, Gateway] = {}
    for row in connection.execute(select(schema.gateways)):
        gateway = by_number[row.no] = registry.gateway(row.id)
        gateway.name, gateway.software = row.name, row.software
        gateway.conn, gateway.beat, gateway.seen_ms = row.conn, row.beat, row.seen_ms
        gateway.is_connected = row.is_connected
    for row in connection.execute(select(schema.equipment).order_by(schema.equipment.c.place)):
        verbs = msgspec.json.decode(row.verbs, type=list[str])
        registry.gateway(row.gateway).cards[row.id] = EquipmentCard(
            row.id, row.kind, row.name, row.latitude, row.longitude, row.executor, verbs, row.parent
        )
    for row in connection.execute(select(schema.latches)):
        registry.gateway(row.gateway).latches[row.equipment] = Latch(row.rule, row.reason, row.since_ms)
    for row in connection.execute(select(schema.heads)):
        by_number[row.gateway_no].stored[row.stream] = StreamHead(row.stream, row.epoch, row.seq, row.hash)
    for row in connection.execute(select(schema.rejections)):
        if row.gateway:
            registry.gateway(row.gateway).rejected += row.times
    points, latest = schema.points.c, schema.latest.c
    for row in connection.execute(
        select(points.gateway_no, points.equipment, points.name, latest.t_ms, latest.quality, latest.value).join(
            schema.latest, latest.point_no == points.no
        )
    ):
        values = by_number[row.gateway_no].points.setdefault(row.equipment, {})
        values[row.name] = Point(_value(row.value), row.quality, row.t_ms)
    return registry


def _check_version(connection: Connection) -> None:
    version = _setting(connection, "version")
    if version > schema.VERSION:
        raise FolderError(f"the database is of version {version}, this program knows {schema.VERSION}: update it")
    put_rows(connection, schema.settings, [("version", schema.VERSION)])


def _setting(connection: Connection, name: str) -> int:
    query = select(schema.settings.c.value).where(schema.settings.c.name == name)
    return connection.execute(query).scalar() or 0


def _value(text: str) -> Value:
    return msgspec.json.decode(text, type=Value)  # type: ignore[no-any-return]  # a union is no type to mypy
