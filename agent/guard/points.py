"""What the guard has seen, as named points: pure, observation in, points out."""

from collections.abc import Iterator

from agent.model.equipment import Junction
from agent.model.observation import BollardObserved, JunctionObserved, Scalar
from agent.safety.bollard import BollardState
from agent.safety.matrix import FlashStatus
from agent.safety.words import word_of

CONTROL_WORDS = {
    1: "other",
    2: "system-control",
    3: "system-standby",
    4: "backup-mode",
    5: "manual",
    6: "timebase",
    7: "interconnect",
    8: "interconnect-backup",
}
"""NTCIP 1202 unitControlStatus."""


def aspects(seen: JunctionObserved, junction: Junction) -> str:
    """One letter per commissioned group, in order: G, Y, R, or ``-`` for dark."""
    letters = []
    for group in junction.groups:
        if seen.greens & group.bit:
            letters.append("G")
        elif seen.yellows & group.bit:
            letters.append("Y")
        elif seen.reds & group.bit:
            letters.append("R")
        else:
            letters.append("-")
    return "".join(letters)


def junction_points(seen: JunctionObserved, junction: Junction) -> Iterator[tuple[str, Scalar]]:
    """Name and value of each point of a junction."""
    yield "aspects", aspects(seen, junction)
    yield "groups", " ".join(str(group.number) for group in junction.groups)
    yield "control", CONTROL_WORDS.get(seen.control_status, f"unknown {seen.control_status}")
    yield "flash", word_of(FlashStatus, seen.flash_status)
    yield "pattern", seen.pattern
    yield "backup_time_s", seen.backup_time_s


def bollard_points(seen: BollardObserved) -> Iterator[tuple[str, Scalar]]:
    """Name and value of each point of a bollard."""
    yield "state", word_of(BollardState, seen.state)
    yield "position_percent", seen.position_percent
    yield "at_top", seen.at_top
    yield "at_bottom", seen.at_bottom
    yield "loop_a", seen.loop_a
    yield "loop_b", seen.loop_b
    yield "loop_fault", seen.loop_fault
    yield "pressure_trip", seen.pressure_trip
    yield "mains_ok", seen.mains_ok
    yield "local_key", seen.local_key
    yield "door_open", seen.door_open
    yield "fault_latched", seen.fault_latched
    yield "red_on", seen.red_on
    yield "green_on", seen.green_on
    yield "reversals", seen.reversals
