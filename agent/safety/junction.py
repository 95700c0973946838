"""Rules for signalised junctions. Pure: facts in, verdict out.

We request, the controller decides: no command names a group, and a plan runs only if it was commissioned. The
controller's own conflict monitor (EN 12675) stays the authority. Source: docs/safety.md SR-09, 10, 12, 14, 16, 27.
"""

from agent.model.command import PriorityRequest, RequestFlash, SelectPlan
from agent.model.equipment import Junction
from agent.model.observation import JunctionObserved
from agent.safety.case import Case
from agent.safety.matrix import FLASH_NONE, FlashStatus
from agent.safety.verdict import Refused

Control = Case[SelectPlan | RequestFlash | PriorityRequest, Junction]
Hold = Case[SelectPlan | RequestFlash, Junction]

PLAN_MIN, PLAN_MAX = 1, 253
"""NTCIP 1202 systemPatternControl: 1..253 are plans; 0 releases, 254 is free, 255 is flash."""
PATTERN_FLASH = 255
BACKUP_TIME_S_MIN, BACKUP_TIME_S_MAX = 10, 120
"""unitBackupTime: 0 switches the watchdog off; long values leave a dead gateway's wish in force."""
REFRESHES_PER_BACKUP_TIME = 3
"""SR-09 asks for two; with three, one SET may be lost and the next still comes in time."""
JUNCTION_LEASE_MS_MAX = 3_600_000
"""60 min, the cap on any remote hold of a junction (SR-10)."""
FLASH_INTERVAL_MS_MIN = 600_000
"""10 min between flash requests at one junction (SR-14)."""
FLASH_PHRASES: dict[int, str] = {
    FlashStatus.OTHER: "a state of its own",
    FlashStatus.AUTOMATIC: "automatic flash",
    FlashStatus.LOCAL_MANUAL: "flash by its local switch",
    FlashStatus.FAULT_MONITOR: "flash by its fault monitor",
    FlashStatus.MMU: "flash by its conflict monitor",
    FlashStatus.STARTUP: "start-up",
    FlashStatus.PREEMPT: "flash by preemption",
}
"""How a refusal says it."""


def plan_is_commissioned(case: Case[SelectPlan, Junction], _seen: JunctionObserved) -> Refused | None:
    """SR-27: only plans commissioned on site may be selected."""
    plan, plans = case.command.plan, case.equipment.plans
    if plan in plans and PLAN_MIN <= plan <= PLAN_MAX:
        return None
    return Refused("SR-27", f"plan {plan} is not commissioned here; {', '.join(map(str, sorted(plans))) or 'none'} are")


def lease_is_bounded(case: Hold, _seen: JunctionObserved) -> Refused | None:
    """SR-10: a hold on a junction ends by itself, at most 60 min later."""
    lease_ms = case.command.lease_ms
    if 0 < lease_ms <= JUNCTION_LEASE_MS_MAX:
        return None
    return Refused(
        "SR-10", f"a junction lease lasts up to {JUNCTION_LEASE_MS_MAX // 1000} s, asked: {lease_ms / 1000:g} s"
    )


def watchdog_is_commissioned(case: Control, seen: JunctionObserved) -> Refused | None:
    """SR-09: the controller must be seen to drop our control by itself, in the time that was commissioned."""
    found_s, commissioned_s = seen.backup_time_s, case.equipment.backup_time_s
    if found_s is None:
        return Refused("SR-09", "the controller's unitBackupTime is not known yet")
    if not BACKUP_TIME_S_MIN <= found_s <= BACKUP_TIME_S_MAX:
        allowed = f"{BACKUP_TIME_S_MIN}..{BACKUP_TIME_S_MAX} s"
        return Refused("SR-09", f"the controller's unitBackupTime is {found_s} s; control needs {allowed}")
    if found_s != commissioned_s:
        return Refused("SR-09", f"the controller's unitBackupTime is {found_s} s; commissioned: {commissioned_s} s")
    return None


def configuration_is_commissioned(case: Control, seen: JunctionObserved) -> Refused | None:
    """SR-16: a controller whose stored configuration is not the commissioned one is not the one that was checked."""
    commissioned, found = case.equipment.configuration_id, seen.configuration_id
    if commissioned is None or found == commissioned:
        return None
    return Refused("SR-16", f"{configuration_words(found)}; commissioned: {commissioned}")


def configuration_words(found: int | None) -> str:
    """The controller's fingerprint, for a sentence."""
    return "the controller's configuration id " + ("cannot be read" if found is None else f"is {found}")


def controller_runs_normally(_case: Control, seen: JunctionObserved) -> Refused | None:
    """SR-12: nothing is asked of a controller in flash or start-up, which it leaves by its own sequence."""
    if seen.flash_status != FLASH_NONE:
        word = FLASH_PHRASES.get(seen.flash_status, f"an unknown state ({seen.flash_status})")
        return Refused("SR-12", f"the controller is in {word}; it leaves that by its own start-up")
    if seen.pattern == PATTERN_FLASH:
        return Refused("SR-12", "the controller runs its flash pattern; it leaves that by its own start-up")
    return None


def flash_is_rare(case: Case[RequestFlash, Junction], _seen: JunctionObserved) -> Refused | None:
    """SR-14: at most one flash request per junction in 10 min."""
    last_ms = case.standing.flash_requested_at_ms
    if last_ms is None or case.now_ms - last_ms >= FLASH_INTERVAL_MS_MIN:
        return None
    ago_s = (case.now_ms - last_ms) // 1000
    return Refused("SR-14", f"flash was requested {ago_s} s ago; once in {FLASH_INTERVAL_MS_MIN // 1000} s is allowed")


def refresh_period_ms(junction: Junction) -> int:
    """How often a held control must be sent again so that the controller's watchdog never drops it (SR-09)."""
    return junction.backup_time_s * 1000 // REFRESHES_PER_BACKUP_TIME
