"""Ten thousand adversarial cases: whatever is asked, an approval implies what the safety page promises.

The promises are written here a second time, in plain words, from the page and not from the rules.
"""

from dataclasses import replace
from random import Random
from typing import Any

from agent.model.command import (
    COMMAND_CLASS,
    LOCAL_PLAN,
    Command,
    CommandClass,
    LowerBollard,
    Origin,
    RaiseBollard,
    ReleaseJunction,
    ReleaseLevel,
    RequestFlash,
    ResetLatch,
    Role,
    SelectPlan,
    SetLevel,
)
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import Observed, Presence
from agent.safety.kernel import judge
from agent.safety.mode import Mode, ModeEntry
from agent.safety.standing import Spending, Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import BOLLARD, JUNCTION, LATCH, NOW_MS, SEEN, SEGMENT, SITE, B, J, L, S

CASES = 10_000
COMMISSIONED = replace(SITE, equipment={**SITE.equipment, J: replace(JUNCTION, configuration_id=7)})
RULES = {
    "SR-01", "SR-09", "SR-10", "SR-11", "SR-12", "SR-13", "SR-14", "SR-16", "SR-17", "SR-19", "SR-21", "SR-25", "SR-27", "SR-28", "SR-29",
    "LR-01", "LR-02", "LR-03",
}  # fmt: skip


def mostly(random: Random, usual: Any, *others: Any) -> Any:
    return usual if random.random() < 0.85 else random.choice(others)


def a_command(random: Random) -> Command:
    subjects = mostly(random, ("alice", "bruno"), (), ("alice",), ("alice", "alice"), ("",))
    origin = mostly(random, Origin(random.choice(list(Role)), subjects), LOCAL_PLAN)
    where = mostly(random, None, J, B, S, L, EquipmentId("elsewhere"))
    lease_ms = mostly(random, 60_000, -1, 0, 3_600_000, 3_600_001, 43_200_000, 43_200_001, 2**62)
    return random.choice(
        (
            SelectPlan(where or J, origin, PlanNumber(mostly(random, 2, 0, 3, 254, 255, -1)), lease_ms),
            RequestFlash(where or J, origin, lease_ms),
            ReleaseJunction(where or J, origin),
            LowerBollard(where or B, origin),
            RaiseBollard(where or B, origin),
            SetLevel(where or S, origin, mostly(random, 50, -1, 0, 29, 30, 100, 101), lease_ms),
            ReleaseLevel(where or S, origin),
            ResetLatch(where or random.choice((J, B)), origin),
        )
    )


def a_reading(random: Random, command: Command) -> Observed | None:
    seen: Any = mostly(random, SEEN.get(command.equipment), None, *SEEN.values())
    if seen is None:
        return None
    changes: dict[str, Any] = {"at_ms": NOW_MS - mostly(random, 100, -1, 0, 999, 1_001, 3_000, 3_001, 10**9)}
    for name in ("loop_a", "loop_b", "loop_fault", "local_key", "fault_latched", "moving_up", "at_top", "at_bottom"):
        if hasattr(seen, name) and random.random() < 0.04:
            changes[name] = not getattr(seen, name)
    if hasattr(seen, "mains_ok"):
        changes["mains_ok"] = mostly(random, True, False)
        changes["reversals"] = mostly(random, 0, 2, 3)
        changes["state"] = mostly(random, 0, 3, 6, 10, 42)
        changes["loops_free_since_ms"] = mostly(random, NOW_MS - 9_000, None, NOW_MS, NOW_MS - 4_000)
        changes["heartbeat_at_ms"] = mostly(random, NOW_MS - 200, None, NOW_MS - 9_000)
    if hasattr(seen, "flash_status"):
        changes["flash_status"] = mostly(random, 2, 0, 3, 6, 7)
        changes["pattern"] = mostly(random, 1, 255, 254, 0)
        changes["backup_time_s"] = mostly(random, 60, None, 0, 59, 121, 65_535)
        changes["configuration_id"] = mostly(random, 7, None, 8)
        changes["greens"] = mostly(random, 0b0001, 0b0011, 0b1111, 2**63, 0)
    if hasattr(seen, "dark"):
        changes["dark"] = random.choice((True, False, None))
        changes["local_override"] = mostly(random, False, True)
    return replace(seen, **changes)


def a_day(number: int, count: int) -> tuple[Spending, ...]:
    """So many commands of one class to each of the three."""
    return tuple(Spending(CommandClass(number), where, NOW_MS - n) for n in range(count) for where in (J, B, S))


def a_standing(random: Random) -> Standing:
    return Standing(
        mode=ModeEntry(mostly(random, Mode.SUPERVISED, *Mode), "cause", "cure"),
        latch=mostly(random, None, LATCH),
        presence=random.choice(
            (
                None,
                Presence(
                    NOW_MS - mostly(random, 10, 3_001, -1), mostly(random, True, False), mostly(random, True, False)
                ),
            )
        ),
        flash_requested_at_ms=mostly(random, None, NOW_MS, NOW_MS - 599_999, NOW_MS - 600_000),
        fault_seen_at_ms=mostly(random, None, NOW_MS, NOW_MS - 10_000),
        spent=mostly(random, (), a_day(3, 3), a_day(2, 20), a_day(1, 60), a_day(2, 19), a_day(3, 2), a_day(1, 59)),
        default_secret=mostly(random, "", "", "", "write community"),
    )


