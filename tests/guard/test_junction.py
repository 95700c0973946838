"""A junction under guard, on a simulated signal controller over SNMP."""

import asyncio
from itertools import pairwise

import pytest

from agent.model.command import Origin, Role, SelectPlan
from agent.model.identity import PlanNumber
from agent.model.observation import JunctionObserved, Quality
from agent.model.site import Site
from agent.model.site_file import read_cabinet
from agent.safety.junction import BACKUP_TIME_S_MIN
from agent.safety.kernel import judge
from agent.safety.latch import Latch
from agent.safety.verdict import Approved
from simulators.signal_controller.traffic import Traffic
from tests.guard.rig import FLASH, PATTERN_OID, JunctionRig, junction_rig
from tests.waiting import wait_until

J = "j-republique"
PLAN_2 = {"plan": 2, "lease_s": 300}
ALARMS = ("trip", "trip.flash", "latch.set", "link.lost", "lease.end", "lease.unconfirmed")


def read_site(rig: JunctionRig) -> Site:
    return read_cabinet(rig.site.read_text(), rig.site.name).site


async def hold_plan_2(rig: JunctionRig, lease_s: int = 300) -> None:
    """A technician's plan: it does not hang on the fleet."""
    await rig.run(1)
    outcome = await rig.ask(rig.people.technician, J, "select-plan", {"plan": 2, "lease_s": lease_s})
    assert (outcome.ended, outcome.rule) == ("done", "")


async def trip(rig: JunctionRig) -> None:
    """Channel 4 sticks on green until the guard has latched and asked for flash."""
    await rig.run(1)
    rig.signals.fault("stuck_green:4")
    await rig.run_until(lambda: FLASH in rig.patterns)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_junction_in_order_gives_no_alarm_in_ten_minutes_of_traffic(seed: int) -> None:
    async with junction_rig(Traffic(seed, pedestrians_per_hour=120.0)) as rig:
        await rig.run(600)
        assert await rig.log(*ALARMS) == []
        assert len(await rig.log("link.back")) == 1
        assert rig.patterns == []


async def test_a_plan_is_refreshed_well_within_the_watchdog_and_ends_with_a_release() -> None:
    async with junction_rig(Traffic(4)) as rig:
        await hold_plan_2(rig, lease_s=200)
        await rig.rest(190)
        view = await rig.view(J)
        assert view.holding.startswith("plan 2 for another")
        assert next(point.value for point in view.points if point.name == "pattern") == 2
        await rig.run(15)
        sets = list(rig.signals.controller.control.sets)
        assert [entry.value for entry in sets] == [2] * (len(sets) - 1) + [0]
        gaps_s = [later.time_s - earlier.time_s for earlier, later in pairwise(sets)]
        assert max(gaps_s) <= 60 / 2
        assert sets[-1].time_s - sets[0].time_s == pytest.approx(200, abs=0.5)
        assert rig.other_sets == []
        (end,) = await rig.log("lease.end")
        assert end.text == "the lease has ended; release confirmed"
        assert (await rig.view(J)).holding == ""
        assert await rig.log("trip", "latch.set") == []


async def test_a_release_ends_a_lease_at_once() -> None:
    async with junction_rig() as rig:
        await hold_plan_2(rig)
        outcome = await rig.ask(rig.people.alice, J, "release")
        assert outcome.ended == "done"
        await rig.run(70)
        assert rig.patterns == [2, 0]


async def test_sr_09_nothing_is_controlled_when_the_watchdog_differs_from_the_commissioned_one() -> None:
    async with junction_rig(backup_s=BACKUP_TIME_S_MIN) as rig:
        await rig.run(1)
        outcome = await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-09")
        assert "10 s; commissioned: 60 s" in outcome.reason
        assert rig.patterns == []


async def test_sr_09_a_watchdog_changed_under_a_lease_ends_it() -> None:
    async with junction_rig() as rig:
        await hold_plan_2(rig)
        rig.signals.controller.control.backup_s = 120
        await rig.run(25)
        assert rig.patterns == [2, 0]
        assert "SR-09" in (await rig.log("lease.end"))[0].text


