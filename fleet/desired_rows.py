"""Desired states on disk: every generation of every gateway, as it was signed."""

from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, and_, func, insert, select

from agent.wire.messages import Value
from fleet import schema

Settings = dict[tuple[str, str], Value]
"""(equipment, setting) -> value."""


@dataclass(frozen=True, slots=True)
class Document:
    """One generation.

    Args:
        digest: SHA-256 of ``sealed``, by which the gateway names it.
    """

    gateway: str
    generation: int
    operator: str
    t_ms: int
    settings: Settings
    digest: bytes
    sealed: bytes


def add(connection: Connection, document: Document) -> None:
    """Store one. A generation that exists already is an error of the database's: none is given out twice."""
    lines = [[*key, value] for key, value in document.settings.items()]
    connection.execute(
        insert(schema.desired).values(
            gateway=document.gateway,
            generation=document.generation,
            operator=document.operator,
            t_ms=document.t_ms,
            settings=msgspec.json.encode(lines).decode(),
            digest=document.digest,
            sealed=document.sealed,
        )
    )


def versions(connection: Connection, gateway: str, limit: int) -> list[Document]:
    """The newest generations of one gateway, newest first."""
    table = schema.desired.c
    query = select(schema.desired).where(table.gateway == gateway).order_by(table.generation.desc()).limit(limit)
    return [_document(row) for row in connection.execute(query)]


def newest_of_all(connection: Connection) -> dict[str, Document]:
    """The newest generation of every gateway that has one."""
    table = schema.desired.c
    newest = select(table.gateway, func.max(table.generation).label("top")).group_by(table.gateway).subquery()
    query = select(schema.desired).join(
        newest, and_(table.gateway == newest.c.gateway, table.generation == newest.c.top)
    )
    return {row.gateway: _document(row) for row in connection.execute(query)}


def nested(settings: Settings) -> dict[str, dict[str, Value]]:
    """The settings by equipment."""
    by_equipment: dict[str, dict[str, Value]] = {}
    for (equipment, setting), value in settings.items():
        by_equipment.setdefault(equipment, {})[setting] = value
    return by_equipment


def _document(row: Any) -> Document:
    lines = msgspec.json.decode(row.settings, type=list[tuple[str, str, Value]])
    settings = {(equipment, setting): value for equipment, setting, value in lines}
    return Document(row.gateway, row.generation, row.operator, row.t_ms, settings, row.digest, row.sealed)
