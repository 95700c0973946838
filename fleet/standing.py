"""Where everything stands, as the writer keeps it in memory beside the database: numbers, connections, counts.

It belongs to the writer's thread. After a transaction that failed it is loaded anew: memory never runs ahead of disk.
"""

from dataclasses import dataclass, field

from sqlalchemy import Connection, func, select

from agent.wire.messages import Birth, StreamHead
from agent.wire.receiving import Inbound
from fleet import schema
from fleet.changes import Change, Sampled
from fleet.merkle_log import MerkleLog, load_log
from fleet.redating import Redating

POINTS_PER_GATEWAY_MAX = 20_000
"""A cabinet has hundreds. Beyond this its names are kept in the envelopes only."""


Place = tuple[int, str, str]
"""A point: its number, equipment (may be empty) and own name."""


@dataclass(slots=True)
class Known:
    """One gateway.

    Args:
        points: by full name.
        executors: equipment -> who judges commands to it.
        told_ms: the gateway's own time in its last birth or heartbeat.
        rebirth_asked_ms: when it was last asked to introduce itself again.
        birth: the newest believed, since the manager's start.
    """

    no: int
    name: str = ""
    software: str = ""
    conn: int = 0
    beat: int = 0
    is_connected: bool = False
    seen_ms: int = 0
    told_ms: int = 0
    rebirth_asked_ms: int = 0
    points: dict[str, Place] = field(default_factory=dict)
    executors: dict[str, str] = field(default_factory=dict)
    birth: Birth | None = field(default=None, compare=False)


@dataclass(slots=True)
class Standing:
    """Everything the writer must know to judge the next message."""

    inbound: Inbound
    gateways: dict[str, Known]
    rejections: dict[tuple[str, str], int]
    link_no: int
    event_no: int
    point_no: int
    log: MerkleLog
    redating: Redating = field(default_factory=Redating)

    def redated(self, connection: Connection | None) -> list[Change]:
        """Date what the transaction's marks and links allow; tell whose newest values moved.

        Args:
            connection: with all rows of the transaction written; None if nothing is.
        """
        if connection is None:
            self.redating.begin()
            return []
        values = self.redating.write(connection)
        if not values:
            return []
        return [Sampled(id_, values[known.no]) for id_, known in self.gateways.items() if values.get(known.no)]

    def known(self, gateway: str) -> Known:
        """Return a gateway's entry, numbering one not met before."""
        found = self.gateways.get(gateway)
        if found is None:
            number = 1 + max((each.no for each in self.gateways.values()), default=0)
            found = self.gateways[gateway] = Known(number)
        return found


def load_standing(connection: Connection) -> Standing:
    """Read where everything stands."""
    gateways: dict[str, Known] = {}
    by_number: dict[int, tuple[str, Known]] = {}
    for row in connection.execute(select(schema.gateways)):
        known = Known(row.no, row.name, row.software, row.conn, row.beat, row.is_connected, row.seen_ms, row.told_ms)
        gateways[row.id] = known
        by_number[row.no] = (row.id, known)
    for row in connection.execute(select(schema.points)):
        place = (row.no, row.equipment, row.name)
        by_number[row.gateway_no][1].points[full_name(row.equipment, row.name)] = place
    for row in connection.execute(select(schema.equipment)):
        if row.gateway in gateways:
            gateways[row.gateway].executors[row.id] = row.executor
    heads = [
        (by_number[row.gateway_no][0], StreamHead(row.stream, row.epoch, row.seq, row.hash))
        for row in connection.execute(select(schema.heads))
    ]
    rejections = {(row.gateway, row.reason): row.times for row in connection.execute(select(schema.rejections))}
    link_no, event_no, point_no = (
        connection.execute(select(func.max(table.c.no))).scalar() or 0
        for table in (schema.links, schema.events, schema.points)
    )
    return Standing(Inbound(heads), gateways, rejections, link_no, event_no, point_no, load_log(connection))


def full_name(equipment: str, name: str) -> str:
    """A point's name as batches carry it: ``equipment/name``, or the bare name of a point of the gateway itself."""
    return f"{equipment}/{name}" if equipment else name


def split_name(name: str) -> tuple[str, str]:
    """The inverse of ``full_name``: equipment (may be empty) and the point's own name."""
    equipment, _, rest = name.partition("/")
    return (equipment, rest) if equipment and rest else ("", name)
