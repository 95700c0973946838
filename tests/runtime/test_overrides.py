"""Overrides of lamps: every one is judged, and every one ends."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest

from agent.model.command import Origin, Role, SetLevel
from agent.safety.mode import Mode
from agent.safety.verdict import Approved
from tests.runtime.rig import OTHER, POLL_S, SEGMENT, LampRig, lamp_rig

FLOOR_PERCENT, PLAN_PERCENT, LEASE_S_MAX = 30, 80, 12 * 3600
SILENCE_S = 120


async def hours(rig: LampRig, seconds: float, *, fleet: bool = True) -> None:
    """Let time pass, the fleet heard all along or not at all, and the cabinet's watchdog fed."""
    for _ in range(round(seconds / 20)):
        if fleet:
            rig.hear_fleet()
        await rig.poll(step_s=20)


async def test_an_override_holds_its_level_until_its_lease_ends_and_then_the_plan_returns() -> None:
    async with lamp_rig() as rig:
        outcome = await rig.set_level(rig.people.alice, 50, lease_s=60)
        assert (outcome.ended, outcome.state) == ("done", "lit at 50 %")
        assert rig.level() == 50
        assert (await rig.view(SEGMENT)).holding == "level 50 % for another 60 s"
        await rig.poll(step_s=59.5)
        assert rig.level() == 50
        assert rig[SEGMENT].lease is not None
        await rig.poll(step_s=0.5)  # To the second: 60 s after its approval.
        assert rig[SEGMENT].lease is None
        (end,) = await rig.log("lease.end")
        assert (end.equipment, end.rule, end.text) == (SEGMENT, "LR-02", "the lease has ended; back to the local plan")
        await rig.poll(2, step_s=15)
        assert rig.level() == PLAN_PERCENT
        assert (await rig.view(SEGMENT)).holding == ""


async def test_an_override_is_kept_up_against_whoever_changes_the_level_behind_our_back() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.alice, 50)
        rig.cabinet.model.segments[0].level = 10
        rig.cabinet.model.coils[0] = False
        await rig.poll()
        assert (rig.coil(), rig.level()) == (True, 50)


async def test_a_release_returns_to_the_plan_at_once() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.alice, 50)
        outcome = await rig.ask(rig.people.bruno, SEGMENT, "release-level")
        assert (outcome.ended, outcome.reason) == ("done", "back to the local plan, 80 %")
        assert rig.level() == PLAN_PERCENT
        await rig.poll(3)
        assert rig.level() == PLAN_PERCENT
        assert (await rig.view(SEGMENT)).holding == ""


async def test_when_the_fleet_falls_silent_operators_overrides_end_and_a_technicians_stays() -> None:
    async with lamp_rig() as rig:
        rig.hear_fleet()
        await rig.set_level(rig.people.alice, 50)
        await rig.set_level(rig.people.technician, 45, segment=OTHER)
        await hours(rig, SILENCE_S - 20, fleet=False)
        assert (rig.level(0), rig.level(1)) == (50, 45)
        await hours(rig, 80, fleet=False)
        assert (rig.level(0), rig.level(1)) == (PLAN_PERCENT, 45)
        (end,) = await rig.log("lease.end")
        assert (end.equipment, end.text) == (SEGMENT, "SR-11: the fleet is silent; back to the local plan")
        assert rig[SEGMENT].mode().mode is Mode.AUTONOMOUS
        assert (await rig.status()).fleet == "silent"
        refused = await rig.set_level(rig.people.alice, 60)
        assert (refused.ended, refused.rule) == ("refused", "SR-11")
        assert (await rig.set_level(rig.people.technician, 60)).ended == "done"
        rig.hear_fleet()
        await rig.poll()
        refused = await rig.set_level(rig.people.alice, 55)
        assert (refused.ended, refused.rule) == ("refused", "LR-07")
        assert refused.reason == "a technician holds it at 60 %; release it first"
        assert (await rig.ask(rig.people.alice, SEGMENT, "release-level")).ended == "done"
        assert (await rig.set_level(rig.people.alice, 55)).ended == "done"
        assert (await rig.status()).fleet == "up"


@pytest.mark.parametrize(("level_percent", "ended"), [(0, "refused"), (29, "refused"), (30, "done"), (100, "done")])
async def test_by_night_a_level_goes_down_to_the_floor_and_not_below(level_percent: int, ended: str) -> None:
    async with lamp_rig() as rig:
        outcome = await rig.set_level(rig.people.alice, level_percent)
        assert outcome.ended == ended
        if ended == "done":
            assert rig.level() == level_percent
        else:
            assert outcome.rule == "LR-01"
            assert "floor of 30 % for class M4" in outcome.reason
            assert "nothing was sent to the equipment; lit at 80 %, night" in outcome.state
            assert rig.level() == PLAN_PERCENT


async def test_what_was_allowed_by_day_ends_when_night_falls() -> None:
    async with lamp_rig(night=False) as rig:
        assert (await rig.set_level(rig.people.alice, FLOOR_PERCENT - 1)).ended == "done"
        assert (await rig.set_level(rig.people.alice, FLOOR_PERCENT, segment=OTHER)).ended == "done"
        assert (rig.coil(0), rig.level(0), rig.level(1)) == (True, 29, 30)
        rig.nightfall()
        await rig.poll()
        assert (rig.level(0), rig.level(1)) == (PLAN_PERCENT, 30)
        (end,) = await rig.log("lease.end")
        assert (end.equipment, end.rule) == (SEGMENT, "LR-01")


