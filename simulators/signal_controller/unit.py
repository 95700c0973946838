"""What a central system may ask of the controller, and the watchdog that forgets it all.

Source: NTCIP 1202 object definitions of phaseControlGroup, preemptControlState, ringControlGroup,
unitControl, specialFunction, systemPatternControl, systemSyncControl and unitBackupTime: any SET of
one of these restarts the timer; when it expires they all return to 0 and the unit is in backup mode.
"""

from collections import Counter, deque
from dataclasses import dataclass
from enum import IntEnum

SETS_MAX = 10_000
FREE_PATTERN, FLASH_PATTERN = 254, 255


class ControlStatus(IntEnum):
    """unitControlStatus."""

    OTHER = 1
    SYSTEM_CONTROL = 2
    SYSTEM_STANDBY = 3
    BACKUP_MODE = 4
    MANUAL = 5
    TIMEBASE = 6


class FreeStatus(IntEnum):
    """localFreeStatus."""

    OTHER = 1
    NOT_FREE = 2
    COMMAND_FREE = 3
    TRANSITION_FREE = 4
    INPUT_FREE = 5
    COORD_FREE = 6
    BAD_PLAN = 7


class PhaseControl(IntEnum):
    """Columns of phaseControlGroupTable."""

    PHASE_OMIT = 2
    PED_OMIT = 3
    HOLD = 4
    FORCE_OFF = 5
    VEHICLE_CALL = 6
    PED_CALL = 7


class RingControl(IntEnum):
    """Columns of ringControlGroupTable."""

    STOP_TIME = 2
    FORCE_OFF = 3
    MAX_2 = 4
    MAX_INHIBIT = 5
    PED_RECYCLE = 6
    RED_REST = 7
    OMIT_RED_CLEAR = 8


@dataclass(frozen=True, slots=True)
class AcceptedSet:
    """One SET that was carried out."""

    time_s: float
    oid: str
    value: int


class SystemControl:
    """The remotely writable part of the unit.

    Args:
        backup_s: unitBackupTime, 0..65535 s; 0 switches the watchdog off.
    """

    def __init__(self, backup_s: int = 60) -> None:
        self.backup_s = backup_s
        self.now_s = 0.0
        self._last_set_s: float | None = None
        self.expired = False
        self.sets: deque[AcceptedSet] = deque(maxlen=SETS_MAX)
        self.set_counts: Counter[str] = Counter()
        self.clear()

    def clear(self) -> None:
        """Return every control to 0."""
        self.pattern = 0
        self.sync = 0
        self.unit_control = 0
        self.phase_control = dict.fromkeys(PhaseControl, 0)
        self.ring_control = dict.fromkeys(RingControl, 0)
        self.preempt = dict.fromkeys(range(1, 5), 0)
        self.special_function = dict.fromkeys(range(1, 9), 0)

    def restart(self) -> None:
        """Power return: nothing was ever asked."""
        self.clear()
        self._last_set_s, self.expired = None, False

    def touch(self) -> None:
        """A system control object was SET."""
        self._last_set_s, self.expired = self.now_s, False

    def record(self, oid: str, value: int) -> None:
        """Remember an accepted SET."""
        self.sets.append(AcceptedSet(round(self.now_s, 3), oid, value))
        self.set_counts[oid] += 1

    def step(self, now_s: float) -> None:
        """Run the watchdog."""
        self.now_s = max(self.now_s, now_s)
        if self._last_set_s is None or not self.backup_s or self.expired:
            return
        if self.now_s - self._last_set_s >= self.backup_s:
            self.clear()
            self.expired = True

    def end_force_off(self, phases: int) -> None:
        """A force-off ends itself when the green has ended."""
        self.phase_control[PhaseControl.FORCE_OFF] &= ~phases

    @property
    def in_use(self) -> bool:
        """Tell whether any control is other than 0."""
        groups = (self.phase_control, self.ring_control, self.preempt, self.special_function)
        return bool(self.pattern or self.sync or self.unit_control or any(any(group.values()) for group in groups))

    def status(self, manual: bool) -> ControlStatus:
        """Return unitControlStatus."""
        if manual:
            return ControlStatus.MANUAL
        if self.expired:
            return ControlStatus.BACKUP_MODE
        if self.in_use:
            return ControlStatus.SYSTEM_CONTROL
        return ControlStatus.TIMEBASE if self._last_set_s is None else ControlStatus.SYSTEM_STANDBY
