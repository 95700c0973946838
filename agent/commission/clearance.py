"""How long a street takes to clear after a green: the floor of every intergreen. Pure.

Source: clearance speeds of 10 m/s for vehicles and 1 m/s for pedestrians, Certu sheet 20 citing IISR part 6.
"""

from agent.model.equipment import GroupKind, Junction
from agent.model.identity import SignalGroupNumber

VEHICLE_MM_PER_MS = 10
PEDESTRIAN_MM_PER_MS = 1


def required_ms(junction: Junction, ending: SignalGroupNumber) -> int:
    """Least time from the end of a group's green to any conflicting green: its yellow, then all red or clearing."""
    group = next(each for each in junction.groups if each.number == ending)
    return group.yellow_ms_min + max(junction.all_red_ms_min, clearing_ms(group.kind, group.clearing_mm))


def clearing_ms(kind: GroupKind, clearing_mm: int) -> int:
    """Time to clear a distance; 0 if none was measured."""
    speed = PEDESTRIAN_MM_PER_MS if kind is GroupKind.PEDESTRIAN else VEHICLE_MM_PER_MS
    return -(-clearing_mm // speed)
