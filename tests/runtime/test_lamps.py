"""Lamps: the local plan by night and by day, and what happens when it cannot be carried out."""

import asyncio
from dataclasses import replace

import pytest

from agent.model.identity import EquipmentId
from agent.safety.mode import Mode
from drivers.errors import DeviceNonsenseError
from drivers.modbus.unit import ModbusUnit, Reading
from simulators.background import alongside
from tests.runtime.rig import OTHER, SEGMENT, LampRig, lamp_rig


async def test_by_night_the_plan_lights_every_segment_at_its_level_and_by_day_it_is_off() -> None:
    async with lamp_rig() as rig:
        assert [(rig.coil(n), rig.level(n)) for n in range(3)] == [(True, 80), (True, 80), (True, 60)]
        rig.daybreak()
        await rig.poll()
        assert [rig.coil(n) for n in range(3)] == [False, False, False]
        await rig.poll()  # The contactor has opened by now.
        points = await rig.points(SEGMENT)
        assert (points["commanded_on"].value, points["contactor_on"].value, points["target_percent"].value) == (
            False,
            False,
            0,
        )
        rig.nightfall()
        await rig.poll()
        assert (rig.coil(), rig.level()) == (True, 80)


async def read_of(rig: LampRig) -> Reading:
    unit = rig.agent.polls[EquipmentId(SEGMENT)]._unit
    assert isinstance(unit, ModbusUnit)
    return await unit.read()


async def test_lamps_burn_when_nobody_knows_whether_it_is_dark() -> None:
    async with lamp_rig(night=False) as rig:
        assert not rig.coil()
        reading = await read_of(rig)
        blind = replace(reading, values=dict(reading.values) | {"dark": None}, bad=frozenset({"dark"}))
        behind = next(each for each in rig.agent.polls[EquipmentId(SEGMENT)]._behind if each.id == SEGMENT)
        await behind.take(blind)
        assert (rig.coil(), rig.level()) == (True, 80)
        assert "taken as night" in rig[SEGMENT].state()


async def test_the_cabinets_watchdog_is_fed_while_it_is_polled_and_lights_the_lamps_when_it_is_not() -> None:
    async with lamp_rig(night=False) as rig:
        await rig.poll(150)
        assert not rig.cabinet.model.watchdog_expired  # 75 s of polls, and it waits for 60 s.
        assert not rig.coil()
        rig.clock.advance(61)
        rig.cabinet.stand.step()
        assert rig.cabinet.model.watchdog_expired
        assert (rig.coil(), rig.level()) == (True, 100)
        await rig.poll()
        assert not rig.cabinet.model.watchdog_expired
        await rig.poll(2, step_s=15)  # LR-05: its turn to return comes.
        assert not rig.coil()
        assert await rig.log("level.not-reached") == []


async def test_a_cabinet_whose_readings_make_no_sense_is_no_longer_told_that_somebody_watches_over_it() -> None:
    async with lamp_rig(night=False) as rig:
        rig.cabinet.fault("wrong_value")
        await rig.poll(150)
        assert rig.cabinet.model.watchdog_expired
        assert (rig.coil(), rig.level()) == (True, 100)
        rig.cabinet.fault("wrong_value", on=False)
        await rig.poll(3)
        assert not rig.cabinet.model.watchdog_expired
        await rig.poll(2, step_s=15)
        assert not rig.coil()


async def test_a_level_that_cannot_be_reached_is_told_once_until_it_is_reached() -> None:
    async with lamp_rig(night=False) as rig:
        rig.cabinet.fault("refuse_set")
        rig.nightfall()
        await rig.poll(5)
        (told,) = await rig.texts("level.not-reached", equipment=SEGMENT)
        assert "exception 04" in told
        rig.cabinet.fault("refuse_set", on=False)
        await rig.poll(2)
        assert rig.level() == 80
        rig.daybreak()
        await rig.poll(2)
        rig.cabinet.fault("refuse_set")
        rig.nightfall()
        await rig.poll(3)
        assert len(await rig.log("level.not-reached", equipment=SEGMENT)) == 2


async def test_a_contactor_that_does_not_follow_is_told_once() -> None:
    async with lamp_rig(night=False) as rig:
        rig.cabinet.fault("stuck_contactor:0")
        rig.nightfall()
        await rig.poll(6)
        assert await rig.texts("level.not-reached") == ["the contactor is open and is commanded closed"]
        rig.cabinet.fault("stuck_contactor:0", on=False)
        await rig.poll(3)
        assert len(await rig.log("level.not-reached")) == 1


