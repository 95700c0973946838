"""Rows of the ``events`` table, and how the API shows them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from agent.wire.messages import Value
from fleet.answers import EventAnswer
from fleet.engine import Row

FLEET_STREAM = "fleet"
"""The ``stream`` of what the manager itself noticed; such events are sealed nowhere."""


def clean(text: str) -> str:
    """Text as every database takes it: PostgreSQL refuses U+0000."""
    return text.replace("\0", "\ufffd")


def noticed(
    number: int,
    gateway: str,
    kind: str,
    text: str,
    now_ms: int,
    *,
    equipment: str = "",
    rule: str = "",
    detail: Mapping[str, Value] | None = None,
) -> EventAnswer:
    """Something the manager itself noticed."""
    return EventAnswer(
        id=number,
        t_ms=now_ms,
        stored_ms=now_ms,
        gateway=gateway,
        equipment=equipment,
        stream=FLEET_STREAM,
        seq=0,
        kind=kind,
        rule=rule,
        text=clean(text)[:500],
        detail=dict(detail or {}),
    )


def to_row(event: EventAnswer) -> Row:
    """Columns of ``schema.events`` in their order."""
    return (
        event.id,
        event.gateway,
        event.equipment,
        event.stream,
        event.seq,
        event.t_ms,
        event.stored_ms,
        event.kind,
        event.rule,
        event.text,
        msgspec.json.encode(event.detail).decode(),
    )


def from_row(row: Any) -> EventAnswer:
    """The inverse of ``to_row``."""
    return EventAnswer(
        id=row.no,
        t_ms=row.t_ms,
        stored_ms=row.stored_ms,
        gateway=row.gateway,
        equipment=row.equipment,
        stream=row.stream,
        seq=row.seq,
        kind=row.kind,
        rule=row.rule,
        text=row.text,
        detail=msgspec.json.decode(row.detail, type=dict[str, Value]),
    )
