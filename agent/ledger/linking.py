"""From samples and events to the columns of a batch. Pure.

What devices say is cleaned here: a link that the fleet cannot decode would stop its stream for ever.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from agent.ledger.errors import UnsealableError
from agent.model.observation import PointValue, Quality
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


def of_samples(samples: Sequence[PointValue], t0_ms: int) -> Iterator[Content]:
    """Put samples into columns, at most SAMPLES_PER_BATCH_MAX each."""
    for start in range(0, len(samples), SAMPLES_PER_BATCH_MAX):
        places: dict[str, int] = {}
        content = Content(t0_ms, [], [], [], [], [], [])
        for index, sample in enumerate(samples[start : start + SAMPLES_PER_BATCH_MAX]):
            place = places.setdefault(sample.point, len(places))
            content.points.append(place)
            content.dt_ms.append(sample.source_ms - t0_ms)
            if sample.quality is not Quality.GOOD:
                content.quality.append((index, int(sample.quality)))
            content.values.append(_clean(sample.value))
        content.names.extend(_clean_text(name, 120) for name in places)
        yield content


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
    event = Event(0, "stream.shed", "", "", batch.events[0].text, {"count": gap.count, "reason": gap.reason})
    assert batch.events[0].kind == GAP_KIND
    return Content(content.t0_ms, [], [], [], [], [], [event])


def entry_of(stream: str, batch: Batch, event: Event) -> LogEntry:
    """One line of the log."""
    t_ms = max(0, batch.t0_ms + event.dt_ms)
    return LogEntry(t_ms, stream, batch.seq, event.kind, event.equipment, event.rule, event.text, event.detail)


def payload_of(content: Content, gateway: str, head: StreamHead, mono_ms: int, clock: int) -> bytes:
    """Encode the link that follows ``head``.

    Args:
        mono_ms: monotonic time at ``content.t0_ms``. clock: ClockQuality.

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
        mono_ms=mono_ms,
        clock=clock,
        names=content.names,
        points=content.points,
        dt_ms=content.dt_ms,
        quality=content.quality,
        values=content.values,
        events=content.events,
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
