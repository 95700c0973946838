"""From samples and events to the columns of a batch. Pure.

What devices say is cleaned here: a link that the fleet cannot decode would stop its stream for ever.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from agent.ledger.errors import UnsealableError
from agent.model.observation import FIRST_DATE_MS, PointValue, Quality
from agent.wire import envelope
from agent.wire.errors import MessageError
from agent.wire.local import LogEntry
from agent.wire.messages import (
    EVENTS_PER_BATCH_MAX,
    SAMPLES_PER_BATCH_MAX,
    SCHEMA,
    Batch,
    Event,
    StreamHead,
    Value,
    decode,
    encode,
)
from agent.wire.sealing import check_columns
from agent.wire.streams import GAP_KIND, gap_of

PAYLOAD_BYTES_MAX = 60_000
"""Far below an envelope's limit: a link also has to fit into a frame of the local protocol, several at a time."""
TEXT_LENGTH_MAX = 500
INTEGER_MAX = 2**63 - 1
SHED_KIND = "stream.shed"
"""What a gap record of an earlier epoch becomes in the next one."""


@dataclass(frozen=True, slots=True)
class Content:
    """The columns of one batch, not yet numbered. ``t0_ms`` is what the times of ``dt_ms`` and events count from."""

    t0_ms: int
    names: list[str]
    points: list[int]
    dt_ms: list[int]
    quality: list[tuple[int, int]]
    values: list[Value]
    events: list[Event]

    @property
    def records(self) -> int:
        """Samples and events."""
        return len(self.points) + len(self.events)

    @property
    def counted(self) -> int:
        """The records this stands for: an event for shed ones counts as all of them, should it be shed in turn."""
        shed = (event.detail.get("count") for event in self.events if event.kind == SHED_KIND)
        return self.records + sum(count - 1 for count in shed if isinstance(count, int))

    def halves(self) -> "tuple[Content, Content]":
        """Split what is too large for one link."""
        if self.events:
            middle = len(self.events) // 2
            return self._of_events(self.events[:middle]), self._of_events(self.events[middle:])
        middle = len(self.points) // 2
        return self._of_rows(0, middle), self._of_rows(middle, len(self.points))

    def _of_events(self, events: list[Event]) -> "Content":
        return Content(self.t0_ms, [], [], [], [], [], events)

    def _of_rows(self, start: int, end: int) -> "Content":
        quality = [(index - start, each) for index, each in self.quality if start <= index < end]
        kept = self.points[start:end]
        place = {old: new for new, old in enumerate(dict.fromkeys(kept))}
        names = [self.names[old] for old in place]
        points = [place[old] for old in kept]
        return Content(self.t0_ms, names, points, self.dt_ms[start:end], quality, self.values[start:end], [])


def of_samples(samples: Sequence[PointValue], t0_ms: int, mono_ms: int = 0) -> Iterator[Content]:
    """Put samples into columns, at most SAMPLES_PER_BATCH_MAX each.

    Args:
        mono_ms: monotonic time at ``t0_ms``.
    """
    for start in range(0, len(samples), SAMPLES_PER_BATCH_MAX):
        places: dict[str, int] = {}
        content = Content(t0_ms, [], [], [], [], [], [])
        for index, sample in enumerate(samples[start : start + SAMPLES_PER_BATCH_MAX]):
            place = places.setdefault(sample.point, len(places))
            content.points.append(place)
            content.dt_ms.append(_dt_ms(sample.source_ms, t0_ms, mono_ms))
            if sample.quality is not Quality.GOOD:
                content.quality.append((index, int(sample.quality)))
            content.values.append(_clean(sample.value))
        content.names.extend(_clean_text(name, 120) for name in places)
        yield content


def _dt_ms(source_ms: int, t0_ms: int, mono_ms: int) -> int:
    """How long before the seal something was read; what was read without knowing the time is dated by monotonic time."""
    was_known, is_known = source_ms >= FIRST_DATE_MS, t0_ms >= FIRST_DATE_MS
    if was_known == is_known:
        return source_ms - t0_ms
    return 0 if was_known else min(0, source_ms - mono_ms)  # The time was lost meanwhile, or it was learnt.


def of_events(events: Sequence[Event], t0_ms: int) -> Iterator[Content]:
    """Put events into contents of at most EVENTS_PER_BATCH_MAX."""
    for start in range(0, len(events), EVENTS_PER_BATCH_MAX):
        cleaned = [_clean_event(event) for event in events[start : start + EVENTS_PER_BATCH_MAX]]
        yield Content(t0_ms, [], [], [], [], [], cleaned)


