"""The fleet manager's ingest under messages that a gateway's own keys signed and that are wrong inside.

Between any two of them a neighbour's good link arrives, and must be stored.
"""

import tempfile
from contextlib import ExitStack, closing
from pathlib import Path

from agent.model.identity import CityId, GatewayId
from agent.wire import envelope, topics
from agent.wire.messages import SCHEMA, Batch, encode
from agent.wire.streams import NO_HASH
from agent.wire.topics import up
from fleet.arrival import Arrival
from fleet.ingest import Ingest
from fleet.store import Store
from tests.attack.sync.feeds import Feed, worked
from tests.attack.sync.mutation import any_of, bent, twisted
from tests.attack.sync.targets import Target
from tests.wire import vectors
from tests.wire.party import CITY, GATEWAY, OTHER_GATEWAY, T0_MS, ring, signer

NAMES = ("link-1-samples", "link-2-event", "link-7-gap", "result", "birth", "heartbeat", "death")
FORGETS_AFTER = 20
"""Messages until a fresh manager: in an old one most links are repetitions or forks."""
NEIGHBOUR = signer(f"{OTHER_GATEWAY}/agent/1")


class Intake:
    """A manager's ingest in a transaction that nobody commits."""

    def __init__(self, stack: ExitStack) -> None:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="armoire-"))
        self._store = stack.enter_context(closing(Store(Path(folder) / "fleet.db")))
        self._ring = ring(GATEWAY, OTHER_GATEWAY)
        self._connection = stack.enter_context(self._store.engine.connect())
        self._forget()

    def _forget(self) -> None:
        self._connection.rollback()
        self._ingest = Ingest(CityId(CITY), self._ring, vectors.DIRECTOR, self._store.standing(), 7)
        self._seq, self._prev, self._fed = 0, NO_HASH, 0

    def feed(self, data: bytes) -> bool:
        """The first byte says which topic and key, the others are the payload to be signed."""
        row = worked()[NAMES[data[0] % len(NAMES)]]
        topic = topics.parse(row["topic"])
        by = vectors.GUARD if topic.message_class == "result" and len(data) % 2 else vectors.AGENT
        try:
            sealed = by.seal(data[1:], topic)
        except ValueError:  # Too large for an envelope: no gateway can seal it.
            return False
        self._fed += 1
        if self._fed > FORGETS_AFTER:
            self._forget()
        before = self._ingest.tally.batches
        self._ingest.take([self._good(), Arrival(str(topic), sealed), self._good()], self._connection, T0_MS)
        self._ingest.committed(T0_MS)
        stored = self._ingest.tally.batches - before
        assert stored in (2, 3), "a neighbour's links were not stored"
        return stored == 3

    def _good(self) -> Arrival:
        self._seq += 1
        topic = up(CityId(CITY), GatewayId(OTHER_GATEWAY), "state")
        batch = Batch(
            SCHEMA, OTHER_GATEWAY, "state", 1, self._seq, self._prev, T0_MS, 0, 2, ["a/b"], [0], [0], [], [1], []
        )
        sealed = NEIGHBOUR.seal(encode(batch), topic)
        self._prev = envelope.digest(sealed)
        return Arrival(str(topic), sealed)


def intake(stack: ExitStack) -> Feed:
    """A fresh manager."""
    return Intake(stack).feed


def target() -> Target:
    """Ingest as one more parser."""
    seeds = tuple(bytes((n,)) + bytes.fromhex(worked()[name]["payload"]) for n, name in enumerate(NAMES))
    inside = any_of(twisted, twisted, twisted, bent)
    return Target("ingest", seeds, lambda rng, data: data[:1] + inside(rng, data[1:]), (), 2, intake)
