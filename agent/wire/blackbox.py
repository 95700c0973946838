"""The files of sealed links as they are, for somebody who has nothing but the file. Pure.

Black box   one stream: ``MAGIC | block(header) | SHA-256(header) | block(link) ... | u32 0 | block(end)``, a block being
            a big-endian u32 length and that many bytes. The same links under the same key list give the same bytes.
Journal     several streams of one gateway: ``JOURNAL_MAGIC | block(journal header)``, then a black box of each stream.
Source      docs/wire.md §10.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.errors import WireError
from agent.wire.messages import HASH_BYTES, SCHEMA, U32, U63, Hash, Id, encode
from agent.wire.streams import Gap
from agent.wire.topics import STREAMS

MAGIC = b"armoire black box 1\n"
JOURNAL_MAGIC = b"armoire journal 1\n"
LENGTH_BYTES = 4
HEADER_BYTES_MAX = 2**20
"""A key list is an envelope set of at most 262,144 bytes."""
EPOCHS_MAX = 10_000
"""An epoch begins once a minute at most: a week of nothing but forks."""
END_BYTES_MAX = 2**20


class BlackBoxError(WireError):
    """Not a black box file, or torn. What was read before still counts."""

    reason = "black-box"


class Header(Struct, array_like=True, frozen=True):
    """Whose records these are.

    Args:
        key_list: as the officers sealed it, so that the file can be checked alone; the roots decide whether to believe it.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    city: Id
    gateway: Id
    stream: Id
    key_list: Annotated[bytes, Meta(max_length=HEADER_BYTES_MAX)]


class JournalHeader(Struct, array_like=True, frozen=True):
    """Whose streams follow, and in which order: every part says it again, so a part cannot be lost unseen."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    city: Id
    gateway: Id
    streams: Annotated[list[Id], Meta(min_length=1, max_length=len(STREAMS))]

    @property
    def bytes(self) -> bytes:
        """How a journal file starts."""
        return JOURNAL_MAGIC + block(encode(self))


class Span(Struct, array_like=True, frozen=True):
    """The links of one epoch: the first and last number, and the hash of the last."""

    epoch: U32
    first: U63
    last: U63
    hash: Hash


class End(Struct, array_like=True, frozen=True):
    """Where the file ends, so that a torn tail shows.

    Args:
        digest: SHA-256 of everything before the end mark.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    records: U63
    epochs: Annotated[list[Span], Meta(max_length=EPOCHS_MAX)]
    digest: Hash


class Source(Protocol):
    """An open file; short reads mean its end."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes."""
        ...


class Spans:
    """The epochs seen so far."""

    def __init__(self) -> None:
        self._spans: list[Span] = []

    @property
    def all(self) -> Sequence[Span]:
        """Oldest first."""
        return self._spans

    def add(self, epoch: int, first: int, last: int, link_hash: bytes) -> None:
        """Take in the next link; ``first`` differs from ``last`` for a gap record only.

        Raises:
            BlackBoxError: more epochs than the file format carries.
        """
        if self._spans and self._spans[-1].epoch == epoch:
            self._spans[-1] = Span(epoch, min(first, self._spans[-1].first), last, link_hash)
            return
        if len(self._spans) >= EPOCHS_MAX:
            raise BlackBoxError(f"more than {EPOCHS_MAX} epochs")
        self._spans.append(Span(epoch, first, last, link_hash))


class Writer:
    """The bytes of a file, piece by piece; holds no more than the epochs."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self._digest = sha256()
        self._spans = Spans()
        self.records = 0
        self.bytes = 0

    @property
    def spans(self) -> Sequence[Span]:
        """The epochs written."""
        return self._spans.all

    def begin(self) -> bytes:
        """How the file starts."""
        data = encode(self.header)
        return self._take(MAGIC + block(data) + sha256(data).digest())

    def link(self, epoch: int, seq: int, sealed: bytes, gap: Gap | None = None) -> bytes:
        """One link.

        Args:
            gap: what it stands for, if it is a gap record.

        Raises:
            BlackBoxError: it does not fit the format.
        """
        if not 0 < len(sealed) <= ENVELOPE_BYTES_MAX:
            raise BlackBoxError(f"record {seq} of epoch {epoch} has {len(sealed)} bytes")
        if gap is None:
            self._spans.add(epoch, seq, seq, sha256(sealed).digest())
        else:
            self._spans.add(epoch, gap.first, gap.last, gap.hash)
        self.records += 1
        return self._take(block(sealed))

    def end(self) -> bytes:
        """How the file ends."""
        data = end_mark(self.records, self._spans.all, self._digest.digest())
        self.bytes += len(data)
        return data

    def _take(self, data: bytes) -> bytes:
        self._digest.update(data)
        self.bytes += len(data)
        return data


def block(data: bytes) -> bytes:
    """A length and the bytes."""
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


def end_mark(records: int, spans: Sequence[Span], digest: bytes) -> bytes:
    """The end of a file with these records."""
    assert len(digest) == HASH_BYTES
    return bytes(LENGTH_BYTES) + block(encode(End(SCHEMA, records, [*spans], digest)))