async def test_sr_11_an_operators_plan_lasts_while_the_fleet_is_heard_and_is_released_when_it_falls_silent() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        assert (await rig.ask(rig.people.alice, J, "select-plan", {"plan": 1, "lease_s": 3000})).ended == "done"
        for _ in range(20):
            await rig.rest(10)
            await rig.hear_fleet()
        assert 0 not in rig.patterns
        await rig.rest(125)
        assert rig.patterns[-1] == 0
        assert (await rig.log("lease.end"))[0].text.startswith("SR-11: the fleet is silent")
        assert (await rig.view(J)).mode == "autonomous"
        count = len(rig.patterns)
        outcome = await rig.ask(rig.people.alice, J, "select-plan", {"plan": 1, "lease_s": 60})
        assert (outcome.ended, outcome.rule) == ("refused", "SR-11")
        assert len(rig.patterns) == count
        await hold_plan_2(rig)  # Who stands here needs no fleet.


async def test_a_replayed_state_of_the_fleet_does_not_break_its_silence() -> None:
    async with junction_rig() as rig:
        from agent.wire.local import TellFleetSeen

        message = TellFleetSeen(*rig.people.state(rig.unix_ms()))
        await rig.client.ask(message)
        for _ in range(13):
            await rig.rest(10)
            await rig.client.ask(message)
        assert (await rig.status()).fleet == "silent"


async def test_sr_02_a_stuck_green_is_released_and_latched_by_the_first_sample_and_flashed_once_by_the_second() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await hold_plan_2(rig)
        rig.signals.fault("stuck_green:4")
        await rig.run_until(lambda: rig[J].latch is not None)
        assert rig.patterns == [2, 0]
        await rig.tick()
        assert rig.patterns == [2, 0, FLASH]
        assert rig.guard.records.latches[rig[J].equipment.id].flash_requested
        await rig.run(400)  # Past the controller's watchdog: it flashes no more, and the lamp is still stuck.
        assert rig.patterns == [2, 0, FLASH]
        assert rig.signals.set_count(PATTERN_OID) == 3
        assert rig.other_sets == []
        first, second, *_ = await rig.log("trip")
        assert (first.rule, second.rule) == ("SR-02", "SR-02")
        assert "conflicting groups at once" in first.text
        assert first.detail["release"] == "release confirmed"
        assert "seen again after 100 ms" in second.text
        assert [entry.text for entry in await rig.log("trip.flash")] == ["flash request confirmed"]
        assert len(await rig.log("latch.set")) == 1


async def test_sr_13_under_a_latch_nothing_is_done_but_a_release() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await trip(rig)
        await rig.hear_fleet()
        people = rig.people
        for outcome in (
            await rig.ask(people.technician, J, "select-plan", PLAN_2),
            await rig.ask(people.alice, J, "select-plan", PLAN_2),
            await rig.ask(people.alice, J, "flash", {"lease_s": 60}, people.bruno),
            await rig.ask(people.technician, J, "reset"),
        ):
            assert (outcome.ended, outcome.rule) == ("refused", "SR-13")
        assert (await rig.ask(people.alice, J, "reset")).rule == "SR-25"
        assert rig.patterns.count(FLASH) == 1
        assert 2 not in rig.patterns
        assert (await rig.ask(people.alice, J, "release")).ended == "done"
        view = await rig.view(J)
        assert view.mode == "held"
        assert view.latch is not None
        assert any("latched by SR-02" in warning for warning in (await rig.status()).warnings)


async def test_sr_13_a_latch_is_reset_only_with_door_and_key_and_ten_seconds_without_the_fault() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await trip(rig)
        rig.cabinet.set(door_open=True)
        await rig.run(20)
        outcome = await rig.ask(rig.people.technician, J, "reset")
        assert (outcome.rule, "local key not turned" in outcome.reason) == ("SR-13", True)
        rig.stand_at_the_cabinet()
        await rig.run_until(lambda: rig[J].standing(rig.now_ms()).fault_seen_at_ms == rig.now_ms(), 200)
        rig.signals.fault("stuck_green:4", on=False)
        await rig.tick()  # A green that ends without yellow is the last thing seen.
        await rig.run(9.9)
        assert (await rig.ask_at_once(rig.people.technician, J, "reset")).rule == "SR-13"
        assert rig[J].latch is not None
        await rig.run(0.1)
        outcome = await rig.ask_at_once(rig.people.technician, J, "reset")
        assert (outcome.ended, outcome.rule) == ("done", "")
        assert rig[J].latch is None
        (reset,) = await rig.log("latch.reset")
        assert reset.rule == "SR-02"
        assert "gw-republique/tech" in reset.text
        rig.stand_at_the_cabinet(there=False)
        await rig.run(60)
        await hold_plan_2(rig)