def batch_of(sealed: bytes) -> Batch:
    """Read one of our own links, unverified.

    Raises:
        WireError: it is damaged.
    """
    return decode(envelope.parse(sealed).payload, Batch)


def content_again(batch: Batch) -> Content:
    """What to seal under a new number; a gap's numbers mean nothing there, its count does."""
    content = _of_batch(batch)
    gap = gap_of(batch)
    if gap is None:
        return content
    event = Event(0, SHED_KIND, "", "", batch.events[0].text, {"count": gap.count, "reason": gap.reason})
    assert batch.events[0].kind == GAP_KIND
    return Content(content.t0_ms, [], [], [], [], [], [event])


def entry_of(stream: str, batch: Batch, event: Event) -> LogEntry:
    """One line of the log."""
    t_ms = max(0, batch.t0_ms + event.dt_ms)
    words = (event.kind, event.equipment, event.rule, event.text, event.detail)
    return LogEntry(t_ms, stream, batch.seq, *words, batch.clock)


@dataclass(frozen=True, slots=True)
class Stamp:
    """By which clock the times of a link are.

    Args:
        mono_ms: monotonic time at its ``t0_ms``. clock: ClockQuality. boot: names what ``mono_ms`` counts from.
    """

    mono_ms: int
    clock: int
    boot: bytes


def stamp_of(batch: Batch) -> Stamp:
    """The stamp a link was sealed with."""
    return Stamp(batch.mono_ms, batch.clock, batch.boot)


def newest_entries(links: Iterable[tuple[str, bytes]], equipment: str, since_ms: int, limit: int) -> list[LogEntry]:
    """The newest events of some links, newest last.

    Args:
        links: stream and envelope, newest first. equipment: empty for all. since_ms: leaves out what is older.
    """
    found: list[LogEntry] = []
    for stream, sealed in links:
        batch = batch_of(sealed)
        entries = (entry_of(stream, batch, event) for event in reversed(batch.events))
        found += (each for each in entries if equipment in ("", each.equipment) and each.t_ms >= since_ms)
        if len(found) >= limit:
            break
    return found[:limit][::-1]


def payload_of(content: Content, gateway: str, head: StreamHead, stamp: Stamp) -> bytes:
    """Encode the link that follows ``head``.

    Raises:
        UnsealableError: the receiver would refuse it.
    """
    batch = Batch(
        schema=SCHEMA,
        gateway=gateway,
        stream=head.stream,
        epoch=head.epoch,
        seq=head.seq + 1,
        prev=head.hash,
        t0_ms=content.t0_ms,
        mono_ms=stamp.mono_ms,
        clock=stamp.clock,
        names=content.names,
        points=content.points,
        dt_ms=content.dt_ms,
        quality=content.quality,
        values=content.values,
        events=content.events,
        boot=stamp.boot,
    )
    try:
        payload = encode(batch)
        check_columns(decode(payload, Batch))
    except (MessageError, msgspec.MsgspecError, OverflowError, UnicodeError, TypeError) as error:
        raise UnsealableError(f"link {batch.seq} of {batch.stream} cannot be sealed: {error}") from error
    return payload


def _clean(value: Value) -> Value:
    if isinstance(value, str):
        return _clean_text(value, TEXT_LENGTH_MAX)
    if isinstance(value, int) and not -INTEGER_MAX <= value <= INTEGER_MAX:
        return float(value) if abs(value) < 2**1000 else None
    return value


def _clean_text(text: str, length: int) -> str:
    """Cut to ``length`` and replace what UTF-8 cannot carry."""
    if text.isascii() and len(text) <= length:
        return text
    return text[:length].encode("utf-8", "replace").decode("utf-8")


def _clean_event(event: Event) -> Event:
    detail = {_clean_text(name, 120): _clean(value) for name, value in event.detail.items()}
    text = _clean_text(event.text, TEXT_LENGTH_MAX)
    return Event(event.dt_ms, event.kind, event.equipment, event.rule[:10], text, detail)


def _of_batch(batch: Batch) -> Content:
    """Take the columns out of a batch again, to seal them under another number."""
    return Content(batch.t0_ms, batch.names, batch.points, batch.dt_ms, [*batch.quality], batch.values, batch.events)