async def test_the_manual_switch_makes_the_segment_local_and_nothing_is_asked_of_it() -> None:
    async with lamp_rig(night=False) as rig:
        rig.cabinet.set(override_0=True)
        await rig.poll(2)
        assert rig[SEGMENT].mode().mode is Mode.LOCAL
        assert rig[OTHER].mode().mode is Mode.SUPERVISED
        assert (await rig.view(SEGMENT)).mode == "local"
        rig.nightfall()
        await rig.poll(4)
        assert (rig.coil(0), rig.coil(1)) == (False, True)
        (told,) = await rig.texts("level.not-reached")
        assert told.startswith("LR-03: the manual switch")
        for person in (rig.people.alice, rig.people.technician):
            outcome = await rig.set_level(person, 90)
            assert (outcome.ended, outcome.rule) == ("refused", "LR-03")
            assert "lit, not by command" in outcome.state
        rig.cabinet.set(override_0=False)
        await rig.poll(2)
        assert rig.coil(0)
        assert rig[SEGMENT].mode().mode is Mode.SUPERVISED


async def test_with_the_key_on_local_the_cabinet_is_still_seen_and_a_command_fails_with_what_is_known() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.set(local_key=True)
        await rig.poll(3)
        points = await rig.points(SEGMENT)
        assert {point.quality for point in points.values()} == {0}
        assert "refuses the heartbeat" in (await rig.view(SEGMENT)).link
        assert len(await rig.log("heartbeat.refused")) == 1
        assert await rig.log("link.lost") == []
        outcome = await rig.set_level(rig.people.technician, 90)
        assert (outcome.ended, outcome.rule) == ("failed", "")
        assert "exception 04" in outcome.reason
        assert outcome.state == "lit at 80 %, night"
        assert rig.level() == 80
        rig.cabinet.set(local_key=False)
        await rig.poll(2)
        assert len(await rig.log("heartbeat.taken")) == 1
        assert (await rig.set_level(rig.people.technician, 90)).ended == "done"


async def test_a_poll_and_a_command_at_once_never_take_each_others_level_for_their_own() -> None:
    async with lamp_rig() as rig:

        async def poll_on() -> None:
            while True:
                await rig.poll(step_s=0.001)

        rig.cabinet.fault("slow:0.004")  # So that the exchanges of both really lie side by side.
        async with alongside(poll_on()):
            for n in range(12):
                level_percent = (40, 90)[n % 2]
                outcome = await rig.set_level(rig.people.technician, level_percent)
                assert (outcome.ended, rig.level()) == ("done", level_percent)
        assert await rig.log("level.not-reached") == []


async def test_a_segment_that_makes_no_sense_leaves_its_neighbours_their_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with lamp_rig(night=False) as rig:
        behind = next(each for each in rig.agent.polls[EquipmentId(SEGMENT)]._behind if each.id == SEGMENT)

        async def doubt(_reading: Reading) -> None:
            raise DeviceNonsenseError("segment_level.0 is None, expected a whole number")

        monkeypatch.setattr(behind, "take", doubt)
        rig.nightfall()
        await rig.poll(3)
        assert (rig.coil(0), rig.coil(1), rig.coil(2)) == (False, True, True)
        assert {point.quality for point in (await rig.points(SEGMENT)).values()} == {3}
        assert {point.quality for point in (await rig.points(OTHER)).values()} == {0}
        assert (await rig.view(SEGMENT)).link.startswith("answers nonsense")
        assert (await rig.view(OTHER)).link == "answers"
        assert len(await rig.log("reading.nonsense")) == 1


async def test_a_disk_that_hangs_does_not_hold_up_the_lamps() -> None:
    async with lamp_rig(night=False) as rig:
        hanging, free = asyncio.Event(), asyncio.Event()

        async def hang(*_: object) -> None:
            hanging.set()
            await free.wait()

        rig.journal.append_events = rig.journal.append_samples = hang  # type: ignore[assignment, method-assign]
        rig.nightfall()
        rig.cabinet.fault("silent", unit=2)
        async with asyncio.timeout(5):
            await rig.poll(2)
            await hanging.wait()
            await rig.poll(2)
        assert (rig.coil(), rig.level()) == (True, 80)
        assert rig.agent.recorder.held  # What happened meanwhile waits.
        free.set()


async def test_lr_04_a_segment_whose_breaker_has_tripped_is_told_to_burn_by_day_until_it_is_closed() -> None:
    async with lamp_rig(night=False) as rig:
        rig.cabinet.fault("breaker:0")
        await rig.poll()
        assert [rig.coil(n) for n in range(3)] == [True, False, False]
        refused = await rig.set_level(rig.people.technician, 0)
        assert (refused.ended, refused.rule) == ("refused", "LR-01")
        assert "its breaker has tripped" in refused.reason
        rig.cabinet.fault("breaker:0", on=False)
        await rig.poll()
        assert not rig.coil(0)


async def test_lr_05_segments_that_come_back_from_a_lost_link_return_one_after_the_other() -> None:
    async with lamp_rig(night=False) as rig:
        rig.clock.advance(61)
        await rig.poll()
        assert [rig.coil(n) for n in range(3)] == [True, True, True]
        lit = []
        for _ in range(64):
            await rig.poll()
            lit.append(sum(rig.coil(n) for n in range(3)))
        assert lit == sorted(lit, reverse=True)
        assert set(lit) >= {2, 1, 0}
        assert lit[-1] == 0