async def test_sr_13_a_conflict_that_was_there_ten_seconds_ago_does_not_count_as_over() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await trip(rig)
        rig.stand_at_the_cabinet()
        group_4 = 1 << 3
        conflict_at_ms, refused = -10_000, 0
        for _ in range(700):  # From the flash on, past the controller's watchdog; the lamp is stuck all the time.
            await rig.tick()
            seen = rig[J].observed
            assert isinstance(seen, JunctionObserved)
            if seen.greens & 0xFF & ~group_4 & ~(1 << 7):
                conflict_at_ms = seen.at_ms
            elif 500 < rig.now_ms() - conflict_at_ms < 10_000 and rig.now_ms() % 500 == 0:
                assert (await rig.ask_at_once(rig.people.technician, J, "reset")).rule == "SR-13"
                refused += 1
        assert refused > 3


async def test_a_reset_needs_inputs_that_can_be_read_now() -> None:
    async with junction_rig(verdict="brief") as rig:
        await trip(rig)
        rig.signals.fault("stuck_green:4", on=False)
        rig.stand_at_the_cabinet()
        await rig.run(15)
        rig.cabinet.fault("exception")
        await rig.run(1)
        outcome = await rig.ask(rig.people.technician, J, "reset")
        assert (outcome.rule, "cannot be read" in outcome.reason) == ("SR-13", True)


async def test_a_latch_is_there_again_after_a_restart_and_asks_for_no_second_flash() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await trip(rig)
        await rig.vanish()
        before = list(rig.patterns)
        async with rig.guarding():
            rig.stand_at_the_cabinet()
            await rig.run(5)
            assert rig[J].latch is not None
            assert (await rig.ask_at_once(rig.people.technician, J, "select-plan", PLAN_2)).rule == "SR-13"
            assert (await rig.ask_at_once(rig.people.technician, J, "reset")).rule == "SR-13"
            await rig.run(200)
            assert rig.patterns == before


async def test_sr_13_after_a_restart_ten_seconds_must_be_seen_anew() -> None:
    async with junction_rig(verdict="brief") as rig:
        await trip(rig)
        rig.signals.fault("stuck_green:4", on=False)
        rig.stand_at_the_cabinet()
        await rig.rest(120)
        await rig.vanish()
        async with rig.guarding():
            await rig.run(9.9)
            assert (await rig.ask_at_once(rig.people.technician, J, "reset")).rule == "SR-13"
            await rig.run(0.1)
            assert (await rig.ask_at_once(rig.people.technician, J, "reset")).ended == "done"


async def test_a_refused_set_ends_as_failed_and_holds_nothing() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        rig.signals.fault("refuse_set")
        outcome = await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("failed", "")
        assert "the controller refused" in outcome.reason
        rig.signals.fault("refuse_set", on=False)
        await rig.run(70)
        assert rig.patterns == []
        assert (await rig.view(J)).holding == ""


async def test_a_refused_change_leaves_the_lease_before_it_in_force() -> None:
    async with junction_rig() as rig:
        await hold_plan_2(rig)
        rig.signals.fault("refuse_set")
        assert (await rig.ask(rig.people.technician, J, "select-plan", {"plan": 1, "lease_s": 60})).ended == "failed"
        rig.signals.fault("refuse_set", on=False)
        await rig.run(50)
        assert set(rig.patterns) == {2}
        assert (await rig.view(J)).holding.startswith("plan 2")


