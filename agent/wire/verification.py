"""Whether the records of an exported file are what the gateway sealed, all of them, in order. Pure but for the reads.

Nothing in the file is believed before its signature; the first thing that is wrong ends the reading, because nothing
behind it hangs on the chain any more. What was verified before it stays verified.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256

from agent.model.identity import CityId, GatewayId, is_id
from agent.wire.blackbox import (
    END_BYTES_MAX,
    HEADER_BYTES_MAX,
    JOURNAL_MAGIC,
    LENGTH_BYTES,
    MAGIC,
    BlackBoxError,
    End,
    Header,
    JournalHeader,
    Source,
    Span,
    Spans,
    block,
    end_mark,
)
from agent.wire.chain import Chain, NotAsSealedError, records_words
from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.errors import KeyListError, MessageError, TrustError, WireError
from agent.wire.messages import HASH_BYTES, decode, encode
from agent.wire.roots import read_bundle
from agent.wire.sealing import OpenedBatch, open_batch
from agent.wire.streams import Gap, gap_of
from agent.wire.topics import STREAMS, Topic, up
from agent.wire.trust import KeyList, KeyRing

GAPS_NAMED_MAX = 20
JOURNAL_HEADER_BYTES_MAX = 1_000
Progress = Callable[[int], None] | None
Watch = Callable[[OpenedBatch], None] | None


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
        gaps: gap records among them, the first GAPS_NAMED_MAX by name; gap_records: how many; shed: samples and events
            that the gateway had to let go of, as they say.
        first_ms, last_ms: Unix times of the first and last link, by the gateway's clock.
        is_own_word: the keys come from the file itself and nobody vouches for them.
    """

    header: Header | None = None
    records: int = 0
    events: int = 0
    gap_records: int = 0
    shed: int = 0
    gaps: list[Gap] = field(default_factory=list)
    bytes: int = 0
    kids: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, str] = field(default_factory=dict)
    spans: Spans = field(default_factory=Spans)
    first_ms: int = 0
    last_ms: int = 0
    is_own_word: bool = False
    finding: Finding | None = None


@dataclass(frozen=True, slots=True)
class ExaminedFile:
    """What was verified of a whole file.

    Args:
        journal: how a file of several streams begins; None for a black box, which has one part.
        parts: a stream each, as far as the file was read; only the last one can have a finding.
        finding: the first thing that is wrong, its offset counted from the file's beginning.
    """

    journal: JournalHeader | None
    parts: list[Examined]
    finding: Finding | None


def verify_file(
    source: Source, ring: KeyRing | None = None, progress: Progress = None, watch: Watch = None
) -> ExaminedFile:
    """Examine a black box or a journal file; arguments and errors as ``verify``."""
    begin = source.read(len(JOURNAL_MAGIC))
    if begin != JOURNAL_MAGIC:
        examined = verify(_Continued(begin, source), ring, progress, watch)
        return ExaminedFile(None, [examined], examined.finding)
    try:
        journal, offset = _journal_header(source)
    except NotAsSealedError as problem:
        finding = Finding("header", problem.kind, 0, 0, 0, 0, problem.expected, problem.found)
        return ExaminedFile(None, [Examined()], finding)
    parts: list[Examined] = []
    for stream in journal.streams:
        examined = _part(source, ring, progress, watch, due=(journal.city, journal.gateway, stream))
        parts.append(examined)
        if examined.finding is not None:
            return ExaminedFile(journal, parts, replace(examined.finding, offset=examined.finding.offset + offset))
        offset += examined.bytes
    finding_behind = _trailing(source, parts[-1])
    return ExaminedFile(journal, parts, finding_behind and replace(finding_behind, offset=offset))


def verify(source: Source, ring: KeyRing | None = None, progress: Progress = None, watch: Watch = None) -> Examined:
    """Examine a black box to its end, or to the first thing that is wrong.

    Args:
        source: open at its beginning; read in pieces of at most one record.
        ring: the keys to believe; None believes the key list inside the file, which proves only that the file agrees
            with itself.
        progress: told how many bytes were read since. watch: told of every link that is verified.

    Raises:
        OSError: the file cannot be read.
    """
    examined = _part(source, ring, progress, watch, due=None)
    if examined.finding is None:
        examined.finding = _trailing(source, examined)
    return examined


