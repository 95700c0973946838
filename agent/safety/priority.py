"""Rules for priority requests. Pure; no verb asks for one yet. The controller bounds what priority may do (NTCIP 1211).

Source: docs/safety.md SR-15; Zolder 2020: calls faked by an app, because nobody was asked who they were.
"""

from agent.model.command import PriorityRequest
from agent.model.equipment import Junction
from agent.model.observation import JunctionObserved
from agent.safety.budget import BUDGET_WINDOW_MS
from agent.safety.case import Case
from agent.safety.verdict import Refused

Asked = Case[PriorityRequest, Junction]

PRESENCE_MS_MAX = 60_000
COOLDOWN_MS = 120_000
"""Between two requests of one vehicle at one junction."""
VEHICLE_REQUESTS_MAX = 3
"""One vehicle, all junctions of the cabinet: it passes there a few times in ten minutes. Ours."""


def requester_is_known(case: Asked) -> Refused | None:
    """SR-15: what somebody signed for is one vehicle, and has a number. Who signed was asked before (SR-25)."""
    if case.command.vehicle < 1:
        return Refused("SR-15", "a priority request names its vehicle and is signed")
    return None


def request_is_bounded(case: Asked, _seen: JunctionObserved) -> Refused | None:
    """SR-15: not stronger than the commissioned ceiling, and not for longer than a vehicle takes to come."""
    level, ceiling = case.command.level, case.equipment.priority_level_max
    if not 1 <= level <= ceiling:
        return Refused("SR-15", f"priority level {level} is outside 1..{ceiling}" if ceiling else "no priority here")
    if not 0 < case.command.presence_ms <= PRESENCE_MS_MAX:
        seconds = case.command.presence_ms / 1000
        return Refused("SR-15", f"a vehicle is waited for up to {PRESENCE_MS_MAX // 1000} s, asked: {seconds:g} s")
    return None


def requests_are_rare(case: Asked, _seen: JunctionObserved) -> Refused | None:
    """SR-15: a vehicle that asks again and again is no vehicle."""
    vehicle = case.command.vehicle
    ages_ms = [(case.now_ms - each.at_ms, each.equipment) for each in case.standing.spent if each.vehicle == vehicle]
    for age_ms, equipment in ages_ms:
        if equipment == case.equipment.id and age_ms < COOLDOWN_MS:
            return Refused("SR-15", f"vehicle {vehicle} asked here {age_ms // 1000} s ago")
    if sum(age_ms < BUDGET_WINDOW_MS for age_ms, _ in ages_ms) >= VEHICLE_REQUESTS_MAX:
        asked = f"{VEHICLE_REQUESTS_MAX} times in {BUDGET_WINDOW_MS // 60_000} min"
        return Refused("SR-15", f"vehicle {vehicle} asked {asked} at this cabinet")
    return None
