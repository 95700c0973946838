"""What is wrong with a site's facts on the face of it, each with the culprit's name, its key and what was expected. Pure.

The site file's parser refuses much of this already, in words of its own; here it is asked once more of the parsed
facts, so that the check does not lean on the parser. Limits and their sources: docs/safety.md and docs/commissioning.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from agent.commission.clearance import clearing_ms, required_ms
from agent.commission.controller import STEP_MS_MIN
from agent.model.equipment import Bollard, GroupKind, Junction, Segment, SignalGroup
from agent.model.identity import EquipmentId, SignalGroupNumber
from agent.model.site import Cabinet, SnmpLink
from agent.safety.secret import defaults_among

GREEN_MS_MIN = 6_000
YELLOW_MS_MIN = 3_000
BACKUP_TIME_S = (10, 120)
PLANS = (1, 253)
LOOPS_FREE_MS_MIN = 2_000
LEASE_MS_MAX = 12 * 3_600_000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Args:
        place: equipment and key in the site file. text: what was found, whose it is, what was expected.
    """

    place: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


def findings_of(cabinet: Cabinet) -> tuple[Finding, ...]:
    """Everything that is wrong on the face of it."""
    found: list[Finding] = []
    for equipment in cabinet.site.equipment.values():
        match equipment:
            case Junction():
                found += junction_findings(equipment)
            case Bollard():
                found += _of_bollard(equipment)
            case Segment():
                found += _of_segment(equipment)
            case _:
                pass
    return (*found, *_of_links(cabinet))


def junction_findings(junction: Junction) -> Iterator[Finding]:
    """What is wrong with one junction."""
    yield from _of_groups(junction)
    yield from _of_matrix(junction)
    yield from _of_stages(junction)
    least, most = BACKUP_TIME_S
    if not least <= junction.backup_time_s <= most:
        yield _at(junction, "backup_time_s", f"{junction.backup_time_s} s, expected {least}..{most} s (SR-09)")
    for plan in sorted(junction.plans):
        if not PLANS[0] <= plan <= PLANS[1]:
            yield _at(junction, "plans", f"plan {plan}, expected {PLANS[0]}..{PLANS[1]}: others mean free and flash")


def notes_of(cabinet: Cabinet) -> Iterator[Finding]:
    """What is not wrong, and yet not proven: for whoever signs."""
    if cabinet.presence is None and any(
        isinstance(each, Junction | Bollard) for each in cabinet.site.equipment.values()
    ):
        yield Finding("guard.presence", "no door and key to read: a latch of this cabinet can never be reset (SR-13)")
    for junction in cabinet.site.equipment.values():
        if not isinstance(junction, Junction):
            continue
        if junction.configuration_id is None:
            text = "not written: a changed configuration is noticed only while the guard runs, not over its restart (SR-16)"
            yield _at(junction, "configuration_id", text)
        if not junction.stages:
            yield _at(
                junction, "stages", "not written: every largest set of groups without a conflict was taken as a stage"
            )
        for group in junction.groups:
            if group.kind is GroupKind.PEDESTRIAN and not group.clearing_mm:
                yield _at(
                    junction,
                    f"groups[{group.number}]",
                    f"{_name(group)} has no clearing_m: its clearance is not checked",
                )
            if not any(group.number in pair for pair in junction.conflicts):
                yield _at(junction, f"groups[{group.number}]", f"{_name(group)} conflicts with nothing")


def _of_groups(junction: Junction) -> Iterator[Finding]:
    for group in junction.groups:
        key = f"groups[{group.number}]"
        if group.green_ms_min < GREEN_MS_MIN:
            text = f"{_name(group)} has a least green of {_s(group.green_ms_min)}, expected at least {_s(GREEN_MS_MIN)} (SR-05)"
            yield _at(junction, f"{key}.green_min_s", text)
        if group.kind is not GroupKind.PEDESTRIAN and group.yellow_ms_min < YELLOW_MS_MIN:
            text = f"{_name(group)} has a yellow of {_s(group.yellow_ms_min)}, expected at least {_s(YELLOW_MS_MIN)} (SR-04)"
            yield _at(junction, f"{key}.yellow_min_s", text)
        if group.number not in junction.red_supervised:
            text = f"{_name(group)} has no watched red lamp: a dark red would go unseen; expected its number here"
            yield _at(junction, "red_supervision", text)
        for name, time_ms in (("green_min_s", group.green_ms_min), ("yellow_min_s", group.yellow_ms_min)):
            if time_ms % STEP_MS_MIN:
                yield _at(junction, f"{key}.{name}", f"{_name(group)}: {_s(time_ms)} is no whole tenth of a second")