def _part(
    source: Source, ring: KeyRing | None, progress: Progress, watch: Watch, due: tuple[str, str, str] | None
) -> Examined:
    """One black box, whatever follows it.

    Args:
        due: city, gateway and stream it must be of.
    """
    examined = Examined()
    reading = _Reading(source, examined, progress)
    place, chain = "header", Chain()
    try:
        header = reading.header()
        if due is not None and due != (header.city, header.gateway, header.stream):
            raise NotAsSealedError("header", f"the part {due}", f"the part {_of(header)}")
        keys = _keys(header, ring)
        examined.header, examined.is_own_word = header, ring is None
        topic = up(CityId(header.city), GatewayId(header.gateway), header.stream)
        place = "record"
        while (sealed := reading.record()) is not None:  # Ends with the file; every turn reads.
            opened = _take(examined, chain, sealed, keys, topic)
            if watch is not None:
                watch(opened)
        place = "end"
        reading.end()
    except NotAsSealedError as problem:
        number = 0 if place == "header" else examined.records + 1
        epoch, seq = (chain.epoch, chain.next_seq) if place == "record" else (0, 0)
        examined.finding = Finding(
            place, problem.kind, number, reading.block_at, epoch, seq, problem.expected, problem.found
        )
    return examined


def _trailing(source: Source, examined: Examined) -> Finding | None:
    more = source.read(1)
    if not more:
        return None
    number, at = examined.records + 1, examined.bytes
    examined.bytes += len(more)
    return Finding("end", "trailing", number, at, 0, 0, "nothing behind the end mark", "more bytes")


def _journal_header(source: Source) -> tuple[JournalHeader, int]:
    """The header, and how many bytes stand before the first part."""
    length = int.from_bytes(source.read(LENGTH_BYTES), "big")
    if not 0 < length <= JOURNAL_HEADER_BYTES_MAX:
        raise NotAsSealedError("length", f"a header of 1..{JOURNAL_HEADER_BYTES_MAX} bytes", f"one of {length} bytes")
    data = source.read(length)
    try:
        header = decode(data, JournalHeader)
    except MessageError as error:
        raise NotAsSealedError("header", "a journal's header", str(error)) from error
    is_sound = is_id(header.city) and is_id(header.gateway) and len(set(header.streams)) == len(header.streams)
    if not is_sound or not set(header.streams) <= set(STREAMS) or encode(header) != data:
        raise NotAsSealedError("header", "city, gateway and streams, each once", repr(data))
    return header, len(header.bytes)


class _Continued:
    """A source some bytes of which were read already."""

    def __init__(self, begin: bytes, source: Source) -> None:
        self._begin, self._source = begin, source

    def read(self, size: int, /) -> bytes:
        taken, self._begin = self._begin[:size], self._begin[size:]
        return taken + self._source.read(size - len(taken)) if len(taken) < size else taken


def unvouched(sealed: bytes) -> KeyRing:
    """The keys of a sealed key list that no root has vouched for: good for saying whose they claim to be.

    Raises:
        WireError, KeyListError: not a key list.
    """
    return KeyRing(decode(read_bundle(sealed).key_list.payload, KeyList), sealed)


def _take(examined: Examined, chain: Chain, sealed: bytes, keys: KeyRing, topic: Topic) -> OpenedBatch:
    try:
        opened = open_batch(keys, sealed, topic, None)
    except (WireError, TrustError) as error:
        raise NotAsSealedError(
            error.reason, f"a record that {topic.gateway} sealed for {topic.message_class}", str(error)
        ) from error
    first = chain.follow(opened)
    batch = opened.batch
    try:
        examined.spans.add(batch.epoch, first, batch.seq, chain.hash)
    except BlackBoxError as error:
        raise NotAsSealedError("epoch", "a file with fewer epochs", str(error)) from error
    if not examined.records:
        examined.first_ms = batch.t0_ms
    if opened.kid not in examined.kids:
        entry = next(each for each in keys.entries() if each.kid == opened.kid)
        examined.fingerprints[opened.kid] = sha256(entry.public_key).hexdigest()
    examined.last_ms = batch.t0_ms
    examined.records += 1
    if (gap := gap_of(batch)) is not None:
        examined.gap_records += 1
        examined.shed += max(0, gap.count)
        examined.gaps += [gap][: GAPS_NAMED_MAX - len(examined.gaps)]
    examined.events += len(batch.events)
    examined.kids[opened.kid] = examined.kids.get(opened.kid, 0) + 1
    return opened


