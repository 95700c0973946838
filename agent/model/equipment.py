"""Equipment kinds and the facts commissioned about them.

Everything here was measured or decided on site and is part of the signed site file; nothing changes at run time.
Times are integer milliseconds, levels whole percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.model.identity import EquipmentId, PlanNumber, SignalGroupNumber

ALL_RED_MS_MIN = 1_000
"""Unless the site says otherwise. Ours: no public text names one."""


class Kind(StrEnum):
    """What a piece of equipment is."""

    JUNCTION = "junction"
    BOLLARD = "bollard"
    SEGMENT = "segment"
    LAMP = "lamp"
    METER = "meter"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class Position:
    """WGS 84 degrees."""

    latitude: float
    longitude: float


class GroupKind(StrEnum):
    """Who obeys a signal group."""

    VEHICLE = "vehicle"
    PEDESTRIAN = "pedestrian"
    BUS = "bus"


@dataclass(frozen=True, slots=True)
class SignalGroup:
    """One signal group and its commissioned floors.

    Args:
        number: 1..64; the group shows on controller channel ``number``.
        green_ms_min: least time from start to end of green (SR-05).
        yellow_ms_min: least yellow (SR-04); 0 for a group that has none, such as pedestrians.
        clearing_mm: from the line to behind the last place of conflict, for pedestrians the length of the crossing; 0 if
            not measured (SR-06).
    """

    number: SignalGroupNumber
    name: str
    kind: GroupKind
    green_ms_min: int
    yellow_ms_min: int
    clearing_mm: int = 0

    @property
    def bit(self) -> int:
        """The group's place in a group mask: group 1 is bit 0."""
        return 1 << (self.number - 1)


@dataclass(frozen=True, slots=True)
class Junction:
    """A signalised junction with its conflict matrix and intergreens.

    Args:
        conflicts: pairs of groups that may never have right of way together. A pair absent here is permitted.
        intergreen_ms: (ending group, starting group) -> least time from end of green to start of green.
        plans: the coordination patterns commissioned on site.
        backup_time_s: the controller's watchdog (unitBackupTime) as commissioned, 10..120 s (SR-09).
        stages: groups that are green together, as the controller has them; empty if they are not written down.
        red_supervised: groups of which the controller watches that the red lamp burns.
        all_red_ms_min: least time from end of yellow to a conflicting green (SR-06).
    """

    id: EquipmentId
    name: str
    position: Position
    groups: tuple[SignalGroup, ...]
    conflicts: frozenset[frozenset[SignalGroupNumber]]
    intergreen_ms: Mapping[tuple[SignalGroupNumber, SignalGroupNumber], int]
    plans: frozenset[PlanNumber]
    backup_time_s: int
    kind: Kind = Kind.JUNCTION
    stages: tuple[frozenset[SignalGroupNumber], ...] = ()
    red_supervised: frozenset[SignalGroupNumber] = frozenset()
    all_red_ms_min: int = ALL_RED_MS_MIN


@dataclass(frozen=True, slots=True)
class Bollard:
    """A retractable bollard behind its PLC."""

    id: EquipmentId
    name: str
    position: Position
    loops_free_ms_min: int
    kind: Kind = Kind.BOLLARD


@dataclass(frozen=True, slots=True)
class Segment:
    """A lighting segment (départ): lamps behind one contactor and one level.

    Args:
        level_floor_percent: least level by night for the street's lighting class (LR-01).
        night_level_percent: the local plan by night; by day the plan is off.
        lease_ms_max: the longest a remote override may last (LR-02).
    """

    id: EquipmentId
    name: str
    position: Position
    lighting_class: str
    level_floor_percent: int
    night_level_percent: int
    lease_ms_max: int
    kind: Kind = Kind.SEGMENT


@dataclass(frozen=True, slots=True)
class Lamp:
    """One lamp in the inventory; it is driven by its segment."""

    id: EquipmentId
    name: str
    position: Position
    segment: EquipmentId
    power_w: int
    kind: Kind = Kind.LAMP


@dataclass(frozen=True, slots=True)
class Meter:
    """An energy meter: read, never written."""

    id: EquipmentId
    name: str
    position: Position
    kind: Kind = Kind.METER


@dataclass(frozen=True, slots=True)
class Points:
    """Generic read-only points behind any profile: cabinet doors, sensors, a monitored building."""

    id: EquipmentId
    name: str
    position: Position
    kind: Kind = Kind.POINTS


Equipment = Junction | Bollard | Segment | Lamp | Meter | Points
Protected = Junction | Bollard
"""What only the guard may actuate."""
