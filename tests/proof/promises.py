"""What the safety page promises about one command, a second time and in plain words: written from the page, not from
the rules. It imports nothing of the kernel's rules and knows their numbers by heart.

A command is approved exactly when it breaks no promise; a refusal names the rule of a promise it breaks.
"""

from typing import Any

from agent.model.command import (
    Command,
    LowerBollard,
    Origin,
    PriorityRequest,
    RaiseBollard,
    ReleaseJunction,
    ReleaseLevel,
    RequestFlash,
    ResetLatch,
    Role,
    SelectPlan,
    SetLevel,
    ShowTemplate,
)
from agent.model.equipment import Bollard, Display, Junction, Segment
from agent.model.observation import BollardObserved, DisplayObserved, JunctionObserved, SegmentObserved
from agent.model.site import Site
from agent.safety.mode import Mode
from agent.safety.standing import Standing

Broken = list[tuple[str, str]]
"""Rule and promise, for every promise that is broken."""

READING_OF: dict[type, type] = {
    Junction: JunctionObserved,
    Bollard: BollardObserved,
    Segment: SegmentObserved,
    Display: DisplayObserved,
}
KNOWN_BY: dict[type, tuple[type, ...]] = {
    Junction: (SelectPlan, RequestFlash, ReleaseJunction, PriorityRequest, ResetLatch),
    Bollard: (RaiseBollard, LowerBollard, ResetLatch),
    Segment: (SetLevel, ReleaseLevel),
    Display: (ShowTemplate,),
}
NUMBERS: dict[type, tuple[str, ...]] = {
    SelectPlan: ("plan", "lease_ms"),
    RequestFlash: ("lease_ms",),
    SetLevel: ("level_percent", "lease_ms"),
    PriorityRequest: ("vehicle", "level", "presence_ms"),
    ShowTemplate: ("template", "crc", "lease_ms"),
    ReleaseJunction: (),
    LowerBollard: (),
    RaiseBollard: (),
    ReleaseLevel: (),
    ResetLatch: (),
}
BLIND = (ReleaseJunction, ReleaseLevel)
"""Giving back never waits for a reading."""
SAFE = (ReleaseJunction, LowerBollard, ResetLatch)
"""What a latched fault leaves."""
REMOTE = (SelectPlan, RequestFlash, PriorityRequest, RaiseBollard, SetLevel, ShowTemplate)
"""What takes hold of something."""
BUDGETS: dict[int, tuple[str, int, int]] = {1: ("SR-25", 60, 240), 2: ("SR-25", 20, 60), 3: ("SR-14", 3, 3)}
"""Class -> rule, how many in ten minutes for one piece of equipment, how many for the cabinet."""


def broken(command: Any, site: Site, seen: Any, standing: Standing, now_ms: int) -> Broken:  # noqa: C901 - one case a verb
    """Every promise an approval of this would break."""
    if not well_formed(command):
        return [("SR-01", "only listed commands with fields of their own types")]
    equipment = site.equipment.get(command.equipment)
    if type(command) not in KNOWN_BY.get(type(equipment), ()):
        return [("SR-01", "equipment of this cabinet, and a command it knows")]
    found: Broken = []
    _authority(found, command, standing, now_ms)
    if type(command) in BLIND:
        return found
    if seen is None or not 0 <= now_ms - seen.at_ms <= 3_000:
        return [*found, ("SR-28", "read within 3 s")]
    if type(seen) is not READING_OF[type(equipment)] or seen.equipment != command.equipment:
        return [*found, ("SR-28", "its own reading")]
    match command:
        case SelectPlan() | RequestFlash() | PriorityRequest():
            _control(found, command, equipment, seen, standing, now_ms)
        case RaiseBollard():
            _raise(found, equipment, seen, now_ms)
        case LowerBollard():
            if seen.local_key or seen.state == 10:
                found.append(("SR-29", "only the local key moves a bollard under the local key"))
            _emergency(found, seen)
        case ShowTemplate():
            _show(found, command, equipment, seen)
        case SetLevel():
            _level(found, command, equipment, seen)
        case ResetLatch():
            _reset(found, equipment, seen, standing, now_ms)
    return found


def must_pass(command: Command, standing: Standing) -> bool:
    """Giving a junction back is never refused to anybody who may speak at all, whatever else is wrong."""
    people = {subject for subject in command.origin.subjects if subject}
    return type(command) is ReleaseJunction and (bool(people) or command.origin.role is Role.LOCAL_PLAN)


