"""Events the disk has not taken yet: in memory, bounded, in the order they happened. Pure."""

from dataclasses import dataclass

from agent.wire.messages import Event

EVENTS_MAX = 1_000
"""A night of a failing card at a restless cabinet; about half a megabyte."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One event and when it happened, in monotonic milliseconds."""

    number: int
    at_ms: int
    event: Event


@dataclass(frozen=True, slots=True)
class Taken:
    """What one write takes along.

    Args:
        lost: how many events were lost before it, for which there was no room.
    """

    waiting: tuple[Waiting, ...]
    lost: int

    def events(self, now_ms: int) -> list[Event]:
        """The events, each with how long ago it happened."""
        events = [_again(each.event, each.at_ms - now_ms) for each in self.waiting]
        if self.lost:
            text = f"{self.lost} records lost: the disk took none for too long"
            events.append(Event(0, "records.lost", "", "", text, {"count": self.lost}))
        return events


class Lane:
    """Keeps events until a write that took them has ended well.

    When it is full the newest are lost, by count: what came first tells the cause.
    """

    def __init__(self, events_max: int = EVENTS_MAX) -> None:
        self._events_max = events_max
        self._here: list[Waiting] = []
        self._away = 0
        self._number = 0
        self.lost = 0

    def __len__(self) -> int:
        """Events not on disk, those under way included."""
        return len(self._here) + self._away

    @property
    def is_owed(self) -> bool:
        """Whether something is here for the next write."""
        return bool(self._here or self.lost)

    def put(self, event: Event, at_ms: int) -> None:
        """Take an event in, or count it as lost."""
        if len(self) >= self._events_max:
            self.lost += 1
            return
        self._number += 1
        self._here.append(Waiting(self._number, at_ms, event))

    def take(self) -> Taken:
        """Hand everything to one write."""
        taken = Taken(tuple(self._here), self.lost)
        self._away += len(self._here)
        self._here, self.lost = [], 0
        return taken

    def stored(self, taken: Taken) -> None:
        """The write ended well."""
        self._away -= len(taken.waiting)

    def give_back(self, taken: Taken) -> None:
        """The write failed: the next one takes it again, before what came later."""
        self._away -= len(taken.waiting)
        self._here = sorted([*taken.waiting, *self._here], key=lambda each: each.number)
        self.lost += taken.lost

    def lose(self, taken: Taken) -> None:
        """The write can never end well."""
        self._away -= len(taken.waiting)
        self.lost += len(taken.waiting) + taken.lost


def _again(event: Event, dt_ms: int) -> Event:
    return Event(min(0, dt_ms), event.kind, event.equipment, event.rule, event.text, event.detail)
