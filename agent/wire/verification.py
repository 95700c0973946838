"""Whether the records of a black box file are what the guard sealed, all of them, in order. Pure but for the reads.

Nothing in the file is believed before its signature; the first thing that is wrong ends the reading, because nothing
behind it hangs on the chain any more. What was verified before it stays verified.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256

from agent.model.identity import CityId, GatewayId, is_id
from agent.wire.blackbox import (
    END_BYTES_MAX,
    HEADER_BYTES_MAX,
    LENGTH_BYTES,
    MAGIC,
    BlackBoxError,
    End,
    Header,
    Source,
    Span,
    Spans,
    block,
    end_mark,
)
from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.errors import KeyListError, MessageError, TrustError, WireError
from agent.wire.messages import HASH_BYTES, Batch, decode, encode
from agent.wire.roots import read_bundle
from agent.wire.sealing import OpenedBatch, open_batch
from agent.wire.streams import GAP_KIND, NO_HASH, SHEDDABLE, gap_of
from agent.wire.topics import STREAMS, Topic, up
from agent.wire.trust import KeyList, KeyRing

EPOCH_KIND = "stream.epoch"
TEXT_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """The first thing that is wrong.

    Args:
        place: ``header``, ``record`` or ``end``.
        kind: one word for scripts: truncated, magic, header, keys, length, envelope, signature, ..., gap, repeated,
            order, chain, epoch, end, trailing.
        number: the record's place in the file, from 1; 0 for the header, one more than the records for the end.
        offset: where it begins in the file.
        epoch, seq: the number the record should have, 0 where that is not known.
    """

    place: str
    kind: str
    number: int
    offset: int
    epoch: int
    seq: int
    expected: str
    found: str


@dataclass(slots=True)
class Examined:
    """What was verified, and what ended it.

    Args:
        records: links verified. events: events in them. bytes: read so far.
        kids: whose signatures -> how many.
        first_ms, last_ms: Unix times of the first and last link, by the gateway's clock.
        is_own_word: the keys come from the file itself and nobody vouches for them.
    """

    header: Header | None = None
    records: int = 0
    events: int = 0
    bytes: int = 0
    kids: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    spans: Spans = field(default_factory=Spans)
    first_ms: int = 0
    last_ms: int = 0
    is_own_word: bool = False
    finding: Finding | None = None


class _NotAsSealedError(WireError):
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
            first = self._go_on(batch)
        else:
            first = self._new_epoch(batch)
        gap = gap_of(batch)
        self.epoch, self.seq, self.hash = batch.epoch, batch.seq, opened.digest if gap is None else gap.hash
        return first

    def _begin(self, batch: Batch) -> int:
        first = _first_number(batch)
        if first == 1 and batch.prev != NO_HASH:
            raise _NotAsSealedError(
                "chain", "a first record that follows nothing", f"one that follows {batch.prev.hex()}"
            )
        return first

    def _go_on(self, batch: Batch) -> int:
        wanted, first = self.seq + 1, _first_number(batch)
        if first > wanted:
            raise _NotAsSealedError("gap", f"record {wanted}", f"record {first}: {_records(wanted, first - 1)} missing")
        if first < wanted:
            raise _NotAsSealedError("repeated", f"record {wanted}", f"record {first}, which stands before")
        if batch.prev != self.hash:
            raise _NotAsSealedError(
                "chain", f"a record that follows {self.hash.hex()}", f"one that follows {batch.prev.hex()}"
            )
        return first

    def _new_epoch(self, batch: Batch) -> int:
        at = f"epoch {self.epoch} record {self.seq}"
        found = f"epoch {batch.epoch} record {batch.seq}"
        if batch.epoch < self.epoch:
            raise _NotAsSealedError("order", f"what follows {at}", f"{found}, which is older")
        if _first_number(batch) != 1 or batch.prev != NO_HASH:
            raise _NotAsSealedError("epoch", f"record 1 of a newer epoch, or what follows {at}", found)
        event = batch.events[0] if batch.events else None
        if event is None or event.kind != EPOCH_KIND:
            raise _NotAsSealedError(
                "epoch", f"a record that says why an epoch follows {at}", f"{found}, which does not"
            )
        came = event.detail.get("from_epoch"), event.detail.get("from_seq")
        if came != (self.epoch, self.seq):
            raise _NotAsSealedError(
                "epoch", f"an epoch that follows {at}", f"one that follows epoch {came[0]} record {came[1]}"
            )
        return 1


def verify(source: Source, ring: KeyRing | None = None, progress: Callable[[int], None] | None = None) -> Examined:
    """Examine a file to its end, or to the first thing that is wrong.

    Args:
        source: open at its beginning; read in pieces of at most one record.
        ring: the keys to believe; None believes the key list inside the file, which proves only that the file agrees
            with itself.
        progress: told how many bytes were read since.

    Raises:
        OSError: the file cannot be read.
    """
    examined = Examined()
    reading = _Reading(source, examined, progress)
    place, chain = "header", Chain()
    try:
        header = reading.header()
        keys = _keys(header, ring)
        examined.header, examined.is_own_word = header, ring is None
        topic = up(CityId(header.city), GatewayId(header.gateway), header.stream)
        place = "record"
        while (sealed := reading.record()) is not None:  # Ends with the file; every turn reads.
            _take(examined, chain, sealed, keys, topic)
        place = "end"
        reading.end()
    except _NotAsSealedError as problem:
        number = 0 if place == "header" else examined.records + 1
        epoch, seq = (chain.epoch, chain.next_seq) if place == "record" else (0, 0)
        examined.finding = Finding(
            place, problem.kind, number, reading.block_at, epoch, seq, problem.expected, problem.found
        )
    return examined


def unvouched(sealed: bytes) -> KeyRing:
    """The keys of a sealed key list that no root has vouched for: good for saying whose they claim to be.

    Raises:
        WireError, KeyListError: not a key list.
    """
    return KeyRing(decode(read_bundle(sealed).key_list.payload, KeyList), sealed)


def _take(examined: Examined, chain: Chain, sealed: bytes, keys: KeyRing, topic: Topic) -> None:
    try:
        opened = open_batch(keys, sealed, topic, None)
    except (WireError, TrustError) as error:
        raise _NotAsSealedError(
            error.reason, f"a record that {topic.gateway} sealed for {topic.message_class}", str(error)
        ) from error
    first = chain.follow(opened)
    batch = opened.batch
    try:
        examined.spans.add(batch.epoch, first, batch.seq, chain.hash)
    except BlackBoxError as error:
        raise _NotAsSealedError("epoch", "a file with fewer epochs", str(error)) from error
    if not examined.records:
        examined.first_ms = batch.t0_ms
    if opened.kid not in examined.kids:
        entry = next(each for each in keys.entries() if each.kid == opened.kid)
        examined.fingerprints[opened.kid] = sha256(entry.public_key).hexdigest()
    examined.last_ms = batch.t0_ms
    examined.records += 1
    examined.events += len(batch.events)
    examined.kids[opened.kid] = examined.kids.get(opened.kid, 0) + 1


class _Reading:
    """Takes a file apart; nothing larger than one block is ever held."""

    def __init__(self, source: Source, examined: Examined, progress: Callable[[int], None] | None) -> None:
        self._source = source
        self._examined = examined
        self._progress = progress
        self._digest = sha256()
        self._before = b""  # SHA-256 of everything before the block last begun.
        self.block_at = 0

    def header(self) -> Header:
        magic = self._bytes(len(MAGIC), "the name of the format")
        if magic != MAGIC:
            raise _NotAsSealedError("magic", f"a file that begins with {MAGIC.decode().strip()!r}", repr(magic))
        data = self._block(HEADER_BYTES_MAX, "a header")
        if self._bytes(HASH_BYTES, "the header's checksum") != sha256(data).digest():
            raise _NotAsSealedError("header", "a header as its checksum says", "another one")
        try:
            header = decode(data, Header)
        except MessageError as error:
            raise _NotAsSealedError("header", "a header", str(error)) from error
        ids = is_id(header.city) and is_id(header.gateway) and header.gateway != "fleet"
        if not ids or header.stream not in STREAMS or encode(header) != data:
            raise _NotAsSealedError(
                "header", "city, gateway and stream", f"{header.city!r} {header.gateway!r} {header.stream!r}"
            )
        return header

    def record(self) -> bytes | None:
        """The next link, None at the end mark."""
        self.block_at, self._before = self._examined.bytes, self._digest.digest()
        length = self._length(f"record {self._examined.records + 1} or the end mark")
        if not length:
            return None
        if length > ENVELOPE_BYTES_MAX:
            raise _NotAsSealedError(
                "length", f"a record of at most {ENVELOPE_BYTES_MAX} bytes", f"one of {length} bytes"
            )
        return self._bytes(length, f"{length} bytes of record {self._examined.records + 1}")

    def end(self) -> None:
        examined = self._examined
        should = end_mark(examined.records, examined.spans.all, self._before)[LENGTH_BYTES:]
        data = self._block(END_BYTES_MAX, "the end mark")
        if block(data) != should:
            raise _NotAsSealedError("end", f"an end mark after {_records(1, examined.records)}", _end_words(data))
        if more := self._source.read(1):
            examined.bytes += len(more)
            raise _NotAsSealedError("trailing", "nothing behind the end mark", "more bytes")

    def _block(self, limit: int, what: str) -> bytes:
        length = self._length(what)
        if not 0 < length <= limit:
            raise _NotAsSealedError("length", f"{what} of 1..{limit} bytes", f"one of {length} bytes")
        return self._bytes(length, f"{length} bytes of {what}")

    def _length(self, what: str) -> int:
        return int.from_bytes(self._bytes(LENGTH_BYTES, what), "big")

    def _bytes(self, size: int, what: str) -> bytes:
        data = self._source.read(size)
        self._examined.bytes += len(data)
        self._digest.update(data)
        if self._progress is not None:
            self._progress(len(data))
        if len(data) < size:
            raise _NotAsSealedError("truncated", what, "the end of the file")
        return data


def _keys(header: Header, ring: KeyRing | None) -> KeyRing:
    if ring is not None:
        if ring.city != header.city:
            raise _NotAsSealedError(
                "keys", f"records of {ring.city}, whose keys were given", f"records of {header.city}"
            )
        return ring
    try:
        ring = unvouched(header.key_list)
    except (WireError, KeyListError) as error:
        raise _NotAsSealedError("keys", "a key list in the header", str(error)) from error
    if ring.city != header.city:
        raise _NotAsSealedError("keys", f"a key list of {header.city}", f"one of {ring.city}")
    return ring


def _first_number(batch: Batch) -> int:
    """The first number a link stands for: its own, but for a gap record."""
    if not any(event.kind == GAP_KIND for event in batch.events):
        return batch.seq
    gap = gap_of(batch)
    if gap is None or batch.stream not in SHEDDABLE or gap.last != batch.seq or not 1 <= gap.first <= gap.last:
        raise _NotAsSealedError(
            "gap", f"records of {batch.stream}, which are never shed", "a record that stands for others"
        )
    return gap.first


def _records(first: int, last: int) -> str:
    return f"record {first}" if first == last else f"records {first}..{last}"


def _end_words(data: bytes) -> str:
    try:
        end = decode(data, End)
    except MessageError as error:
        return str(error)
    spans = ", ".join(f"{span.epoch}: {span.first}..{span.last}" for span in end.epochs[:5])
    return f"one that says {end.records} records in epochs {spans or 'none'}, and another checksum or spelling"


def span_words(span: Span) -> str:
    """One epoch for a person."""
    return f"epoch {span.epoch}: {_records(span.first, span.last)}"
