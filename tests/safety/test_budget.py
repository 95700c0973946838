"""Budgets: valid signatures alone cannot wear a city down."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import COMMAND_CLASS, LOCAL_PLAN, Command, CommandClass
from agent.model.identity import EquipmentId
from agent.safety.budget import BUDGET_WINDOW_MS, LIMITS, SPENT_MAX, budget_is_left, spend
from agent.safety.case import Case
from agent.safety.kernel import judge
from agent.safety.standing import Spending, Spent, Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import (
    COMMANDS,
    FLASH,
    LEVEL,
    LOWER,
    NOW_MS,
    PLAN,
    RAISE,
    RELEASE,
    RELEASE_LEVEL,
    SEEN,
    SITE,
    B,
    J,
    S,
    by,
    standing_for,
)

R1, R2, R3 = CommandClass.R1_BOUNDED, CommandClass.R2_SITUATIONAL, CommandClass.R3_DEGRADING
ELSEWHERE = EquipmentId("elsewhere")
BUDGETED = pytest.mark.parametrize("command", [PLAN, LEVEL, RAISE, FLASH])


def verdict(command: Command, spent: Spent) -> Approved[Command] | Refused:
    standing = replace(standing_for(command), spent=spent)
    return judge(command, SITE, SEEN[command.equipment], standing, NOW_MS)


def times(count: int, command_class: CommandClass, equipment: EquipmentId, ago_ms: int = 1) -> Spent:
    return (Spending(command_class, equipment, NOW_MS - ago_ms),) * count


def test_sr_25_the_budgets_are_those_of_the_safety_page() -> None:
    assert {int(key): (limit.rule, limit.equipment, limit.site) for key, limit in LIMITS.items()} == {
        1: ("SR-25", 60, 240),
        2: ("SR-25", 20, 60),
        3: ("SR-14", 3, 3),
    }
    assert BUDGET_WINDOW_MS == 600_000


@BUDGETED
def test_sr_25_a_budget_ends_on_its_last_command_and_its_last_millisecond(command: Command) -> None:
    needs = COMMAND_CLASS[type(command)]
    own, site = LIMITS[needs].equipment, LIMITS[needs].site
    assert isinstance(verdict(command, times(own - 1, needs, command.equipment)), Approved)
    refused = verdict(command, times(own, needs, command.equipment))
    assert isinstance(refused, Refused)
    assert refused.rule == LIMITS[needs].rule
    assert isinstance(verdict(command, times(own, needs, command.equipment, BUDGET_WINDOW_MS)), Approved)
    assert isinstance(verdict(command, times(own, needs, command.equipment, BUDGET_WINDOW_MS - 1)), Refused)
    assert isinstance(verdict(command, times(site - 1, needs, ELSEWHERE)), Approved)
    assert isinstance(verdict(command, times(site, needs, ELSEWHERE)), Refused)


def test_sr_14_three_flash_requests_in_ten_minutes_are_all_a_cabinet_gets() -> None:
    spent = tuple(Spending(R3, EquipmentId(f"j-{n}"), NOW_MS - 1_000 * n) for n in range(3))
    reason = "the cabinet had 3 commands of class R3 in 10 min, at most 3 are allowed; releases still pass"
    assert verdict(FLASH, spent) == Refused("SR-14", reason)
    assert isinstance(verdict(FLASH, spent[:2]), Approved)
    assert isinstance(verdict(PLAN, spent), Approved)


def test_sr_25_says_which_budget_is_spent() -> None:
    reason = "rue-musette had 20 commands of class R2 in 10 min, at most 20 are allowed; releases still pass"
    assert verdict(RAISE, times(20, R2, B)) == Refused("SR-25", reason)


def test_sr_25_no_budget_stops_a_release_a_lower_a_reset_or_the_local_plan() -> None:
    spent = tuple(
        Spending(each, where, NOW_MS) for each in (R1, R2, R3) for where in (J, B, S, ELSEWHERE) for _ in range(999)
    )
    for command in (RELEASE, LOWER, RELEASE_LEVEL, by(LOCAL_PLAN, LEVEL), COMMANDS[-1], COMMANDS[-2]):
        assert isinstance(verdict(command, spent), Approved), command
        assert spend((), command, NOW_MS) == () or COMMAND_CLASS[type(command)] is CommandClass.R4_CONFIGURATION


def test_sr_14_the_observers_own_flash_is_counted_too() -> None:
    assert spend((), by(LOCAL_PLAN, FLASH), NOW_MS) == (Spending(R3, J, NOW_MS),)


@given(st.lists(st.tuples(st.sampled_from(COMMANDS), st.integers(0, 100_000)), max_size=80))
def test_sr_25_whatever_is_asked_never_more_than_the_budget_is_approved(asked: list[tuple[Command, int]]) -> None:
    spent: Spent = ()
    now_ms, approved = NOW_MS, []
    for command, step_ms in asked:
        now_ms += step_ms
        limits = {key: replace(limit, equipment=2, site=3) for key, limit in LIMITS.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("agent.safety.budget.LIMITS", limits)
            standing = replace(standing_for(command), spent=spent)
            seen = replace(SEEN[command.equipment], at_ms=now_ms)
            if isinstance(judge(command, SITE, seen, standing, now_ms), Approved):
                spent = spend(spent, command, now_ms)
                approved.append((now_ms, command))
    for at_ms, command in approved:
        needs = COMMAND_CLASS[type(command)]
        if needs not in LIMITS or command in (RELEASE, LOWER, RELEASE_LEVEL):
            continue
        same = [
            each
            for then_ms, each in approved
            if at_ms - BUDGET_WINDOW_MS < then_ms <= at_ms
            and COMMAND_CLASS[type(each)] is needs
            and each not in (RELEASE, LOWER, RELEASE_LEVEL)
        ]
        assert len(same) <= 3
        assert sum(each.equipment == command.equipment for each in same) <= 2


def test_sr_25_what_is_remembered_is_bounded() -> None:
    spent: Spent = ()
    for _ in range(2 * SPENT_MAX):
        spent = spend(spent, PLAN, NOW_MS)
    assert len(spent) == SPENT_MAX
    assert sum(limit.site for limit in LIMITS.values()) < SPENT_MAX
    assert spend(spent, RAISE, NOW_MS + BUDGET_WINDOW_MS) == (Spending(R2, B, NOW_MS + BUDGET_WINDOW_MS),)


def test_sr_25_a_class_without_a_budget_has_none_to_spend() -> None:
    reset = COMMANDS[-2]
    case = Case(reset, SITE.equipment[reset.equipment], Standing(spent=times(999, R1, J)), NOW_MS)
    assert budget_is_left(case) is None
