"""Junctions of a site file: groups, conflict matrix, intergreens.

Source of the limits: docs/safety.md SR-04, SR-05, SR-06, SR-07, SR-09, SR-16.
"""

import re
from collections.abc import Mapping

from agent.model.equipment import ALL_RED_MS_MIN, RED_MS_MAX, GroupKind, Junction, Position, SignalGroup
from agent.model.identity import EquipmentId, PlanNumber, SignalGroupNumber
from agent.model.toml_table import Table, shown

GROUP_MAX = 64  # masks are 64 bits: eight NTCIP channel groups of eight
PLAN_MAX = 253  # NTCIP 1202 systemPatternControl: 254 is free, 255 is flash
BACKUP_TIME_S = (10, 120)  # SR-09
GREEN_S = (1, 60)
YELLOW_S_MIN, YELLOW_S_MAX = 3, 10  # SR-04: 3 s is the floor in town; pedestrians may have none
INTERGREEN_S_MAX = 60
ALL_RED_S_MAX = 10
CLEARING_M = (1, 200)
RED_S_MAX = (10, 3600)  # SR-07
CALL_PHASE_MAX = 64
CONFIGURATION_ID_MAX = 0xFFFF  # globalSetIDParameter
STAGES_MAX = 64
UNREADABLE = 0  # stands in for a group number that could not be read

Pair = tuple[SignalGroupNumber, SignalGroupNumber]


def read_junction_keys(table: Table, id_: EquipmentId, name: str, position: Position) -> Junction:
    """The keys that only junctions have."""
    groups = _read_groups(table)
    conflicts = _read_conflicts(table, groups)
    return Junction(
        id=id_,
        name=name,
        position=position,
        groups=tuple(groups.values()),
        conflicts=conflicts,
        intergreen_ms=_read_intergreens(table, groups, conflicts),
        plans=_read_plans(table),
        backup_time_s=table.whole("backup_time_s", *BACKUP_TIME_S, "seconds"),
        stages=_read_stages(table, groups),
        red_supervised=_read_red_supervision(table, groups),
        all_red_ms_min=table.ms("all_red_s_min", 0, ALL_RED_S_MAX, default_ms=ALL_RED_MS_MIN),
        red_ms_max=table.ms("red_max_s", *RED_S_MAX, default_ms=RED_MS_MAX),
        configuration_id=_read_configuration_id(table),
        red_yellow_allowed=_read_flag(table, "red_yellow_allowed", default=False),
    )


def _read_groups(owner: Table) -> dict[SignalGroupNumber, SignalGroup]:
    groups: dict[SignalGroupNumber, SignalGroup] = {}
    if not owner.has("groups"):
        owner.note("groups", "missing, expected an array of signal groups")
    for table in owner.tables("groups"):
        group = _read_group(table)
        if group.number in groups:
            table.note("number", f"group {group.number} is there twice")
        if group.number != UNREADABLE:
            groups[group.number] = group
    return groups


def _read_group(table: Table) -> SignalGroup:
    words = [kind.value for kind in GroupKind]

    def read(found: object) -> GroupKind | None:
        return GroupKind(found) if found in words else None

    kind = table.take("kind", f"one of {', '.join(words)}", GroupKind.VEHICLE, read)
    number = SignalGroupNumber(table.whole("number", 1, GROUP_MAX, "group number", stand_in=UNREADABLE))
    # SR-07: on most controllers vehicle phase n shows on channel n. Others are said, or nothing is claimed of them.
    call_phase = number if kind is GroupKind.VEHICLE else 0
    group = SignalGroup(
        number=number,
        name=table.text("name"),
        kind=kind,
        green_ms_min=table.ms("green_min_s", *GREEN_S),
        yellow_ms_min=table.ms("yellow_min_s", 0 if kind is GroupKind.PEDESTRIAN else YELLOW_S_MIN, YELLOW_S_MAX),
        clearing_mm=_read_clearing(table),
        has_red=_read_flag(table, "has_red", default=True),
        call_phase=table.whole("call_phase", 0, CALL_PHASE_MAX, "phase number (0 for none)", default=call_phase),
    )
    table.end()
    return group


def _read_flag(table: Table, key: str, *, default: bool) -> bool:
    return table.take(
        key, "true or false", default, lambda found: found if isinstance(found, bool) else None, optional=True
    )


def _read_configuration_id(table: Table) -> int | None:
    """SR-16: without it, the value first seen is remembered."""
    if not table.has("configuration_id"):
        return None
    return table.whole("configuration_id", 0, CONFIGURATION_ID_MAX, "globalSetIDParameter")


def _read_clearing(table: Table) -> int:
    least, most = CLEARING_M

    def read(found: object) -> int | None:
        return (
            round(found * 1000)
            if isinstance(found, int | float) and not isinstance(found, bool) and least <= found <= most
            else None
        )

    return table.take("clearing_m", f"metres {least}..{most}", 0, read, optional=True)


def _read_plans(table: Table) -> frozenset[PlanNumber]:
    plans: list[PlanNumber] = []
    for path, found in table.array("plans", f"an array of plan numbers 1..{PLAN_MAX}"):
        if type(found) is not int or not 1 <= found <= PLAN_MAX:
            table.problems.note(path, f"expected a plan number 1..{PLAN_MAX}, found {shown(found)}")
        elif found in plans:
            table.problems.note(path, f"plan {found} is there twice")
        else:
            plans.append(PlanNumber(found))
    return frozenset(plans)


