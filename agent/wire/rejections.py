"""What arrived and was not believed: counted by reason, told once in a while, and judged no faster than that. Sans-IO.

Gateway and fleet manager each keep one. A signature costs 0.1 ms to check, so ten thousand forged messages a second would
fill a processor, and a record of each would fill the log. A topic that brings that many is judged slowly from then on;
the other topics are judged as ever. What is not judged comes again, if it was good: senders repeat until acknowledged.
"""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field

JUDGED_AT_ONCE = 200
"""Rejections in a row that cost a topic nothing. A gateway whose key was replaced brings 16 a second and stream."""
JUDGED_PER_S = 20
"""What a topic beyond that is allowed."""
TELL_PERIOD_MS = 60_000
"""Between two records about one topic."""
TOPICS_MAX = 10_000
"""Topics remembered; a city has eight for each of its gateways. Those longest silent are forgotten first."""
THROTTLED = "throttled"


@dataclass(frozen=True, slots=True)
class Notice:
    """What to record about one topic.

    Args:
        counts: by reason, since the last notice. example: what was wrong with the newest.
    """

    topic: str
    counts: dict[str, int]
    example: str

    @property
    def text(self) -> str:
        """For a person."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))
        return f"{self.topic or 'no topic of ours'}: not believed: {reasons}; the last one: {self.example}"[:500]


@dataclass(slots=True)
class _Place:
    """One topic.

    Args:
        tokens: rejections it may still bring before it is judged slowly.
    """

    at_ms: int
    tokens: float = JUDGED_AT_ONCE
    told_ms: int | None = None
    untold: Counter[str] = field(default_factory=Counter)
    example: str = ""


class Rejections:
    """One receiver's. ``now_ms`` may be any clock; where it goes back, nothing is earned."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._untold: set[str] = set()

    def may_judge(self, topic: str, now_ms: int) -> bool:
        """False, and counted, if this topic has brought too much that was not believed."""
        place = self._places.get(topic)
        if place is None:
            return True
        earned = max(0, now_ms - place.at_ms) * JUDGED_PER_S / 1000
        place.tokens = min(JUDGED_AT_ONCE, place.tokens + earned)
        place.at_ms = now_ms
        if place.tokens >= 1:
            return True
        self._count(topic, place, THROTTLED)
        return False

    def rejected(self, topic: str, reason: str, example: str, now_ms: int) -> None:
        """Count one message that was judged and not believed."""
        place = self._places.get(topic)
        if place is None:
            if len(self._places) >= TOPICS_MAX:
                forgotten, _ = self._places.popitem(last=False)
                self._untold.discard(forgotten)
            place = self._places[topic] = _Place(now_ms)
        self._places.move_to_end(topic)
        place.tokens -= 1
        place.example = example
        self._count(topic, place, reason)

    def notices(self, now_ms: int) -> list[Notice]:
        """What to record now: the first of a topic at once, then at most once in TELL_PERIOD_MS."""
        due: list[Notice] = []
        for topic in sorted(self._untold):
            place = self._places[topic]
            if place.told_ms is not None and abs(now_ms - place.told_ms) < TELL_PERIOD_MS:
                continue
            due.append(Notice(topic, dict(place.untold), place.example))
            place.told_ms = now_ms
            place.untold.clear()
            self._untold.discard(topic)
        return due

    def count(self, reason: str) -> None:
        """Count something that no record is made of."""
        self.counts[reason] = self.counts.get(reason, 0) + 1

    def _count(self, topic: str, place: _Place, reason: str) -> None:
        self.count(reason)
        place.untold[reason] += 1
        self._untold.add(topic)