async def test_a_refresh_that_fails_is_said_once_and_tried_again_soon() -> None:
    async with junction_rig() as rig:
        await hold_plan_2(rig)
        rig.signals.fault("refuse_set")
        await rig.run(27)  # The refresh was due after 20 s.
        assert rig.patterns == [2]
        rig.signals.fault("refuse_set", on=False)
        await rig.run(2.5)
        assert rig.patterns == [2, 2]
        assert len(await rig.log("lease.unconfirmed")) == 1
        assert await rig.log("link.lost") == []
        assert (await rig.view(J)).link == "answers"


async def test_a_silent_controller_goes_stale_is_lost_once_and_back_once() -> None:
    async with junction_rig() as rig:
        await rig.run(5)
        rig.signals.fault("silent")
        for _ in range(4):
            await rig.tick(step_s=1.0)
        view = await rig.view(J)
        assert {point.quality for point in view.points} == {Quality.STALE}
        assert min(point.age_ms for point in view.points) >= 4_000
        outcome = await rig.submit(await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2))
        assert (outcome.ended, outcome.rule) == ("refused", "SR-28")
        rig.signals.fault("silent", on=False)
        await rig.run(5)
        assert [entry.kind for entry in await rig.log("link.lost", "link.back")] == [
            "link.back",
            "link.lost",
            "link.back",
        ]
        assert {point.quality for point in (await rig.view(J)).points} == {Quality.GOOD}
        assert rig.patterns == []


@pytest.mark.parametrize("fault", ["slow:0.5", "late_reply", "wrong_request_id", "wrong_value"])
async def test_an_answer_that_is_late_or_not_ours_is_never_taken_for_an_observation(fault: str) -> None:
    async with junction_rig(Traffic(5)) as rig:
        await rig.run(5)
        before = rig[J].observed
        rig.signals.fault(fault)
        for _ in range(4):
            await rig.tick(step_s=6.0)
            assert rig[J].observed is before
        rig.signals.fault(fault, on=False)
        await rig.run(20)
        lamps, seen = rig.signals.controller.lamps(), rig[J].observed
        assert seen is not None
        assert (seen.greens, seen.yellows, seen.reds) == (lamps.greens, lamps.yellows, lamps.reds)  # type: ignore[union-attr]
        assert await rig.log("trip", "latch.set") == []


async def test_a_command_under_way_when_a_fault_trips_is_undone_before_the_flash() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        rig.signals.fault("slow:0.1")
        rig.signals.fault("stuck_green:4")
        await rig.meanwhile(rig.submit(sealed))
        await rig.run_until(lambda: FLASH in rig.patterns, 20)
        await rig.run(2)
        assert rig.patterns in ([0, FLASH], [2, 0, FLASH])
        assert (await rig.view(J)).holding == ""


async def test_a_command_approved_just_before_a_fault_latched_is_not_sent() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        origin = Origin(Role.TECHNICIAN, ("gw-republique/tech",))
        plan = SelectPlan(rig[J].equipment.id, origin, PlanNumber(2), 60_000)
        standing = rig[J].standing(rig.now_ms())
        verdict = judge(plan, read_site(rig), rig[J].observed, standing, rig.now_ms())
        assert isinstance(verdict, Approved)
        rig.guard.records.hold(Latch(rig[J].equipment.id, "SR-05", "a green too short", rig.unix_ms(), False))
        acted = await rig[J].act(verdict)
        assert (acted.ended, acted.rule) == ("refused", "SR-13")
        assert "latched by SR-05" in acted.reason
        assert acted.state.startswith("nothing was sent")
        assert rig.patterns == []
        assert rig[J].holding() == ""


async def test_a_command_cut_off_half_way_is_released_when_the_guard_stops() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        rig.signals.fault("slow:0.2")
        task = asyncio.create_task(rig.guard.gatekeeper.submit(sealed))
        await wait_until(lambda: bool(rig.patterns))
        task.cancel()
        await asyncio.wait((task,))
        await rig[J].release()
        assert rig.patterns == [2, 0]


async def test_a_slow_answer_is_not_taken_for_a_short_aspect() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        seen = rig[J].observed
        rig.signals.fault("slow:0.1")
        task = asyncio.create_task(rig.tick())
        await asyncio.sleep(0)
        rig.clock.advance(0.15)
        await task
        late = rig[J].observed
        assert late is not seen
        assert getattr(late, "delay_ms", None) == 150
