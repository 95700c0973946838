"""SR-09, SR-10, SR-12, SR-14, SR-27: what may be asked of a signal controller."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import Command
from agent.model.identity import PlanNumber
from agent.model.observation import JunctionObserved
from agent.safety.junction import refresh_period_ms
from agent.safety.kernel import judge, may_refresh
from agent.safety.lease import granted
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from tests.safety.facts import FLASH, JUNCTION, NOW_MS, PLAN, RELEASE, SEEN_JUNCTION, SITE, J

NOTHING = Standing()
CONTROL = pytest.mark.parametrize("command", [PLAN, FLASH], ids=["plan", "flash"])


def verdict(
    command: Command, seen: JunctionObserved = SEEN_JUNCTION, standing: Standing = NOTHING
) -> Approved[Command] | Refused:
    return judge(command, SITE, seen, standing, NOW_MS)


@given(plan=st.integers(-5, 300))
def test_sr_27_only_commissioned_plans_are_selected(plan: int) -> None:
    result = verdict(replace(PLAN, plan=PlanNumber(plan)))
    if plan in (1, 2, 7):
        assert isinstance(result, Approved)
    else:
        assert result == Refused("SR-27", f"plan {plan} is not commissioned here; 1, 2, 7 are")


@pytest.mark.parametrize(("plan", "passes"), [(0, False), (1, True), (253, True), (254, False), (255, False)])
def test_sr_27_free_and_flash_are_no_plans_even_if_the_site_says_so(plan: int, passes: bool) -> None:
    careless = replace(JUNCTION, plans=frozenset({PlanNumber(plan)}))
    site = replace(SITE, equipment={J: careless})
    result = judge(replace(PLAN, plan=PlanNumber(plan)), site, SEEN_JUNCTION, Standing(), NOW_MS)
    assert isinstance(result, Approved) is passes
    assert isinstance(result, Approved) or result.rule == "SR-27"


def test_sr_27_says_so_when_no_plan_is_commissioned() -> None:
    site = replace(SITE, equipment={J: replace(JUNCTION, plans=frozenset())})
    assert judge(PLAN, site, SEEN_JUNCTION, Standing(), NOW_MS) == Refused(
        "SR-27", "plan 2 is not commissioned here; none are"
    )


@CONTROL
@pytest.mark.parametrize(
    ("lease_ms", "passes"), [(-1, False), (0, False), (1, True), (3_600_000, True), (3_600_001, False)]
)
def test_sr_10_a_junction_is_held_for_an_hour_at_most(command: Command, lease_ms: int, passes: bool) -> None:
    result = verdict(replace(command, lease_ms=lease_ms))
    assert isinstance(result, Approved) is passes
    assert isinstance(result, Approved) or result.rule == "SR-10"


def test_sr_10_says_what_was_asked() -> None:
    assert verdict(replace(PLAN, lease_ms=5_400_000)) == Refused(
        "SR-10", "a junction lease lasts up to 3600 s, asked: 5400 s"
    )


@CONTROL
@given(found_s=st.none() | st.integers(0, 130))
def test_sr_09_control_needs_the_commissioned_watchdog(command: Command, found_s: int | None) -> None:
    result = verdict(command, replace(SEEN_JUNCTION, backup_time_s=found_s))
    assert isinstance(result, Approved) is (found_s == 60)
    assert isinstance(result, Approved) or result.rule == "SR-09"


@CONTROL
@pytest.mark.parametrize(("both_s", "passes"), [(0, False), (9, False), (10, True), (120, True), (121, False)])
def test_sr_09_the_watchdog_has_bounds_even_if_the_site_has_none(command: Command, both_s: int, passes: bool) -> None:
    site = replace(SITE, equipment={J: replace(JUNCTION, backup_time_s=both_s)})
    result = judge(command, site, replace(SEEN_JUNCTION, backup_time_s=both_s), Standing(), NOW_MS)
    assert isinstance(result, Approved) is passes
    assert isinstance(result, Approved) or result == Refused(
        "SR-09", f"the controller's unitBackupTime is {both_s} s; control needs 10..120 s"
    )


def test_sr_09_names_what_was_found() -> None:
    unknown, other = replace(SEEN_JUNCTION, backup_time_s=None), replace(SEEN_JUNCTION, backup_time_s=61)
    assert verdict(PLAN, unknown) == Refused("SR-09", "the controller's unitBackupTime is not known yet")
    assert verdict(PLAN, other) == Refused("SR-09", "the controller's unitBackupTime is 61 s; commissioned: 60 s")


@given(backup_time_s=st.integers(10, 120))
def test_sr_09_control_is_refreshed_twice_in_the_watchdogs_time_even_if_one_is_lost(backup_time_s: int) -> None:
    period_ms = refresh_period_ms(replace(JUNCTION, backup_time_s=backup_time_s))
    assert 0 < period_ms <= backup_time_s * 1000 / 2
    assert 2 * period_ms < backup_time_s * 1000


def test_sr_09_sixty_seconds_are_refreshed_every_twenty() -> None:
    assert refresh_period_ms(JUNCTION) == 20_000


@CONTROL
@given(found=st.none() | st.integers(0, 3), commissioned=st.none() | st.integers(0, 3))
def test_sr_16_control_needs_the_commissioned_configuration(
    command: Command, found: int | None, commissioned: int | None
) -> None:
    site = replace(SITE, equipment={J: replace(JUNCTION, configuration_id=commissioned)})
    seen = replace(SEEN_JUNCTION, configuration_id=found)
    result = judge(command, site, seen, Standing(), NOW_MS)
    assert isinstance(result, Approved) is (commissioned is None or found == commissioned)
    assert isinstance(result, Approved) or result.rule == "SR-16"


@CONTROL
def test_sr_16_a_hold_ends_when_the_configuration_is_no_longer_the_commissioned_one(command: Command) -> None:
    site = replace(SITE, equipment={J: replace(JUNCTION, configuration_id=7)})
    approved = judge(command, site, replace(SEEN_JUNCTION, configuration_id=7), Standing(), NOW_MS)
    assert isinstance(approved, Approved)
    lease = granted(approved)
    assert may_refresh(lease, site, replace(SEEN_JUNCTION, configuration_id=7), Standing(), NOW_MS) is None
    changed = "the controller's configuration id is 8; commissioned: 7"
    unread = "the controller's configuration id cannot be read; commissioned: 7"
    seen = replace(SEEN_JUNCTION, configuration_id=8)
    assert may_refresh(lease, site, seen, Standing(), NOW_MS) == Refused("SR-16", changed)
    assert may_refresh(lease, site, SEEN_JUNCTION, Standing(), NOW_MS) == Refused("SR-16", unread)


@CONTROL
@given(flash_status=st.integers(0, 12), pattern=st.integers(0, 255))
def test_sr_12_nothing_is_asked_of_a_flashing_or_starting_controller(
    command: Command, flash_status: int, pattern: int
) -> None:
    seen = replace(SEEN_JUNCTION, flash_status=flash_status, pattern=pattern)
    result = verdict(command, seen)
    assert isinstance(result, Approved) is (flash_status == 2 and pattern != 255)
    assert isinstance(result, Approved) or result.rule == "SR-12"
    assert isinstance(verdict(RELEASE, seen), Approved)


@pytest.mark.parametrize(
    ("flash_status", "words"),
    [
        (1, "a state of its own"),
        (3, "automatic flash"),
        (4, "flash by its local switch"),
        (5, "flash by its fault monitor"),
        (6, "flash by its conflict monitor"),
        (7, "start-up"),
        (8, "flash by preemption"),
        (0, "an unknown state (0)"),
    ],
)
def test_sr_12_names_the_flash(flash_status: int, words: str) -> None:
    assert verdict(PLAN, replace(SEEN_JUNCTION, flash_status=flash_status)) == Refused(
        "SR-12", f"the controller is in {words}; it leaves that by its own start-up"
    )


def test_sr_12_names_the_flash_pattern() -> None:
    assert verdict(PLAN, replace(SEEN_JUNCTION, pattern=255)) == Refused(
        "SR-12", "the controller runs its flash pattern; it leaves that by its own start-up"
    )


@given(ago_ms=st.integers(-10, 1_200_000))
def test_sr_14_flash_is_requested_once_in_ten_minutes(ago_ms: int) -> None:
    standing = Standing(flash_requested_at_ms=NOW_MS - ago_ms)
    assert isinstance(verdict(FLASH, standing=standing), Approved) is (ago_ms >= 600_000)
    assert isinstance(verdict(PLAN, standing=standing), Approved)


def test_sr_14_ends_on_the_millisecond_and_says_when_it_was() -> None:
    assert isinstance(verdict(FLASH, standing=Standing(flash_requested_at_ms=NOW_MS - 600_000)), Approved)
    for ago_ms, ago in ((599_999, "599 s"), (500_000, "500 s"), (0, "0 s")):
        assert verdict(FLASH, standing=Standing(flash_requested_at_ms=NOW_MS - ago_ms)) == Refused(
            "SR-14", f"flash was requested {ago} ago; once in 600 s is allowed"
        )
