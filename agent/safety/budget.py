"""Budgets: how many commands of one class in ten minutes, so that valid signatures alone cannot wear a city down. Pure.

The numbers are ours: several times what a busy control room or bollard needs, and few enough to be noticed. Releases,
lowers and resets are no part of it and are never refused here; the local plan is no remote command.
Source: docs/safety.md SR-14, SR-25.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model.command import (
    COMMAND_CLASS,
    Command,
    CommandClass,
    LowerBollard,
    PriorityRequest,
    ReleaseJunction,
    ReleaseLevel,
    RequestFlash,
    Role,
)
from agent.safety.case import AnyCase
from agent.safety.standing import Spending, Spent
from agent.safety.verdict import Refused

BUDGET_WINDOW_MS = 600_000
"""10 min, as in SR-14."""
SPENT_MAX = 512
"""More than every limit of the site together, so that forgetting the oldest never makes room for a new one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most so many commands in one window: to one piece of equipment, and in the whole cabinet."""

    rule: str
    equipment: int
    site: int


LIMITS: Mapping[CommandClass, Limit] = {
    CommandClass.R1_BOUNDED: Limit("SR-25", 60, 240),
    CommandClass.R2_SITUATIONAL: Limit("SR-25", 20, 60),
    CommandClass.R3_DEGRADING: Limit("SR-14", 3, 3),
}


FREE = (ReleaseJunction, ReleaseLevel, LowerBollard)


def spend(spent: Spent, command: Command, now_ms: int) -> Spent:
    """Remember one command; what no limit can ask for any more is forgotten. Releases and lowers cost nothing."""
    if isinstance(command, FREE) or (command.origin.role is Role.LOCAL_PLAN and not isinstance(command, RequestFlash)):
        return spent
    kept = tuple(each for each in spent if now_ms - each.at_ms < BUDGET_WINDOW_MS)
    vehicle = command.vehicle if isinstance(command, PriorityRequest) else 0
    return (*kept, Spending(COMMAND_CLASS[type(command)], command.equipment, now_ms, vehicle))[-SPENT_MAX:]


def budget_is_left(case: AnyCase) -> Refused | None:
    """SR-14, SR-25: each class of remote command has its budget, for one piece of equipment and for the cabinet."""
    command_class = COMMAND_CLASS[type(case.command)]
    limit = LIMITS.get(command_class)
    if limit is None or case.command.origin.role is Role.LOCAL_PLAN:
        return None
    recent = [
        each.equipment
        for each in case.standing.spent
        if each.command_class is command_class and case.now_ms - each.at_ms < BUDGET_WINDOW_MS
    ]
    own = recent.count(case.command.equipment)
    for spent, most, where in (
        (own, limit.equipment, case.command.equipment),
        (len(recent), limit.site, "the cabinet"),
    ):
        if spent >= most:
            words = f"{spent} commands of class R{int(command_class)} in {BUDGET_WINDOW_MS // 60_000} min"
            return Refused(limit.rule, f"{where} had {words}, at most {most} are allowed; releases still pass")
    return None
