"""Quality: what does not answer is stale, what makes no sense is bad, and each is told once."""

import math

from agent.model.observation import Quality
from simulators.meter import float_words
from simulators.modbus_frame import Table
from tests.runtime.rig import BOX, METER, OTHER, SEGMENT, LampRig, lamp_rig


async def changes_of(rig: LampRig, equipment: str) -> list[tuple[str, object, Quality]]:
    """What was sealed about one piece of equipment: state first, then telemetry."""
    return [each for each in await rig.samples("state", "tele") if each[0].startswith(f"{equipment}/")]


async def test_every_point_of_a_silent_unit_is_stale_once_and_keeps_the_time_of_its_last_reading() -> None:
    async with lamp_rig() as rig:
        before = await rig.points(METER)
        read_ms = rig.unix_ms()
        known = len(await changes_of(rig, METER))
        rig.cabinet.fault("silent", unit=2)
        await rig.poll(4)
        rig.clock.advance(30)
        after = await rig.points(METER)
        assert before.keys() == after.keys()
        for name, point in after.items():
            assert (point.value, point.quality, point.t_ms) == (before[name].value, Quality.STALE, read_ms)
            assert point.age_ms == rig.unix_ms() - read_ms
        sealed = (await changes_of(rig, METER))[known:]
        assert sorted(sealed) == sorted(
            (f"{METER}/{name}", point.value, Quality.STALE) for name, point in before.items()
        )
        (lost,) = await rig.log("link.lost")
        assert (lost.equipment, lost.stream, lost.detail) == (METER, "alarm", {"quality": "stale"})
        assert "is silent" in (await rig.view(METER)).link


async def test_a_unit_that_is_back_is_told_once_and_all_its_points_are_good_again() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("silent", unit=2)
        await rig.poll(3)
        known = len(await changes_of(rig, METER))
        rig.cabinet.fault("silent", on=False, unit=2)
        with_breakers_closed(rig)
        await rig.poll(3)
        assert {point.quality for point in (await rig.points(METER)).values()} == {Quality.GOOD}
        back = (await changes_of(rig, METER))[known:]
        assert {name for name, _, _ in back} >= {f"{METER}/{name}" for name in await rig.points(METER)}
        assert {quality for _, _, quality in back} == {Quality.GOOD}
        events = [entry.kind for entry in await rig.log("link.lost", "link.back", equipment=METER)]
        assert events == ["link.back", "link.lost", "link.back"]  # The first is the start.
        assert (await rig.view(METER)).link == "answers"


async def test_one_lost_answer_is_no_loss_and_leaves_no_record() -> None:
    async with lamp_rig() as rig:
        for fault in ("silent", "wrong_request_id"):
            rig.cabinet.fault(fault, unit=2)
            await rig.poll()
            assert {point.quality for point in (await rig.points(METER)).values()} == {Quality.GOOD}
            rig.cabinet.fault(fault, on=False, unit=2)
            with_breakers_closed(rig)
            await rig.poll()
        assert await rig.log("link.lost") == []
        rig.cabinet.fault("silent", unit=2)
        await rig.poll(step_s=2.1)  # Long enough to be a loss, however few polls there were.
        assert len(await rig.log("link.lost", equipment=METER)) == 1


async def test_a_silent_unit_tells_of_everything_behind_it_and_of_nothing_else() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("silent")
        await rig.poll(3)
        lost = [entry.equipment for entry in await rig.log("link.lost")]
        assert sorted(lost) == sorted([BOX, SEGMENT, OTHER, "seg-darcy-3"])
        assert {point.quality for point in (await rig.points(METER)).values()} == {Quality.GOOD}


async def test_points_of_a_unit_never_reached_since_the_start_are_stale_without_a_value() -> None:
    async with lamp_rig() as rig:
        names = {equipment: (await rig.points(equipment)).keys() for equipment in (SEGMENT, METER, BOX)}
        rig.agent.table._seen.clear()
        for poll in rig.agent.units:
            poll._link = "not reached yet"
        rig.cabinet.fault("silent")
        rig.cabinet.fault("silent", unit=2)
        await rig.poll(2)
        for equipment, expected in names.items():
            points = await rig.points(equipment)
            assert points.keys() == expected
            assert {(point.value, point.quality) for point in points.values()} == {(None, Quality.STALE)}
        assert len(await rig.log("link.lost", equipment=METER)) == 1


async def test_a_reading_that_makes_no_sense_is_bad_and_without_a_value() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("wrong_value")
        await rig.poll(3)
        points = await rig.points(SEGMENT)
        assert {(point.value, point.quality) for name, point in points.items()} == {(None, Quality.BAD)}
        box = await rig.points(BOX)
        assert (box["cabinet_temperature"].value, box["cabinet_temperature"].quality) == (None, Quality.BAD)
        (told,) = await rig.log("reading.nonsense", equipment=SEGMENT)
        assert "segment_level.0" in told.text
        assert await rig.log("link.lost") == []
        assert (await rig.set_level(rig.people.technician, 50)).ended == "unknown"  # Its read-back makes no sense.
        rig.cabinet.fault("wrong_value", on=False)
        await rig.poll(2)
        assert {point.quality for point in (await rig.points(SEGMENT)).values()} == {Quality.GOOD}
        assert len(await rig.log("reading.sound", equipment=SEGMENT)) == 1


async def test_a_line_that_talks_nonsense_makes_every_point_bad() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("wrong_request_id", unit=2)
        await rig.poll(3)
        points = await rig.points(METER)
        assert {point.quality for point in points.values()} <= {Quality.BAD, Quality.STALE}
        assert len(await rig.log("link.lost", equipment=METER)) == 1


async def test_a_meter_that_has_no_number_gives_bad_and_none_for_that_point_alone() -> None:
    async with lamp_rig() as rig:
        meter = rig.cabinet.meter
        step = meter.step

        def without_voltage(now_s: float) -> None:
            step(now_s)
            meter.tables[Table.INPUTS][0], meter.tables[Table.INPUTS][1] = float_words(math.nan)

        meter.step = without_voltage  # type: ignore[method-assign]
        await rig.poll(2)
        points = await rig.points(METER)
        bad = {name: point.value for name, point in points.items() if point.quality != Quality.GOOD}
        assert list(bad.values()) == [None]
        assert points[next(iter(bad))].quality == Quality.BAD
        assert (f"{METER}/{next(iter(bad))}", None, Quality.BAD) in await rig.samples("tele")


async def test_a_point_never_changes_its_stream() -> None:
    async with lamp_rig() as rig:
        for fault in ("wrong_value", "silent"):
            for unit in (1, 2):
                rig.cabinet.fault(fault, unit=unit)
            await rig.poll(3)
            for unit in (1, 2):
                rig.cabinet.fault(fault, on=False, unit=unit)
            with_breakers_closed(rig)
            await rig.poll(2)
        state = {name for name, *_ in await rig.samples("state")}
        tele = {name for name, *_ in await rig.samples("tele")}
        assert not state & tele
        assert f"{SEGMENT}/current_a" in tele
        assert f"{SEGMENT}/level_percent" in state


async def test_an_exception_to_every_read_makes_the_points_stale_and_names_it() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("exception:2", unit=2)
        await rig.poll(3)
        assert "exception 02, illegal address" in (await rig.view(METER)).link
        assert {point.quality for point in (await rig.points(METER)).values()} == {Quality.STALE}


def with_breakers_closed(rig: LampRig) -> None:
    """As if the time of the next probe had come; it runs on the loop's clock, not on ours."""
    for line in rig.agent.lines.values():
        line._breakers.clear()