def _read_stages(
    table: Table, groups: Mapping[SignalGroupNumber, SignalGroup]
) -> tuple[frozenset[SignalGroupNumber], ...]:
    """Whether they can be shown safely is for the check of commissioning to say."""
    stages: list[frozenset[SignalGroupNumber]] = []
    for path, found in table.array("stages", f"an array of 1..{STAGES_MAX} arrays of group numbers", optional=True):
        numbers = _numbers(table, path, found, groups)
        if numbers and numbers in stages:
            table.problems.note(path, f"stage {sorted(numbers)} is there twice")
        elif numbers:
            stages.append(numbers)
    if len(stages) > STAGES_MAX:
        table.note("stages", f"expected at most {STAGES_MAX} stages, found {len(stages)}")
    return tuple(stages)


def _read_red_supervision(
    table: Table, groups: Mapping[SignalGroupNumber, SignalGroup]
) -> frozenset[SignalGroupNumber]:
    unwritten: object = None
    found = table.take("red_supervision", "an array of group numbers", unwritten, lambda value: value, optional=True)
    return frozenset() if found is None else _numbers(table, table.at("red_supervision"), found, groups)


def _numbers(
    table: Table, path: str, found: object, groups: Mapping[SignalGroupNumber, SignalGroup]
) -> frozenset[SignalGroupNumber]:
    """Group numbers of this junction, each once; what is wrong is noted."""
    if not isinstance(found, list) or not found:
        table.problems.note(path, f"expected an array of group numbers, found {shown(found)}")
        return frozenset()
    numbers: set[SignalGroupNumber] = set()
    for each in found:
        if type(each) is not int or each not in groups:
            table.problems.note(path, f"expected numbers of groups of this junction, found {shown(each)}")
        elif each in numbers:
            table.problems.note(path, f"group {each} is there twice")
        else:
            numbers.add(SignalGroupNumber(each))
    return frozenset(numbers)


def _read_conflicts(
    table: Table, groups: Mapping[SignalGroupNumber, SignalGroup]
) -> frozenset[frozenset[SignalGroupNumber]]:
    conflicts: set[frozenset[SignalGroupNumber]] = set()
    expected = "a pair of different group numbers of this junction"
    for path, found in table.array("conflicts", "an array of pairs of group numbers"):
        pair = _pair(found, groups)
        if pair is None:
            table.problems.note(path, f"expected {expected}, found {shown(found)}")
        elif frozenset(pair) in conflicts:
            table.problems.note(
                path, f"groups {pair[0]} and {pair[1]} are there twice; one pair holds in both directions"
            )
        else:
            conflicts.add(frozenset(pair))
    if len(groups) > 1 and not conflicts:
        table.note("conflicts", "expected at least one pair: no two of these groups would conflict")
    return frozenset(conflicts)


def _pair(found: object, groups: Mapping[SignalGroupNumber, SignalGroup]) -> Pair | None:
    match found:
        case [int() as first, int() as second] if type(first) is int and type(second) is int and first != second:
            if first in groups and second in groups:
                return SignalGroupNumber(first), SignalGroupNumber(second)
    return None


def _read_intergreens(
    owner: Table,
    groups: Mapping[SignalGroupNumber, SignalGroup],
    conflicts: frozenset[frozenset[SignalGroupNumber]],
) -> dict[Pair, int]:
    """Both directions of every conflicting pair; the default fills what is not written."""
    found = _read_written_intergreens(owner.table("intergreen_s", optional=True), groups, conflicts)
    has_default = owner.has("intergreen_default_s")
    default_ms = owner.ms("intergreen_default_s", 1, INTERGREEN_S_MAX) if has_default else None
    for first, second in sorted(tuple(sorted(pair)) for pair in conflicts):
        for pair in ((first, second), (second, first)):
            key = f"intergreen_s.{pair[0]}-{pair[1]}"
            if pair not in found and default_ms is None:
                owner.note(key, "missing, expected an intergreen for both directions of every conflict, or a default")
            intergreen_ms = found.setdefault(pair, default_ms or 0)
            yellow_ms = groups[pair[0]].yellow_ms_min
            if 0 < intergreen_ms < yellow_ms:
                owner.note(
                    key, f"{intergreen_ms / 1000:g} s is below the yellow of group {pair[0]}, {yellow_ms / 1000:g} s"
                )
    return found


def _read_written_intergreens(
    table: Table | None,
    groups: Mapping[SignalGroupNumber, SignalGroup],
    conflicts: frozenset[frozenset[SignalGroupNumber]],
) -> dict[Pair, int]:
    found: dict[Pair, int] = {}
    if table is None:
        return found
    for key in table.rest():
        numbers = [int(part) for part in key.split("-")] if re.fullmatch(r"[1-9][0-9]?-[1-9][0-9]?", key) else None
        pair = _pair(numbers, groups)
        if pair is None:
            table.note(shown(key)[1:-1], 'expected "ending-starting", two group numbers of this junction')
        elif frozenset(pair) not in conflicts:
            table.note(key, f"groups {pair[0]} and {pair[1]} are not in conflicts")
        else:
            found[pair] = table.ms(key, 1, INTERGREEN_S_MAX)
    return found
