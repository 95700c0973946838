"""The receiving end of all streams of all gateways, sans-IO: what to store, what to leave out, what to acknowledge.

The caller verifies and decodes, asks ``receive``, stores what it says in one transaction, calls ``committed``, and only
then acknowledges ``acks``. A failed transaction is ``rolled_back``: memory then equals the store again.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from agent.wire.messages import Batch, StreamHead
from agent.wire.streams import GAP_KIND, NO_HASH, SHEDDABLE, Gap, gap_of
from agent.wire.topics import STREAMS

StreamOf = tuple[str, str]
"""Gateway and stream."""


class Fate(Enum):
    """What becomes of one link."""

    STORE = "store"
    """The next one: store it with the rest of the transaction."""
    DUPLICATE = "duplicate"
    """Held already: acknowledge again."""
    AHEAD = "ahead"
    """Something before it is missing: leave it out; the sender goes back."""
    FORKED = "forked"
    """Another content under a number we hold, or a link that does not follow ours: hold the stream, tell somebody."""
    STALE = "stale"
    """Of an older epoch: a restored or cloned gateway. Acknowledge the newer epoch, tell somebody."""


@dataclass(frozen=True, slots=True)
class Received:
    """The fate of one link.

    Args:
        head: where the stream stands after it, to be stored with it.
        gap: the links it stands for, if it is a gap record.
        is_new_epoch: it begins an epoch above one we hold: the gateway's journal was lost, restored or forked.
    """

    fate: Fate
    head: StreamHead
    reason: str = ""
    gap: Gap | None = None
    is_new_epoch: bool = False


class Inbound:
    """Where every stream stands.

    Args:
        heads: (gateway, head) of every stream as durably stored.
    """

    def __init__(self, heads: Iterable[tuple[str, StreamHead]] = ()) -> None:
        self._durable: dict[StreamOf, StreamHead] = {(gateway, head.stream): head for gateway, head in heads}
        self._received: dict[StreamOf, StreamHead] = {}
        self._forked: set[StreamOf] = set()
        self._nothing: dict[StreamOf, StreamHead] = {}  # Epochs we met in the middle and hold nothing of.

    def head(self, gateway: str, stream: str) -> StreamHead | None:
        """Where the stream stands with what was received, durable or not yet."""
        key = (gateway, stream)
        return self._received.get(key) or self._durable.get(key)

    def receive(self, batch: Batch, digest: bytes, known_hash: bytes | None = None) -> Received:
        """Decide one verified link.

        Args:
            batch: its gateway and stream equal the topic's.
            digest: SHA-256 of its envelope.
            known_hash: the stored hash of (epoch, seq), if the caller looked it up; tells a fork from a duplicate
                below the newest link.
        """
        key = (batch.gateway, batch.stream)
        held = self.head(*key)
        gap = gap_of(batch)
        if (is_gap := any(event.kind == GAP_KIND for event in batch.events)) and (problem := _gap_problem(batch, gap)):
            return Received(Fate.FORKED, held or _nothing(batch), problem)
        if held is None or batch.epoch > held.epoch:
            received = self._first(batch, digest, gap, held)
        elif batch.epoch < held.epoch:
            return Received(Fate.STALE, held, f"epoch {batch.epoch}, we hold {held.epoch}")
        else:
            received = _next(batch, digest, gap if is_gap else None, held, known_hash)
        if received.fate is Fate.STORE:
            self._received[key] = received.head
            self._forked.discard(key)
            self._nothing.pop(key, None)
        elif received.fate is Fate.AHEAD and (held is None or batch.epoch > held.epoch):
            self._nothing[key] = _nothing(batch)
        elif received.fate is Fate.FORKED:
            self._forked.add(key)
        return received

    def is_forked(self, gateway: str, stream: str) -> bool:
        """True while the stream is held: until a link follows ours, or a new epoch begins."""
        return (gateway, stream) in self._forked

    def adopt(self, gateway: str, floor: StreamHead) -> bool:
        """Go on from ``floor``, the newest link the gateway no longer keeps, as its birth said.

        True if we held less: what is missing was acknowledged once and cannot be had again. Store the new head with
        the next transaction and tell somebody. A stream we hold as much of, or a newer epoch of, stays as it is.
        """
        key = (gateway, floor.stream)
        held = self.head(*key)
        if floor.seq == 0 or (held is not None and (held.epoch, held.seq) >= (floor.epoch, floor.seq)):
            return False
        self._received[key] = floor
        self._nothing.pop(key, None)
        return True

    def announced(self, gateway: str, head: StreamHead) -> None:
        """The gateway says that this stream of its has come that far, in its birth or heartbeat.

        A stream with nothing new to send would otherwise never learn from our acks that we hold nothing of it.
        """
        held = self.head(gateway, head.stream)
        if head.seq > 0 and (held is None or held.epoch < head.epoch):
            self._nothing[gateway, head.stream] = StreamHead(head.stream, head.epoch, 0, NO_HASH)

    def committed(self) -> None:
        """What was received is durable now."""
        self._durable.update(self._received)
        self._received.clear()

    def rolled_back(self) -> None:
        """What was received since the last commit is not stored: forget it."""
        self._received.clear()

    def acks(self, gateway: str) -> list[StreamHead]:
        """The durable heads of one gateway's streams, for an ``Ack``.

        Of an epoch we met in the middle it says seq 0: the sender then knows that its earlier links are lost here.
        """
        keys = [(gateway, stream) for stream in STREAMS]
        return [head for key in keys if (head := self._nothing.get(key) or self._durable.get(key)) is not None]

    @staticmethod
    def _first(batch: Batch, digest: bytes, gap: Gap | None, held: StreamHead | None) -> Received:
        """The first link of an epoch new to us."""
        begins_at = gap.first if gap is not None else batch.seq
        if begins_at != 1:
            return Received(Fate.AHEAD, held or _nothing(batch), f"epoch {batch.epoch} begins at 1, got {begins_at}")
        if batch.prev != NO_HASH:
            return Received(Fate.FORKED, held or _nothing(batch), "the first link of an epoch has a predecessor")
        return Received(Fate.STORE, _head(batch, digest, gap), gap=gap, is_new_epoch=held is not None)


def _next(batch: Batch, digest: bytes, gap: Gap | None, held: StreamHead, known_hash: bytes | None) -> Received:
    """A link of the epoch we hold."""
    first = gap.first if gap is not None else batch.seq
    link_hash = gap.hash if gap is not None else digest
    if batch.seq <= held.seq:
        known = held.hash if batch.seq == held.seq else known_hash
        if known is not None and known != link_hash:
            return Received(Fate.FORKED, held, f"link {batch.seq} has another content than the one we hold")
        return Received(Fate.DUPLICATE, held)
    if first > held.seq + 1:
        return Received(Fate.AHEAD, held, f"expected {held.seq + 1}, got {first}")
    # A gap record that begins below our head overlaps what came before the shedding; its predecessor is then not ours.
    if first == held.seq + 1 and batch.prev != held.hash:
        return Received(Fate.FORKED, held, f"link {batch.seq} does not follow the {held.seq} we hold")
    return Received(Fate.STORE, _head(batch, digest, gap), gap=gap)


def _head(batch: Batch, digest: bytes, gap: Gap | None) -> StreamHead:
    return StreamHead(batch.stream, batch.epoch, batch.seq, gap.hash if gap is not None else digest)


def _nothing(batch: Batch) -> StreamHead:
    return StreamHead(batch.stream, batch.epoch, 0, NO_HASH)


def _gap_problem(batch: Batch, gap: Gap | None) -> str:
    if gap is None:
        return "a gap record that cannot be read"
    if batch.stream not in SHEDDABLE:
        return f"a gap in {batch.stream}, which is never shed"
    if not 1 <= gap.first <= gap.last or gap.last != batch.seq:
        return f"a gap record {batch.seq} for {gap.first}..{gap.last}"
    return ""
