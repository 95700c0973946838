"""SR-11 and leases: every remote hold ends by its time, or when the fleet falls silent."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import Command, Origin
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import Lease, due, fleet_is_silent, granted
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import (
    ALICE_AND_BRUNO,
    AUTONOMOUS,
    FLASH,
    HELD,
    JUNCTION,
    LATCHED,
    LEVEL,
    NOW_MS,
    ON_SITE,
    PLAN,
    SEEN,
    SEEN_JUNCTION,
    SEEN_SEGMENT,
    SITE,
    TAGGED_OUT,
    TECHNICIAN,
    J,
    by,
)

NOTHING = Standing()


def lease(command: Any = PLAN, standing: Standing = NOTHING) -> Lease:
    approved = judge(command, SITE, SEEN[command.equipment], standing, NOW_MS)
    assert isinstance(approved, Approved), approved
    return granted(approved)


def test_a_lease_is_counted_from_its_approval() -> None:
    assert lease().ends_at_ms == NOW_MS + PLAN.lease_ms


@pytest.mark.parametrize("command", [PLAN, FLASH, LEVEL], ids=["plan", "flash", "level"])
def test_a_lease_ends_on_its_millisecond(command: Command) -> None:
    held = lease(command)
    assert due(held, held.ends_at_ms - 1, False) is None
    assert due(held, held.ends_at_ms, False) == "the lease has ended"
    assert due(held, held.ends_at_ms + 1, False) == "the lease has ended"


@pytest.mark.parametrize("command", [PLAN, FLASH, LEVEL], ids=["plan", "flash", "level"])
def test_sr_11_an_operators_hold_ends_when_the_fleet_falls_silent(command: Command) -> None:
    assert due(lease(command), NOW_MS, True) == "SR-11: the fleet is silent"
    assert due(lease(by(TECHNICIAN, command), ON_SITE), NOW_MS, True) is None


@given(ago_ms=st.integers(0, 300_000))
def test_sr_11_the_fleet_is_silent_after_the_sites_time(ago_ms: int) -> None:
    assert fleet_is_silent(NOW_MS, NOW_MS - ago_ms, SITE) is (ago_ms >= 120_000)


def test_sr_11_a_fleet_never_seen_is_silent() -> None:
    assert fleet_is_silent(NOW_MS, None, SITE)
    assert fleet_is_silent(NOW_MS, NOW_MS - 120_000, SITE)
    assert not fleet_is_silent(NOW_MS, NOW_MS - 119_999, SITE)


def refusal(held: Lease, standing: Standing = NOTHING, now_ms: int = NOW_MS, **seen: Any) -> Refused | None:
    return may_refresh(held, SITE, replace(SEEN_JUNCTION, at_ms=now_ms, **seen), standing, now_ms)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"backup_time_s": 0}, "SR-09"),
        ({"flash_status": 6}, "SR-12"),
        ({"standing": LATCHED}, "SR-13"),
        ({"standing": HELD}, "SR-13"),
        ({"standing": TAGGED_OUT}, "SR-29"),
    ],
    ids=str,
)
def test_a_plan_is_held_only_while_its_rules_hold(changes: dict[str, Any], rule: str) -> None:
    refused = refusal(lease(), **changes)
    assert refused is not None
    assert refused.rule == rule


def test_sr_27_a_plan_that_is_no_longer_commissioned_is_not_held() -> None:
    site = replace(SITE, equipment={J: replace(JUNCTION, plans=frozenset())})
    refused = may_refresh(lease(), site, SEEN_JUNCTION, NOTHING, NOW_MS)
    assert refused is not None
    assert refused.rule == "SR-27"


def test_nothing_is_held_blind() -> None:
    for held in (lease(), lease(FLASH)):
        refused = may_refresh(held, SITE, None, Standing(), NOW_MS)
        assert refused is not None
        assert refused.rule == "SR-28"


def test_a_flash_is_held_while_it_flashes_and_the_technician_closes_the_door() -> None:
    held = lease(by(TECHNICIAN, FLASH), ON_SITE)
    flashing = {"flash_status": 3, "pattern": 255}
    assert refusal(held, Standing(flash_requested_at_ms=NOW_MS), NOW_MS + 20_000, **flashing) is None
    for changes, rule in (
        ({"standing": LATCHED}, "SR-13"),
        ({"backup_time_s": 61}, "SR-09"),
        ({"standing": TAGGED_OUT}, ""),
    ):
        refused = refusal(held, **{**flashing, **changes})  # type: ignore[arg-type]
        assert (refused.rule if refused else "") == rule


def test_a_plan_is_refreshed_while_the_fleet_is_silent_only_because_due_ends_it() -> None:
    held = lease(by(Origin(ALICE_AND_BRUNO.role, ("alice",)), PLAN))
    assert refusal(held, AUTONOMOUS) is None
    assert due(held, NOW_MS, True) is not None


@pytest.mark.parametrize(
    ("standing", "seen", "rule"),
    [
        (NOTHING, {}, ""),
        (AUTONOMOUS, {}, ""),
        (NOTHING, {"dark": False}, ""),
        (NOTHING, {"local_override": True}, "LR-03"),
        (LATCHED, {}, "SR-13"),
        (TAGGED_OUT, {}, "SR-29"),
        (NOTHING, {"at_ms": NOW_MS - 3_001}, "SR-28"),
    ],
    ids=str,
)
def test_a_level_is_held_only_while_its_rules_hold(standing: Standing, seen: dict[str, Any], rule: str) -> None:
    refused = may_refresh(lease(LEVEL), SITE, replace(SEEN[LEVEL.equipment], **seen), standing, NOW_MS)
    assert (refused.rule if refused else "") == rule


def test_lr_01_a_level_set_by_day_ends_when_it_gets_dark() -> None:
    by_day = replace(SEEN_SEGMENT, dark=False)
    approved = judge(replace(LEVEL, level_percent=0), SITE, by_day, NOTHING, NOW_MS)
    assert isinstance(approved, Approved)
    assert may_refresh(granted(approved), SITE, by_day, NOTHING, NOW_MS) is None
    refused = may_refresh(granted(approved), SITE, SEEN_SEGMENT, NOTHING, NOW_MS)
    assert refused is not None
    assert refused.rule == "LR-01"


def test_nothing_is_held_at_equipment_that_is_gone() -> None:
    for held in (lease(PLAN), lease(LEVEL)):
        where = held.approved.command.equipment
        assert may_refresh(held, replace(SITE, equipment={}), SEEN[where], NOTHING, NOW_MS) == Refused(
            "SR-01", f"nothing is held at {where}"
        )
