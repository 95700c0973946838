"""Ingest on a real database, one transaction at a time, without sockets."""

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import Table, func, select

from agent.model.identity import CityId
from agent.wire import sealing, topics
from agent.wire.messages import StreamHead
from fleet import changes, schema, store
from fleet.arrival import Arrival
from fleet.changes import Change
from fleet.folder import Trust
from fleet.ingest import Ingest
from fleet.store import Store
from tests.fleet.standin import unix_ms

CITY = CityId("dijon")
Message = tuple[str, bytes]


class Bench:
    """Ingest on a database, one transaction at a time."""

    def __init__(self, path: Path, trust: Trust) -> None:
        self.trust = trust
        self.store = Store(path)
        self.ingest = Ingest(CITY, trust.ring, trust.director, self.store.standing(), 7)

    def take(self, *messages: Message, now_ms: int = 0) -> list[Change]:
        now_ms = now_ms or unix_ms()
        with self.store.engine.begin() as connection:
            self.ingest.take([Arrival(*message) for message in messages], connection, now_ms)
        return self.ingest.committed(now_ms)

    def heads(self, told: Iterable[Change], gateway: str = "gw-darcy") -> dict[str, StreamHead]:
        """What the ack among the changes says."""
        sealed = next(each.sealed for each in told if isinstance(each, changes.AckDue) and each.gateway == gateway)
        topic = topics.parse(f"armoire/1/{CITY}/{gateway}/down/ack")
        ack = sealing.open_ack(self.trust.ring, sealed, topic, unix_ms())
        assert ack.term == 7
        return {head.stream: head for head in ack.heads}

    def count(self, table: Table) -> int:
        return self.store.read(
            lambda connection: connection.execute(select(func.count()).select_from(table)).scalar() or 0
        )

    def undated(self) -> int:
        """Links that wait for a mark."""
        query = select(func.count()).select_from(schema.undated).where(schema.undated.c.dated_by == 0)
        return self.store.read(lambda connection: connection.execute(query).scalar() or 0)

    def kinds(self) -> list[str]:
        return [event.kind for event in self.store.read(lambda connection: store.events(connection, 100))][::-1]

    def rejections(self) -> dict[tuple[str, str], int]:
        return dict(self.ingest.standing.rejections)
