"""How the links of one stream hang together, followed one by one. Pure. Source: docs/wire.md §5 and §10."""

from agent.wire.errors import WireError
from agent.wire.messages import Batch
from agent.wire.sealing import OpenedBatch
from agent.wire.streams import GAP_KIND, NO_HASH, SHEDDABLE, gap_of

EPOCH_KIND = "stream.epoch"
TEXT_LENGTH_MAX = 300


class NotAsSealedError(WireError):
    """What ends a check.

    Args:
        kind: one word for scripts.
    """

    reason = "not-as-sealed"

    def __init__(self, kind: str, expected: str, found: str) -> None:
        super().__init__(kind)
        self.kind, self.expected, self.found = kind, expected, found[:TEXT_LENGTH_MAX]


class Chain:
    """One stream's links, followed one by one."""

    def __init__(self) -> None:
        self.epoch = 0
        self.seq = 0
        self.hash = b""

    @property
    def next_seq(self) -> int:
        """The number that must come next in this epoch; 0 before the first link."""
        return self.seq + 1 if self.hash else 0

    def follow(self, opened: OpenedBatch) -> int:
        """Take the next verified link; return the first number it stands for."""
        batch = opened.batch
        if not self.hash:
            first = self._begin(batch)
        elif batch.epoch == self.epoch:
            first = self._go_on(batch, opened.digest)
        else:
            first = self._new_epoch(batch)
        gap = gap_of(batch)
        self.epoch, self.seq, self.hash = batch.epoch, batch.seq, opened.digest if gap is None else gap.hash
        return first

    def _begin(self, batch: Batch) -> int:
        first = _first_number(batch)
        if first == 1 and batch.prev != NO_HASH:
            raise NotAsSealedError(
                "chain", "a first record that follows nothing", f"one that follows {batch.prev.hex()}"
            )
        return first

    def _go_on(self, batch: Batch, digest: bytes) -> int:
        wanted, first = self.seq + 1, _first_number(batch)
        if first > wanted:
            raise NotAsSealedError(
                "gap", f"record {wanted}", f"record {first}: {records_words(wanted, first - 1)} missing"
            )
        if first < wanted <= batch.seq:
            return wanted  # A gap record reaches back over what was written out before it took its place.
        if batch.seq == self.seq and digest != self.hash:
            text = f"another record {self.seq}: two histories under one identity (a store that was restored or copied)"
            raise NotAsSealedError("fork", f"record {wanted}", text)
        if first < wanted:
            raise NotAsSealedError("repeated", f"record {wanted}", f"record {first}, which stands before")
        if batch.prev != self.hash:
            raise NotAsSealedError(
                "chain", f"a record that follows {self.hash.hex()}", f"one that follows {batch.prev.hex()}"
            )
        return first

    def _new_epoch(self, batch: Batch) -> int:
        at = f"epoch {self.epoch} record {self.seq}"
        found = f"epoch {batch.epoch} record {batch.seq}"
        if batch.epoch < self.epoch:
            raise NotAsSealedError("order", f"what follows {at}", f"{found}, which is older")
        if _first_number(batch) != 1 or batch.prev != NO_HASH:
            raise NotAsSealedError("epoch", f"record 1 of a newer epoch, or what follows {at}", found)
        event = batch.events[0] if batch.events else None
        if event is None or event.kind != EPOCH_KIND:
            raise NotAsSealedError("epoch", f"a record that says why an epoch follows {at}", f"{found}, which does not")
        came = event.detail.get("from_epoch"), event.detail.get("from_seq")
        if came != (self.epoch, self.seq):
            raise NotAsSealedError(
                "epoch", f"an epoch that follows {at}", f"one that follows epoch {came[0]} record {came[1]}"
            )
        return 1


def _first_number(batch: Batch) -> int:
    """The first number a link stands for: its own, but for a gap record."""
    if not any(event.kind == GAP_KIND for event in batch.events):
        return batch.seq
    gap = gap_of(batch)
    if gap is None or batch.stream not in SHEDDABLE or gap.last != batch.seq or not 1 <= gap.first <= gap.last:
        raise NotAsSealedError(
            "gap", f"records of {batch.stream}, which are never shed", "a record that stands for others"
        )
    return gap.first


def records_words(first: int, last: int) -> str:
    """Numbers for a person."""
    return f"record {first}" if first == last else f"records {first}..{last}"
