"""The safety kernel: one command, one verdict. Pure and deterministic; the first refusal wins.

Whatever is not listed here is refused. The order of the rules is fixed: who asks, then latches and modes, then whether
the equipment is seen, then what is seen. Source: docs/safety.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from agent.model.command import (
    COMMAND_CLASS,
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
from agent.model.equipment import Bollard, Display, Equipment, Junction, Segment
from agent.model.observation import BollardObserved, DisplayObserved, JunctionObserved, Observed, SegmentObserved
from agent.model.site import Site
from agent.safety import bollard, display, junction, lighting, priority
from agent.safety.authority import fleet_is_heard, nobody_works_there, observation_is_fresh, origin_suffices
from agent.safety.budget import budget_is_left
from agent.safety.case import Case
from agent.safety.lease import Lease
from agent.safety.reset import (
    conflict_is_gone,
    fault_is_over,
    nothing_is_latched,
    reset_is_on_site,
    wrong_green_is_gone,
)
from agent.safety.secret import secrets_are_own
from agent.safety.standing import Standing
from agent.safety.verdict import _SEAL, Approved, Refused

C = TypeVar("C", bound=Command)
E = TypeVar("E", bound=Equipment)
S = TypeVar("S", bound=Observed)

StandingRule = Callable[[Case[C, E]], Refused | None]
SeenRule = Callable[[Case[C, E], S], Refused | None]


@dataclass(frozen=True, slots=True)
class Rules(Generic[C, E, S]):
    """The rules of one kind of command, in order.

    Args:
        seen: the observation they need; None for commands that must never wait for one.
        before: rules that look at origin and standing. on_sight: rules that look at the equipment.
    """

    command: type[C]
    equipment: type[E]
    seen: type[S] | None
    before: tuple[StandingRule[C, E], ...]
    on_sight: tuple[SeenRule[C, E, S], ...] = ()

    def refusal(
        self, command: Command, equipment: Equipment, observed: Observed | None, standing: Standing, now_ms: int
    ) -> Refused | None:
        """The first refusal, or None."""
        assert isinstance(command, self.command)
        assert isinstance(equipment, self.equipment)
        case = Case(command, equipment, standing, now_ms)
        for before in self.before:
            if refused := before(case):
                return refused
        if self.seen is None:
            return None
        if refused := observation_is_fresh(case, observed):
            return refused
        if not isinstance(observed, self.seen) or observed.equipment != equipment.id:
            return Refused("SR-28", f"what was read is not a reading of {equipment.id}")
        for on_sight in self.on_sight:
            if refused := on_sight(case, observed):
                return refused
        return None

    def without(self, dropped: frozenset[object]) -> "Rules[C, E, S]":
        """These rules but for some."""
        before = tuple(rule for rule in self.before if rule not in dropped)
        return replace(self, before=before, on_sight=tuple(rule for rule in self.on_sight if rule not in dropped))


REMOTE = (origin_suffices, nothing_is_latched, fleet_is_heard, secrets_are_own, budget_is_left)
RESET = (origin_suffices, reset_is_on_site, fault_is_over)
WATCHED = (junction.watchdog_is_commissioned, junction.configuration_is_commissioned)
NORMAL = (*WATCHED, junction.controller_runs_normally)

PLAN = (junction.plan_is_commissioned, junction.lease_is_bounded, *NORMAL, nobody_works_there)
FLASH = (junction.lease_is_bounded, *NORMAL, junction.flash_is_rare, nobody_works_there)
PRIORITY = (priority.request_is_bounded, priority.requests_are_rare, *NORMAL, nobody_works_there)
LOWER = (bollard.key_is_not_local, bollard.no_emergency, nobody_works_there)
RAISE = (
    bollard.reading_is_from_now,
    bollard.plc_is_alive,
    bollard.no_emergency,
    bollard.loops_are_free,
    bollard.nothing_is_wrong,
    bollard.position_is_down,
    nobody_works_there,
)
LEVEL = (lighting.switch_is_not_local, lighting.level_is_allowed, lighting.lease_is_bounded, nobody_works_there)
SHOW = (
    display.display_is_not_local,
    display.template_is_commissioned,
    display.display_ends_by_itself,
    nobody_works_there,
)
_ALL: tuple[Rules[Any, Any, Any], ...] = (
    Rules(SelectPlan, Junction, JunctionObserved, REMOTE, PLAN),
    Rules(RequestFlash, Junction, JunctionObserved, REMOTE, FLASH),
    Rules(ReleaseJunction, Junction, None, (origin_suffices,)),
    Rules(PriorityRequest, Junction, JunctionObserved, (*REMOTE, priority.requester_is_known), PRIORITY),
    Rules(LowerBollard, Bollard, BollardObserved, (origin_suffices,), LOWER),
    Rules(RaiseBollard, Bollard, BollardObserved, REMOTE, RAISE),
    Rules(SetLevel, Segment, SegmentObserved, REMOTE, LEVEL),
    Rules(ReleaseLevel, Segment, None, (origin_suffices, nothing_is_latched)),
    Rules(ShowTemplate, Display, DisplayObserved, REMOTE, SHOW),
    Rules(ResetLatch, Junction, JunctionObserved, RESET, (conflict_is_gone,)),
    Rules(ResetLatch, Bollard, BollardObserved, RESET, (wrong_green_is_gone,)),
)
RULES: Mapping[tuple[type, type], Rules[Any, Any, Any]] = {(rules.command, rules.equipment): rules for rules in _ALL}

AT_FIRST: frozenset[object] = frozenset(
    {origin_suffices, fleet_is_heard, budget_is_left, junction.lease_is_bounded, lighting.lease_is_bounded}
)
AT_FLASH: frozenset[object] = frozenset({junction.controller_runs_normally, junction.flash_is_rare})
WHILE_LEASED: Mapping[tuple[type, type], Rules[Any, Any, Any]] = {
    (SelectPlan, Junction): RULES[SelectPlan, Junction].without(AT_FIRST),
    (RequestFlash, Junction): RULES[RequestFlash, Junction].without(AT_FIRST | AT_FLASH),
    (SetLevel, Segment): RULES[SetLevel, Segment].without(AT_FIRST),
}
"""What must go on holding while a lease lasts: all but what only its beginning must satisfy; see ``may_refresh``."""


def judge(command: C, site: Site, observed: Observed | None, standing: Standing, now_ms: int) -> Approved[C] | Refused:
    """Approve a command only if every rule lets it pass.

    Args:
        observed: the newest reading of the command's equipment, None if there is none.
        standing: what holds at that equipment.
        now_ms: monotonic, read after the observation arrived.

    Returns:
        The approval, good for this moment, or the first refusal. Never raises, whatever the command holds.
    """
    if refused := _is_command(command):
        return refused
    equipment = site.equipment.get(command.equipment)
    if equipment is None:
        return Refused("SR-01", f"this cabinet has no {command.equipment}")
    rules = RULES.get((type(command), type(equipment)))
    if rules is None:
        return Refused("SR-01", f"a {equipment.kind} knows no {type(command).__name__}")
    return rules.refusal(command, equipment, observed, standing, now_ms) or Approved(command, now_ms, _SEAL)


def may_refresh(lease: Lease, site: Site, observed: Observed | None, standing: Standing, now_ms: int) -> Refused | None:
    """Whether a lease in force may be told to the equipment again; None if so.

    The rules of its command, but for those that only its beginning had to satisfy: who signed, and for a flash that the
    controller was not yet flashing and had not been asked lately.
    """
    command = lease.approved.command
    equipment = site.equipment.get(command.equipment)
    rules = WHILE_LEASED.get((type(command), type(equipment)))
    if equipment is None or rules is None:
        return Refused("SR-01", f"nothing is held at {command.equipment}")
    return rules.refusal(command, equipment, observed, standing, now_ms)


def _is_command(command: Command) -> Refused | None:
    """SR-01: whatever is not one of the listed commands, with fields of their own types, is refused.

    The types promise as much; this holds also for a caller that broke the promise.
    """
    if type(command) not in COMMAND_CLASS:
        return Refused("SR-01", f"there is no command {type(command).__name__}")
    origin = command.origin
    numbers = [getattr(command, name) for name in type(command).__slots__ if name not in {"equipment", "origin"}]
    if (
        type(command.equipment) is str
        and type(origin) is Origin
        and type(origin.role) is Role
        and type(origin.subjects) is tuple
        and all(type(subject) is str for subject in origin.subjects)
        and all(type(number) is int for number in numbers)
    ):
        return None
    return Refused("SR-01", f"not a well-formed {type(command).__name__}")