def well_formed(command: Any) -> bool:
    """One of the eight, and every field of the very type it says."""
    numbers = NUMBERS.get(type(command))
    if numbers is None or type(command.equipment) is not str or type(command.origin) is not Origin:
        return False
    origin = command.origin
    if type(origin.role) is not Role or type(origin.subjects) is not tuple:
        return False
    return all(type(each) is str for each in origin.subjects) and all(
        type(getattr(command, name)) is int for name in numbers
    )


def stands_there(standing: Standing, now_ms: int) -> bool:
    """Somebody at the open cabinet, key turned, read within 3 s."""
    presence = standing.presence
    if presence is None or presence.at_ms > now_ms or presence.at_ms < now_ms - 3_000:
        return False
    return presence.door_open and presence.local_key


def _authority(found: Broken, command: Command, standing: Standing, now_ms: int) -> None:
    kind, role, mode = type(command), command.origin.role, standing.mode.mode
    people = {subject for subject in command.origin.subjects if subject}
    if role is Role.LOCAL_PLAN:
        if kind not in {SetLevel, ReleaseLevel, ReleaseJunction}:
            found.append(("SR-25", "the local plan only sets levels and gives back"))
    elif not people:
        found.append(("SR-25", "somebody signed"))
    elif kind is ResetLatch and role is not Role.TECHNICIAN:
        found.append(("SR-25", "only a technician resets"))
    elif kind is RequestFlash and len(people) < 2 and not (role is Role.TECHNICIAN and stands_there(standing, now_ms)):
        found.append(("SR-25", "flash needs two people, or a technician who stands there"))
    if (standing.latch is not None or mode is Mode.HELD) and kind not in SAFE:
        found.append(("SR-13" if standing.latch else standing.mode.rule, "held means held"))
    if kind in REMOTE:
        _remote(found, command, standing, now_ms)
    is_local = mode is Mode.LOCAL if standing.local is None else standing.local.mode is Mode.LOCAL
    if is_local and role is not Role.TECHNICIAN and kind not in (*BLIND, ResetLatch):
        found.append(("SR-29", "nothing moves under somebody's hands"))
    if kind is ResetLatch:
        if not stands_there(standing, now_ms):
            found.append(("SR-13", "a reset is done at the open cabinet"))
        seen_at_ms = standing.fault_seen_at_ms
        if seen_at_ms is not None and now_ms - seen_at_ms < 10_000:
            found.append(("SR-13", "ten seconds without the fault"))


def _remote(found: Broken, command: Command, standing: Standing, now_ms: int) -> None:
    role = command.origin.role
    if standing.mode.mode is Mode.AUTONOMOUS and role is Role.OPERATOR:
        found.append(("SR-11", "nobody far away takes hold while the fleet is silent"))
    if standing.default_secret:
        found.append(("SR-17", "no control beside a secret everybody knows"))
    if type(command) is PriorityRequest and (command.vehicle < 1 or role is Role.LOCAL_PLAN):
        found.append(("SR-15", "priority for a vehicle with a number"))
    number = {RequestFlash: 3, RaiseBollard: 2}.get(type(command), 1)
    rule, own_max, site_max = BUDGETS[number]
    spent = [each for each in standing.spent if int(each.command_class) == number and now_ms - each.at_ms < 600_000]
    own = sum(each.equipment == command.equipment for each in spent)
    if role is not Role.LOCAL_PLAN and (own >= own_max or len(spent) >= site_max):
        found.append((rule, "a budget for each class"))


def _emergency(found: Broken, seen: Any) -> None:
    if seen.state == 9 or seen.efo_active:
        found.append(("SR-23", "the emergency raise is ended by its own switch only"))


def _show(found: Broken, command: Any, equipment: Any, seen: Any) -> None:
    own = equipment.templates.get(command.template)
    sums = {own, seen.crcs.get(command.template), command.crc}
    falls_back = seen.loss_message and seen.loss_minutes is not None and seen.loss_minutes >= 2
    if seen.is_local or own is None or len(sums) != 1 or not falls_back or not 1 <= command.lease_ms <= 86_400_000:
        found.append(
            ("SR-18", "a commissioned text, three equal sums, an end, and a display that falls back by itself")
        )