async def test_lamps_may_be_switched_off_by_day_only() -> None:
    async with lamp_rig(night=False) as rig:
        await rig.set_level(rig.people.alice, 70)
        assert rig.coil()
        assert (await rig.set_level(rig.people.alice, 0)).state == "off"
        assert not rig.coil()


@pytest.mark.parametrize(
    ("lease_s", "ended", "rule"),
    [(0, "refused", "SR-08"), (1, "done", ""), (LEASE_S_MAX, "done", ""), (LEASE_S_MAX + 1, "refused", "LR-02")],
)
async def test_a_lease_is_neither_nothing_nor_longer_than_the_site_allows(lease_s: int, ended: str, rule: str) -> None:
    async with lamp_rig() as rig:
        outcome = await rig.set_level(rig.people.alice, 50, lease_s=lease_s)
        assert (outcome.ended, outcome.rule) == (ended, rule)


async def test_a_command_the_cabinet_refuses_fails_and_leaves_the_override_that_was_there() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.alice, 50)
        await rig.poll()
        rig.cabinet.fault("refuse_set")
        outcome = await rig.set_level(rig.people.alice, 60)
        assert (outcome.ended, outcome.state) == ("failed", "lit at 50 %, night")
        assert "the cabinet refused" in outcome.reason
        rig.cabinet.fault("refuse_set", on=False)
        await rig.poll()
        assert rig.level() == 50


async def test_a_command_to_a_cabinet_that_falls_silent_ends_unknown_and_holds_nothing() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("silent")
        outcome = await rig.set_level(rig.people.alice, 50)
        assert (outcome.ended, outcome.rule) == ("unknown", "")
        assert "fails bright" in outcome.state
        rig.cabinet.fault("silent", on=False)
        rig.clock.advance(POLL_S)
        await rig.poll()
        assert rig[SEGMENT].lease is None


async def test_a_segment_that_was_not_seen_lately_is_not_commanded_and_its_last_state_is_called_old() -> None:
    async with lamp_rig() as rig:
        rig.clock.advance(3.1)
        outcome = await rig.set_level(rig.people.alice, 50)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-28")
        assert outcome.state.endswith("3 s ago: lit at 80 %, night; not known now")


async def test_a_release_before_the_first_reading_is_answered_and_not_a_crash() -> None:
    async with lamp_rig() as rig:
        rig[SEGMENT].observed = None
        outcome = await rig.ask(rig.people.alice, SEGMENT, "release-level")
        assert (outcome.ended, outcome.state) == ("done", "not observed yet")
        assert (await rig.set_level(rig.people.alice, 50)).rule == "SR-28"


async def test_a_release_while_the_cabinet_is_silent_ends_the_override_and_says_that_it_is_not_confirmed() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.alice, 50)
        rig.cabinet.fault("silent")
        outcome = await rig.ask(rig.people.alice, SEGMENT, "release-level")
        assert outcome.ended == "unknown"
        assert rig[SEGMENT].lease is None
        rig.clock.advance(10)
        outcome = await rig.ask(rig.people.alice, SEGMENT, "release-level")
        assert (outcome.ended, "SR-28" in outcome.reason) == ("failed", True)


async def test_an_override_is_judged_again_when_its_turn_has_come() -> None:
    async with lamp_rig() as rig:
        control = rig[SEGMENT]
        command = SetLevel(control.segment.id, Origin(Role.TECHNICIAN, ("tech",)), 50, 60_000)
        verdict = control.judge(command)
        assert isinstance(verdict, Approved)
        assert control.observed is not None
        async with control._turn:
            task = asyncio.create_task(control.act(verdict))
            await asyncio.sleep(0)
            control.observed = replace(control.observed, local_override=True)
        acted = await task
        assert (acted.ended, acted.rule) == ("refused", "LR-03")
        assert acted.state.startswith("nothing was sent")
        assert rig.level() == PLAN_PERCENT


async def test_lr_05_segments_whose_overrides_end_together_return_one_after_the_other() -> None:
    async with lamp_rig() as rig:
        segments = sorted(rig.agent.segments)
        for segment in segments:
            await rig.set_level(rig.people.technician, 50, lease_s=60, segment=segment)
        await rig.poll(2, step_s=30)
        seen, began_ms = {}, rig.now_ms()
        for _ in range(70):
            await rig.poll()
            for n in range(3):
                if rig.level(n) != 50:
                    seen.setdefault(n, rig.now_ms() - began_ms)
        turns = sorted(seen.values())
        assert len(turns) == len(segments) == 3
        assert turns[-1] <= 30_000
        assert (
            min(later - sooner for sooner, later in pairwise(turns)) >= 9_500
        )  # A third of the window, but for the poll.


async def test_lr_05_nobody_waits_in_the_dark_for_its_turn() -> None:
    async with lamp_rig(night=False) as rig:
        await rig.set_level(rig.people.technician, 0, lease_s=60)
        rig.nightfall()
        await rig.poll()
        assert (rig.coil(), rig.level()) == (True, PLAN_PERCENT)
        (end,) = await rig.log("lease.end")
        assert end.rule == "LR-01"


async def test_lr_05_a_release_or_a_new_override_waits_for_nobody() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.technician, 50, lease_s=60)
        await rig.poll(2, step_s=30)
        assert rig.level() == 50
        assert (await rig.ask(rig.people.alice, SEGMENT, "release-level")).ended == "done"
        assert rig.level() == PLAN_PERCENT
        await rig.set_level(rig.people.technician, 50, lease_s=60)
        await rig.poll(2, step_s=30)
        assert (await rig.set_level(rig.people.technician, 40)).ended == "done"
        await rig.poll(4, step_s=15)
        assert rig.level() == 40
