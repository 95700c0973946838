"""Rules for lighting segments, and the local plan. Pure. When in doubt it is night, and the lamps are on.

Source: docs/safety.md LR-01..LR-04; the floor is the street's EN 13201 class, as commissioned.
"""

from agent.model.command import Role, SetLevel
from agent.model.equipment import Segment
from agent.model.observation import SegmentObserved
from agent.safety.case import Case
from agent.safety.verdict import Refused

Level = Case[SetLevel, Segment]
LEVEL_PERCENT_MAX = 100


def night_or_doubt(seen: SegmentObserved) -> str:
    """LR-01, LR-04: why a segment must burn; empty only if it is surely day and nothing is wrong."""
    if seen.breaker_tripped:
        return "its breaker has tripped: the lamps must burn when somebody closes it"
    if seen.dark is None:
        return "it may be night, the photocell cannot be believed"
    return "it is night" if seen.dark else ""


def level_is_allowed(case: Level, seen: SegmentObserved) -> Refused | None:
    """LR-01: by night, or when nobody knows, not below the class floor; off is below it too."""
    level, floor = case.command.level_percent, case.equipment.level_floor_percent
    if not 0 <= level <= LEVEL_PERCENT_MAX:
        return Refused("LR-01", f"a level is 0..{LEVEL_PERCENT_MAX} %, asked: {level} %")
    if (when := night_or_doubt(seen)) and level < floor:
        lighting_class = case.equipment.lighting_class
        return Refused("LR-01", f"{level} % is below the floor of {floor} % for class {lighting_class}, and {when}")
    return None


def lease_is_bounded(case: Level, _seen: SegmentObserved) -> Refused | None:
    """LR-02: every override ends by itself. The local plan is no override: it is what overrides end in."""
    lease_ms, longest_ms = case.command.lease_ms, case.equipment.lease_ms_max
    if case.command.origin.role is Role.LOCAL_PLAN or 0 < lease_ms <= longest_ms:
        return None
    return Refused("LR-02", f"an override lasts up to {longest_ms // 1000} s here, asked: {lease_ms / 1000:g} s")


def switch_is_not_local(_case: Level, seen: SegmentObserved) -> Refused | None:
    """LR-03: somebody holds the contactor by its manual switch; nothing is asked of it until they let go."""
    if seen.local_override:
        return Refused("LR-03", "the manual switch at the contactor is on (LOCAL)")
    return None


def plan_level(segment: Segment, seen: SegmentObserved) -> int:
    """The local plan's level in percent: off by day, the night level by night and whenever day is not certain."""
    return max(segment.night_level_percent, segment.level_floor_percent) if night_or_doubt(seen) else 0