def _priority(found: Broken, command: Any, equipment: Any, standing: Standing, now_ms: int) -> None:
    asked = [each for each in standing.spent if each.vehicle == command.vehicle]
    is_soon = any(each.equipment == command.equipment and now_ms - each.at_ms < 120_000 for each in asked)
    is_often = len([each for each in asked if now_ms - each.at_ms < 600_000]) >= 3
    within = 1 <= command.level <= equipment.priority_level_max and 1 <= command.presence_ms <= 60_000
    if is_soon or is_often or not within:
        found.append(("SR-15", "priority within its bounds, and seldom"))


def _control(found: Broken, command: Any, equipment: Any, seen: Any, standing: Standing, now_ms: int) -> None:
    if type(command) is SelectPlan:
        if command.plan not in equipment.plans or not 0 < command.plan < 254:
            found.append(("SR-27", "a plan somebody walked through on site"))
    elif type(command) is PriorityRequest:
        _priority(found, command, equipment, standing, now_ms)
    elif standing.flash_requested_at_ms is not None and now_ms - standing.flash_requested_at_ms < 600_000:
        found.append(("SR-14", "flash once in ten minutes"))
    if type(command) is not PriorityRequest and not 1 <= command.lease_ms <= 60 * 60 * 1000:
        found.append(("SR-10", "a hold ends within the hour"))
    if seen.backup_time_s is None or not 10 <= seen.backup_time_s <= 120:
        found.append(("SR-09", "a watchdog between 10 and 120 s"))
    elif seen.backup_time_s != equipment.backup_time_s:
        found.append(("SR-09", "the commissioned watchdog"))
    if equipment.configuration_id is not None and seen.configuration_id != equipment.configuration_id:
        found.append(("SR-16", "the commissioned configuration"))
    if seen.flash_status != 2 or seen.pattern == 255:
        found.append(("SR-12", "flash is left by the start-up"))


def _raise(found: Broken, equipment: Any, seen: Any, now_ms: int) -> None:
    least_ms = max(2_000, equipment.loops_free_ms_min)
    beat, since = seen.heartbeat_at_ms, seen.loops_free_since_ms
    if (
        now_ms - seen.at_ms > 1_000
        or beat is None
        or beat > now_ms
        or beat < now_ms - 3_000
        or seen.loop_a
        or seen.loop_b
        or seen.loop_fault
        or since is None
        or seen.at_ms - since < least_ms
        or not seen.mains_ok
        or seen.fault_latched
        or seen.pressure_trip
        or seen.local_key
        or not seen.at_bottom
        or seen.at_top
        or seen.moving_up
        or seen.moving_down
        or seen.state != 0
    ):
        found.append(("SR-19", "a bollard rises only where nothing stands, from rest, with all in order"))
    if seen.reversals >= 3:
        found.append(("SR-21", "after three reversals it stays down"))
    _emergency(found, seen)


def _level(found: Broken, command: Any, equipment: Any, seen: Any) -> None:
    if seen.local_override:
        found.append(("LR-03", "the switch at the contactor"))
    floor = 0 if seen.dark is False and not seen.breaker_tripped else equipment.level_floor_percent
    if not max(0, floor) <= command.level_percent <= 100:
        found.append(("LR-01", "not below the floor by night, nor when nobody knows"))
    if command.origin.role is not Role.LOCAL_PLAN and not 1 <= command.lease_ms <= equipment.lease_ms_max:
        found.append(("LR-02", "every override ends"))


def _reset(found: Broken, equipment: Any, seen: Any, _standing: Standing, _now_ms: int) -> None:
    if type(equipment) is Bollard:
        is_there = seen.green_on and (not seen.at_bottom or seen.at_top or seen.moving_up)
    else:
        is_there = contradicts(equipment, seen)
    if is_there:
        found.append(("SR-13", "no reset while the fault is there"))


def contradicts(junction: Junction, seen: JunctionObserved) -> bool:
    """Two groups in conflict, one green and the other green or yellow; or a green nobody commissioned."""
    greens = {number for number in range(1, seen.greens.bit_length() + 1) if seen.greens >> (number - 1) & 1}
    yellows = {number for number in range(1, seen.yellows.bit_length() + 1) if seen.yellows >> (number - 1) & 1}
    moving = greens | yellows if seen.flash_status == 2 else greens
    for pair in junction.conflicts:
        first, second = tuple(pair)
        if (first in greens and second in moving) or (second in greens and first in moving):
            return True
    return not greens <= {group.number for group in junction.groups}
