"""Equipment kinds and the facts commissioned about them.

Everything here was measured or decided on site and is part of the signed site file; nothing changes at run time.
Times are integer milliseconds, levels whole percent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from agent.model.identity import EquipmentId, PlanNumber, SignalGroupNumber

RED_MS_MAX = 120_000
"""Unless the site says otherwise (SR-07): a cycle is rarely longer; Certu sheet 20 gives 120 s."""
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
    DISPLAY = "display"


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
        has_red: shows red whenever it shows nothing else; false for an arrow that is only lit or dark (SR-03).
        call_phase: the controller's phase whose call asks for this group (SR-07); 0 if none is known. For pedestrians it
            is the phase's pedestrian call.
    """

    number: SignalGroupNumber
    name: str
    kind: GroupKind
    green_ms_min: int
    yellow_ms_min: int
    clearing_mm: int = 0
    has_red: bool = True
    call_phase: int = 0

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
        red_ms_max: a group that is asked for stays red no longer (SR-07).
        configuration_id: the controller's globalSetIDParameter as commissioned; None if it was not (SR-16).
        red_yellow_allowed: red with yellow is an aspect here; it is not in France (SR-26).
        priority_level_max: the strongest priority anyone may request; 0 allows none (SR-15).
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
    red_ms_max: int = RED_MS_MAX
    configuration_id: int | None = None
    red_yellow_allowed: bool = False
    priority_level_max: int = 0

    def call_phases(self, *, of_pedestrians: bool) -> int:
        """Mask of the controller's phases whose calls ask for a group here, phase n at bit n-1."""
        mask = 0
        for group in self.groups:
            if group.call_phase and (group.kind is GroupKind.PEDESTRIAN) == of_pedestrians:
                mask |= 1 << (group.call_phase - 1)
        return mask


@dataclass(frozen=True, slots=True)
class Bollard:
    """A retractable bollard behind its PLC.

    Args:
        prewarn_ms_min: least time the red lamp burns before it moves up, by the emergency switch too (SR-20).
        reverse_ms_max: longest time it goes on rising once a loop or the pressure edge is hit (SR-20).
        travel_ms_max: longest time it moves one way (SR-22); commission twice the nominal travel.
        rises_alone: its PLC raises it by itself after a passage. Otherwise it rises on our command only, but for the
            local key and the emergency switch (SR-19).
    """

    id: EquipmentId
    name: str
    position: Position
    loops_free_ms_min: int
    prewarn_ms_min: int = 1_000
    reverse_ms_max: int = 500
    travel_ms_max: int = 15_000
    rises_alone: bool = False
    kind: Kind = Kind.BOLLARD


@dataclass(frozen=True, slots=True)
class Photocell:
    """How a segment's photocell is read (LR-06).

    Args:
        dark_below_lux, light_above_lux: the hysteresis, where the module tells its lux.
        dwell_ms: how long it must say otherwise before it is night or day, 60..120 s.
    """

    dark_below_lux: int = 35
    light_above_lux: int = 70
    dwell_ms: int = 60_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A lighting segment (départ): lamps behind one contactor and one level.

    Args:
        level_floor_percent: least level by night for the street's lighting class (LR-01).
        night_level_percent: the local plan by night; by day the plan is off.
        lease_ms_max: the longest a remote override may last (LR-02).
        photocell: read with a dwell and checked by the clock (LR-06); None takes the module's word as it comes.
    """

    id: EquipmentId
    name: str
    position: Position
    lighting_class: str
    level_floor_percent: int
    night_level_percent: int
    lease_ms_max: int
    photocell: Photocell | None = None
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


@dataclass(frozen=True, slots=True)
class Display:
    """A text display (variable message sign). No site file can name one yet: its driver comes later.

    Args:
        templates: number -> CRC, as commissioned, of the only texts that may be shown (SR-18).
    """

    id: EquipmentId
    name: str
    position: Position
    templates: Mapping[int, int]
    kind: Kind = Kind.DISPLAY


Equipment = Junction | Bollard | Segment | Lamp | Meter | Points | Display
Protected = Junction | Bollard
"""What only the guard may actuate."""
