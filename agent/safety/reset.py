"""Rules around a latched fault: what it still allows, and who may reset it. Pure. Source: docs/safety.md SR-13."""

from agent.model.command import Command
from agent.model.equipment import Bollard, Junction
from agent.model.observation import BollardObserved, JunctionObserved
from agent.safety.bollard import green_is_wrong
from agent.safety.case import AnyCase, Case
from agent.safety.matrix import Matrix
from agent.safety.mode import Mode
from agent.safety.verdict import Refused

FAULT_OVER_MS_MIN = 10_000
"""How long the observer must have seen no fault before a reset counts. Ours."""


def nothing_is_latched(case: AnyCase) -> Refused | None:
    """SR-13, SR-30: with a fault latched, or held for another reason, only the safe directions and a reset remain."""
    if latch := case.standing.latch:
        return Refused("SR-13", f"latched by {latch.rule}: {latch.reason}; reset it at the open cabinet")
    if (mode := case.standing.mode).mode is Mode.HELD:
        return Refused(mode.rule, f"held: {mode.cause}; cleared by {mode.cleared_by}")
    return None


def reset_is_on_site(case: AnyCase) -> Refused | None:
    """SR-13: a reset needs the cabinet door open and the local key turned, as the guard itself reads them now."""
    if case.is_on_site:
        return None
    presence = case.standing.presence
    if presence is None:
        return Refused("SR-13", "a reset counts only at the open cabinet, and its door and key cannot be read")
    door = "open" if presence.door_open else "closed"
    key = "turned" if presence.local_key else "not turned"
    seen = f"door {door}, local key {key}, read {case.now_ms - presence.at_ms} ms ago"
    return Refused("SR-13", f"a reset needs the cabinet door open and the local key turned: {seen}")


def fault_is_over(case: AnyCase) -> Refused | None:
    """SR-13: no reset while the observer has only just seen a fault."""
    seen_at_ms = case.standing.fault_seen_at_ms
    if seen_at_ms is None or case.now_ms - seen_at_ms >= FAULT_OVER_MS_MIN:
        return None
    seen = f"the last one was seen {case.now_ms - seen_at_ms} ms ago"
    return Refused("SR-13", f"no fault may be seen for {FAULT_OVER_MS_MIN // 1000} s before a reset: {seen}")


def conflict_is_gone(case: Case[Command, Junction], seen: JunctionObserved) -> Refused | None:
    """SR-13: no reset while the signals still contradict the conflict matrix."""
    contradiction = Matrix.of(case.equipment).contradiction(seen)
    return Refused("SR-13", f"the fault is still there: {contradiction}") if contradiction else None


def wrong_green_is_gone(_case: Case[Command, Bollard], seen: BollardObserved) -> Refused | None:
    """SR-13: no reset while the bollard still shows green and is not fully down."""
    if green_is_wrong(seen):
        return Refused("SR-13", "the fault is still there: the green lamp is on and the bollard is not fully down")
    return None