class _Reading:
    """Takes a file apart; nothing larger than one block is ever held."""

    def __init__(self, source: Source, examined: Examined, progress: Progress) -> None:
        self._source = source
        self._examined = examined
        self._progress = progress
        self._digest = sha256()
        self._before = b""  # SHA-256 of everything before the block last begun.
        self.block_at = 0

    def header(self) -> Header:
        magic = self._bytes(len(MAGIC), "the name of the format")
        if magic != MAGIC:
            raise NotAsSealedError("magic", f"a file that begins with {MAGIC.decode().strip()!r}", repr(magic))
        data = self._block(HEADER_BYTES_MAX, "a header")
        if self._bytes(HASH_BYTES, "the header's checksum") != sha256(data).digest():
            raise NotAsSealedError("header", "a header as its checksum says", "another one")
        try:
            header = decode(data, Header)
        except MessageError as error:
            raise NotAsSealedError("header", "a header", str(error)) from error
        ids = is_id(header.city) and is_id(header.gateway) and header.gateway != "fleet"
        if not ids or header.stream not in STREAMS or encode(header) != data:
            raise NotAsSealedError("header", "city, gateway and stream", _of(header))
        return header

    def record(self) -> bytes | None:
        """The next link, None at the end mark."""
        self.block_at, self._before = self._examined.bytes, self._digest.digest()
        length = self._length(f"record {self._examined.records + 1} or the end mark")
        if not length:
            return None
        if length > ENVELOPE_BYTES_MAX:
            raise NotAsSealedError(
                "length", f"a record of at most {ENVELOPE_BYTES_MAX} bytes", f"one of {length} bytes"
            )
        return self._bytes(length, f"{length} bytes of record {self._examined.records + 1}")

    def end(self) -> None:
        examined = self._examined
        should = end_mark(examined.records, examined.spans.all, self._before)[LENGTH_BYTES:]
        data = self._block(END_BYTES_MAX, "the end mark")
        if block(data) != should:
            raise NotAsSealedError("end", f"an end mark after {records_words(1, examined.records)}", _end_words(data))

    def _block(self, limit: int, what: str) -> bytes:
        length = self._length(what)
        if not 0 < length <= limit:
            raise NotAsSealedError("length", f"{what} of 1..{limit} bytes", f"one of {length} bytes")
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
            raise NotAsSealedError("truncated", what, "the end of the file")
        return data


def _keys(header: Header, ring: KeyRing | None) -> KeyRing:
    if ring is not None:
        if ring.city != header.city:
            raise NotAsSealedError(
                "keys", f"records of {ring.city}, whose keys were given", f"records of {header.city}"
            )
        return ring
    try:
        ring = unvouched(header.key_list)
    except (WireError, KeyListError) as error:
        raise NotAsSealedError("keys", "a key list in the header", str(error)) from error
    if ring.city != header.city:
        raise NotAsSealedError("keys", f"a key list of {header.city}", f"one of {ring.city}")
    return ring


def _of(header: Header) -> str:
    return str((header.city, header.gateway, header.stream))


def _end_words(data: bytes) -> str:
    try:
        end = decode(data, End)
    except MessageError as error:
        return str(error)
    spans = ", ".join(f"{span.epoch}: {span.first}..{span.last}" for span in end.epochs[:5])
    return f"one that says {end.records} records in epochs {spans or 'none'}, and another checksum or spelling"


def span_words(span: Span) -> str:
    """One epoch for a person."""
    return f"epoch {span.epoch}: {records_words(span.first, span.last)}"
