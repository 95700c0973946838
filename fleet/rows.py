"""The rows of one transaction, gathered while messages are judged and written together at its end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete

from fleet import schema
from fleet.engine import Row, add_rows, put_rows

Key = tuple[Any, ...]


class Rows:
    """One transaction's rows. Those with a key that may repeat keep the last one."""

    def __init__(self) -> None:
        self.links: list[Row] = []
        self.samples: list[Row] = []
        self.points: list[Row] = []
        self.events: list[Row] = []
        self.quarantine: list[Row] = []
        self.gateways: dict[str, Row] = {}
        self.heads: dict[Key, Row] = {}
        self.latest: dict[int, Row] = {}
        self.latches: dict[Key, Row | None] = {}
        self.rejections: dict[Key, Row] = {}
        self._equipment: dict[str, list[Row]] = {}

    def replace_equipment(self, gateway: str, rows: list[Row]) -> None:
        """The gateway's whole equipment table."""
        self._equipment[gateway] = rows

    def write(self, connection: Connection) -> None:
        """Write everything into the open transaction."""
        add_rows(connection, schema.links, self.links)
        add_rows(connection, schema.points, self.points)
        add_rows(connection, schema.samples, self.samples)
        add_rows(connection, schema.events, self.events)
        add_rows(connection, schema.quarantine, self.quarantine)
        put_rows(connection, schema.gateways, _values(self.gateways))
        put_rows(connection, schema.heads, _values(self.heads))
        put_rows(connection, schema.latest, _values(self.latest))
        put_rows(connection, schema.rejections, _values(self.rejections))
        for gateway, rows in self._equipment.items():
            connection.execute(delete(schema.equipment).where(schema.equipment.c.gateway == gateway))
            add_rows(connection, schema.equipment, rows)
        for (gateway, equipment), row in self.latches.items():
            if row is not None:
                put_rows(connection, schema.latches, [row])
                continue
            table = schema.latches.c
            connection.execute(delete(schema.latches).where(table.gateway == gateway, table.equipment == equipment))


def _values(rows: dict[Any, Row]) -> Sequence[Row]:
    return list(rows.values())