def _of_matrix(junction: Junction) -> Iterator[Finding]:
    if len(junction.groups) > 1 and not junction.conflicts:
        yield _at(junction, "conflicts", f"{len(junction.groups)} groups and no conflict: expected at least one pair")
    for pair in sorted(junction.conflicts, key=sorted):
        one, other = sorted(pair)
        for ending, starting in ((one, other), (other, one)):
            yield from _of_intergreen(junction, ending, starting)
    for ending, starting in sorted(junction.intergreen_ms):
        if frozenset((ending, starting)) not in junction.conflicts:
            text = f"groups {ending} and {starting} have an intergreen and are not in conflicts"
            yield _at(junction, f"intergreen_s.{ending}-{starting}", text)


def _of_intergreen(junction: Junction, ending: SignalGroupNumber, starting: SignalGroupNumber) -> Iterator[Finding]:
    key = f"intergreen_s.{ending}-{starting}"
    found_ms = junction.intergreen_ms.get((ending, starting))
    if found_ms is None:
        has_other = (starting, ending) in junction.intergreen_ms
        text = f"groups {ending} and {starting} conflict, and there is no intergreen from {ending} to {starting}"
        yield _at(junction, key, text + (", only the other way round" if has_other else ""))
        return
    group = _group(junction, ending)
    if found_ms < (least_ms := required_ms(junction, ending)):
        text = f"{_s(found_ms)} after {_name(group)}, expected at least {_s(least_ms)}: {_sum(junction, group)} (SR-06)"
        yield _at(junction, key, text)
    if found_ms % STEP_MS_MIN:
        yield _at(junction, key, f"{_s(found_ms)} is no whole tenth of a second")


def _of_stages(junction: Junction) -> Iterator[Finding]:
    numbers = {group.number for group in junction.groups}
    for place, stage in enumerate(junction.stages):
        for unknown in sorted(stage - numbers):
            yield _at(junction, f"stages[{place}]", f"group {unknown} is no group of this junction")
        for pair in combinations(sorted(stage & numbers), 2):
            if frozenset(pair) in junction.conflicts:
                names = " and ".join(_name(_group(junction, number)) for number in pair)
                yield _at(junction, f"stages[{place}]", f"{names} conflict, and are green together in this stage")
    if junction.stages:
        for group in junction.groups:
            if not any(group.number in stage for stage in junction.stages):
                yield _at(junction, "stages", f"{_name(group)} is in no stage: it would never be green")


def _of_bollard(bollard: Bollard) -> Iterator[Finding]:
    if bollard.loops_free_ms_min < LOOPS_FREE_MS_MIN:
        text = f"{_s(bollard.loops_free_ms_min)}, expected at least {_s(LOOPS_FREE_MS_MIN)} (SR-19)"
        yield Finding(f"bollard {bollard.id}: loops_free_s_min", text)


def _of_segment(segment: Segment) -> Iterator[Finding]:
    place = f"segment {segment.id}"
    floor, night = segment.level_floor_percent, segment.night_level_percent
    if not 1 <= floor <= 100:
        text = f"{floor} %, expected 1..100 %: a street of class {segment.lighting_class} is lit by night (LR-01)"
        yield Finding(f"{place}: level_floor_percent", text)
    if night < floor:
        yield Finding(f"{place}: night_level_percent", f"{night} % is below the floor of {floor} % (LR-01)")
    if not 0 < segment.lease_ms_max <= LEASE_MS_MAX:
        yield Finding(f"{place}: lease_h_max", f"{segment.lease_ms_max / 3_600_000:g} h, expected at most 12 h (LR-02)")


def _of_links(cabinet: Cabinet) -> Iterator[Finding]:
    owners: dict[str, EquipmentId] = {}
    for id_, link in cabinet.links.items():
        if not isinstance(link, SnmpLink):
            continue
        owner = owners.setdefault(str(link.address).lower(), id_)
        if owner != id_:
            text = f"{link.address} is the controller of {owner} too: one controller cannot run both"
            yield Finding(f"junction {id_}: snmp.address", text)
        for key, community in (("read_community", link.read_community), ("write_community", link.write_community)):
            if defaults_among({key: community}):
                text = f'"{community}" is a default that everybody knows; expected a community of its own (SR-17)'
                yield Finding(f"junction {id_}: snmp.{key}", text)


def _at(junction: Junction, key: str, text: str) -> Finding:
    return Finding(f"junction {junction.id}: {key}", text)


def _group(junction: Junction, number: SignalGroupNumber) -> SignalGroup:
    return next(group for group in junction.groups if group.number == number)


def _name(group: SignalGroup) -> str:
    return f'group {group.number} "{group.name}"'


def _sum(junction: Junction, group: SignalGroup) -> str:
    """How the least intergreen after a group comes about."""
    clearing = clearing_ms(group.kind, group.clearing_mm)
    if clearing > junction.all_red_ms_min:
        speed = "1 m/s" if group.kind is GroupKind.PEDESTRIAN else "10 m/s"
        return f"yellow {_s(group.yellow_ms_min)}, then {group.clearing_mm / 1000:g} m at {speed}"
    return f"yellow {_s(group.yellow_ms_min)} and all red {_s(junction.all_red_ms_min)}"


def _s(time_ms: int) -> str:
    return f"{time_ms / 1000:g} s"