def there(standing: Standing) -> bool:
    presence = standing.presence
    if presence is None or not NOW_MS - 3_000 <= presence.at_ms <= NOW_MS:
        return False
    return presence.door_open and presence.local_key


def broken_promises(command: Command, seen: Any, standing: Standing) -> list[str]:
    """What an approval of this would break."""
    origin, mode = command.origin, standing.mode.mode
    people = {subject for subject in origin.subjects if subject}
    held = standing.latch is not None or mode is Mode.HELD
    safe = isinstance(command, ReleaseJunction | LowerBollard)
    sighted = not isinstance(command, ReleaseJunction | ReleaseLevel)
    promises = {
        "somebody asked": bool(people) or origin.role is Role.LOCAL_PLAN,
        "held means held": not held or safe or isinstance(command, ResetLatch),
        "seen now": not sighted or (seen is not None and 0 <= NOW_MS - seen.at_ms <= 3_000),
        "seen itself": not sighted or (seen is not None and seen.equipment == command.equipment),
        "nobody works there": mode is not Mode.LOCAL or origin.role is Role.TECHNICIAN or not sighted,
    }
    counted = not safe and not isinstance(command, ReleaseLevel | ResetLatch) and origin.role is not Role.LOCAL_PLAN
    needs = COMMAND_CLASS[type(command)]
    own = sum(each.equipment == command.equipment and each.command_class == needs for each in standing.spent)
    promises["within its budget"] = not counted or own < {1: 60, 2: 20, 3: 1}[int(needs)]
    promises["an own secret"] = not counted or not standing.default_secret
    leased = isinstance(command, SelectPlan | RequestFlash | SetLevel)
    promises["the fleet is there"] = not (leased and mode is Mode.AUTONOMOUS and origin.role is Role.OPERATOR)
    if seen is not None and sighted:
        promises |= promises_on_sight(command, seen, standing, people)
    return [words for words, kept in promises.items() if not kept]


def promises_on_sight(command: Command, seen: Any, standing: Standing, people: set[str]) -> dict[str, bool]:
    role = command.origin.role
    match command:
        case SelectPlan() | RequestFlash():
            kept = {
                "a junction": command.equipment == J,
                "not the local plan": role is not Role.LOCAL_PLAN,
                "watchdog": seen.backup_time_s == JUNCTION.backup_time_s,
                "configuration": seen.configuration_id == 7,
                "not flashing": seen.flash_status == 2 and seen.pattern != 255,
                "an hour": 1 <= command.lease_ms <= 3_600_000,
            }
            if isinstance(command, SelectPlan):
                return kept | {"commissioned": command.plan in JUNCTION.plans}
            last_ms = standing.flash_requested_at_ms
            return kept | {
                "two people": len(people) >= 2 or (role is Role.TECHNICIAN and there(standing)),
                "rare": last_ms is None or NOW_MS - last_ms >= 600_000,
            }
        case LowerBollard():
            return {"no local key": not seen.local_key}
        case RaiseBollard():
            return {
                "loops": not (seen.loop_a or seen.loop_b or seen.loop_fault),
                "free long enough": seen.at_ms - (seen.loops_free_since_ms or NOW_MS) >= BOLLARD.loops_free_ms_min,
                "down": (seen.at_bottom, seen.at_top, seen.moving_up, seen.state) == (True, False, False, 0),
                "in order": seen.mains_ok and not seen.local_key and not seen.fault_latched and seen.reversals < 3,
                "alive": seen.heartbeat_at_ms is not None and NOW_MS - seen.heartbeat_at_ms <= 3_000,
                "just now": NOW_MS - seen.at_ms <= 1_000,
            }
        case SetLevel():
            floor = 0 if seen.dark is False else SEGMENT.level_floor_percent
            return {
                "floor": floor <= command.level_percent <= 100,
                "an end": role is Role.LOCAL_PLAN or 1 <= command.lease_ms <= SEGMENT.lease_ms_max,
                "switch": not seen.local_override,
            }
        case _:
            return {"technician": role is Role.TECHNICIAN, "on site": there(standing)}


def test_ten_thousand_adversarial_cases_break_no_promise() -> None:
    random = Random(20_260_401)
    approved: dict[str, int] = {}
    refused: dict[str, int] = {}
    for number in range(CASES):
        command, standing = a_command(random), a_standing(random)
        seen = a_reading(random, command)
        verdict = judge(command, COMMISSIONED, seen, standing, NOW_MS)
        again = judge(command, COMMISSIONED, seen, standing, NOW_MS)
        assert verdict == again, "not deterministic"
        if isinstance(verdict, Approved):
            assert broken_promises(command, seen, standing) == [], (number, command, seen, standing)
            name = type(command).__name__
            approved[name] = approved.get(name, 0) + 1
        else:
            assert isinstance(verdict, Refused)
            assert 0 < len(verdict.reason) <= 200
            refused[verdict.rule] = refused.get(verdict.rule, 0) + 1
    assert len(approved) == 8, approved
    assert min(approved.values()) >= 20, approved
    assert set(refused) == RULES, refused
