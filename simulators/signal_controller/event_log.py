"""High-resolution event log, in the field's common codes; bounded, newest kept."""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum

EVENTS_MAX = 100_000  # several hours of a busy junction


class Code(IntEnum):
    """Event codes this controller writes (Indiana traffic signal hi-resolution data logger enumerations)."""

    GREEN_BEGIN = 1
    GAP_OUT = 4
    MAX_OUT = 5
    FORCE_OFF = 6
    GREEN_END = 7
    YELLOW_BEGIN = 8
    YELLOW_END = 9
    RED_CLEAR_BEGIN = 10
    RED_CLEAR_END = 11
    WALK_BEGIN = 21
    PED_CLEAR_BEGIN = 22
    DONT_WALK_BEGIN = 23
    CALL_ON = 43
    CALL_OFF = 44
    DETECTOR_OFF = 81
    DETECTOR_ON = 82
    PEDESTRIAN_CALL = 90
    PREEMPT_ON = 102
    PREEMPT_OFF = 104
    PATTERN = 131
    UNIT_FLASH = 173
    UNIT_ALARM = 174


@dataclass(frozen=True, slots=True)
class Event:
    """One line: seconds of the simulator's clock, code, parameter."""

    time_s: float
    code: int
    parameter: int


class EventLog:
    """The controller's memory of what happened."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=EVENTS_MAX)
        self.now_s = 0.0

    def write(self, code: Code, parameter: int) -> None:
        """Write one event at the present moment."""
        self._events.append(Event(round(self.now_s, 1), int(code), parameter))

    def since(self, time_s: float) -> list[Event]:
        """Return the events from ``time_s`` on, oldest first."""
        return [event for event in self._events if event.time_s >= time_s]
