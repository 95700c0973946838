"""Segment and meter drivers on a simulated cabinet, over TCP."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.model.command import LOCAL_PLAN, SetLevel
from agent.model.identity import EquipmentId
from agent.model.observation import Quality
from agent.model.site import Address
from drivers.errors import (
    DeviceNonsenseError,
    DeviceRefusedError,
    DeviceSilentError,
    DriverError,
    LinkDownError,
    ProfileError,
)
from drivers.modbus.bollard import BollardDriver
from drivers.modbus.line import ModbusLine
from drivers.modbus.meter import MeterDriver
from drivers.modbus.profile import load_profile
from drivers.modbus.segment import SegmentDriver
from drivers.modbus.unit import ModbusUnit, Reading
from simulators.cabinet import Cabinet
from simulators.clock import ManualClock
from tests.drivers.approvals import approve

pytestmark = pytest.mark.hil

PROFILES = Path(__file__).parents[2] / "configs" / "profiles"
TIMEOUT_S = 2.0  # patient, because a busy test machine is no cabinet
IMPATIENT_S = 0.2  # where no answer is expected
SEGMENT = EquipmentId("seg-2")
BOLLARD = EquipmentId("bollard-1")
METER = EquipmentId("meter-1")


def level(percent: int, equipment: EquipmentId = SEGMENT) -> SetLevel:
    return SetLevel(equipment, LOCAL_PLAN, percent, 3_600_000)


class CabinetRig:
    """A cabinet whose time is moved by hand, and drivers that share that time."""

    def __init__(self, cabinet: Cabinet, clock: ManualClock, timeout_s: float) -> None:
        self.cabinet = cabinet
        self.clock = clock
        self.line = ModbusLine(Address("127.0.0.1", cabinet.port), timeout_s, seed=1)
        self.unit = ModbusUnit(self.line, 1, load_profile(PROFILES, "cabinet-ref"), self.now_ms)
        self.segment = SegmentDriver(self.unit, 2, SEGMENT)
        self.meter = MeterDriver(ModbusUnit(self.line, 2, load_profile(PROFILES, "sdm630"), self.now_ms), METER)

    def now_ms(self) -> int:
        return round(self.clock.now_s() * 1000)

    async def read_patiently(self) -> Reading:
        async with asyncio.timeout(5):
            while True:  # ends once the line has reconnected, where it must
                try:
                    return await self.unit.read()
                except (LinkDownError, DeviceSilentError):
                    await asyncio.sleep(0.01)


@asynccontextmanager
async def cabinet_rig(timeout_s: float = TIMEOUT_S) -> AsyncIterator[CabinetRig]:
    clock = ManualClock(10.0)
    async with Cabinet.serve(clock=clock) as cabinet:
        rig = CabinetRig(cabinet, clock, timeout_s)
        try:
            yield rig
        finally:
            await rig.line.close()


async def test_a_segment_is_seen_as_it_is() -> None:
    async with cabinet_rig() as rig:
        rig.cabinet.set(lux=3, override_2=True)
        rig.cabinet.fault("breaker:2")
        rig.clock.advance(1.0)
        seen = rig.segment.observe(await rig.unit.read())
        assert (seen.equipment, seen.at_ms) == (SEGMENT, 11_000)
        assert (seen.commanded_on, seen.contactor_on, seen.level_percent) == (True, True, 100)
        assert (seen.dark, seen.local_override, seen.breaker_tripped) == (True, True, True)
        neighbour = SegmentDriver(rig.unit, 3, EquipmentId("seg-3")).observe(await rig.unit.read())
        assert (neighbour.local_override, neighbour.breaker_tripped) == (False, False)


async def test_a_level_is_set_and_the_neighbours_keep_theirs() -> None:
    async with cabinet_rig() as rig:
        await rig.segment.set_level(approve(level(40)))
        rig.clock.advance(1.0)
        seen = rig.segment.observe(await rig.unit.read())
        assert (seen.commanded_on, seen.contactor_on, seen.level_percent) == (True, True, 40)
        state = rig.cabinet.model.state()
        assert state["levels"] == [100, 100, 40, 100, 100, 100, 100, 100]
        assert all(state["coils"])


async def test_off_opens_the_contactor_and_leaves_full_light_behind_it() -> None:
    async with cabinet_rig() as rig:
        await rig.segment.set_level(approve(level(40)))
        await rig.segment.set_level(approve(level(0)))
        rig.clock.advance(1.0)
        seen = rig.segment.observe(await rig.unit.read())
        assert (seen.commanded_on, seen.contactor_on, seen.level_percent) == (False, False, 0)
        assert rig.cabinet.model.state()["levels"][2] == 100
        await rig.segment.set_level(approve(level(1)))
        assert rig.segment.observe(await rig.unit.read()).level_percent == 1


async def test_an_approval_for_another_segment_is_not_carried_out() -> None:
    async with cabinet_rig() as rig:
        with pytest.raises(ValueError, match="approved for seg-9"):
            await rig.segment.set_level(approve(level(0, EquipmentId("seg-9"))))
        assert all(rig.cabinet.model.state()["coils"])


async def test_a_welded_contactor_shows_in_the_feedback() -> None:
    async with cabinet_rig() as rig:
        rig.clock.advance(1.0)
        await rig.unit.read()
        rig.cabinet.fault("stuck_contactor:2")
        await rig.segment.set_level(approve(level(0)))
        rig.clock.advance(1.0)
        seen = rig.segment.observe(await rig.unit.read())
        assert (seen.commanded_on, seen.contactor_on) == (False, True)


async def test_the_local_key_refuses_levels() -> None:
    async with cabinet_rig() as rig:
        rig.cabinet.set(local_key=True)
        with pytest.raises(DeviceRefusedError, match="device failure"):
            await rig.segment.set_level(approve(level(40)))
        assert (await rig.unit.read()).truth("key_local")


async def test_without_a_heartbeat_the_cabinet_lights_everything_and_with_one_it_obeys_again() -> None:
    async with cabinet_rig() as rig:
        await rig.segment.beat()
        await rig.segment.set_level(approve(level(0)))
        for _ in range(4):
            rig.clock.advance(50.0)
            await rig.segment.beat()
        assert not rig.segment.observe(await rig.unit.read()).commanded_on
        rig.clock.advance(61.0)
        seen = rig.segment.observe(await rig.unit.read())
        assert (seen.commanded_on, seen.level_percent) == (True, 100)
        with pytest.raises(DeviceRefusedError):
            await rig.segment.set_level(approve(level(40)))
        await rig.segment.beat()
        await rig.segment.set_level(approve(level(40)))


async def test_each_beat_writes_a_new_value() -> None:
    async with cabinet_rig() as rig:
        seen = [(await rig.unit.read()).whole("heartbeat")]
        rig.unit._beats = 0xFFFF
        for _ in range(3):
            await rig.segment.beat()
            seen.append((await rig.unit.read()).whole("heartbeat"))
        assert seen[1:] == [0, 1, 2]


async def test_nonsense_from_the_cabinet_is_not_believed() -> None:
    async with cabinet_rig() as rig:
        rig.cabinet.fault("wrong_value")
        reading = await rig.unit.read()
        assert "segment_level.2" in reading.bad
        assert reading.values["segment_level.2"] is None
        with pytest.raises(DeviceNonsenseError, match=r"segment_level\.2"):
            rig.segment.observe(reading)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("silent", DeviceSilentError),
        ("slow:1", DeviceSilentError),
        ("late_reply", DeviceSilentError),
        ("wrong_request_id", DeviceSilentError),
        ("torn_reply", DeviceSilentError),
        ("disconnect", DeviceSilentError),
        ("exception:2", DeviceRefusedError),
        ("exception:6", DeviceRefusedError),
    ],
)
async def test_each_fault_of_the_wire_has_its_error_and_passes_with_the_fault(
    fault: str, error: type[DriverError]
) -> None:
    async with cabinet_rig(IMPATIENT_S if error is DeviceSilentError else TIMEOUT_S) as rig:
        await rig.read_patiently()
        before = rig.line.counters.silences + rig.line.counters.refusals
        rig.cabinet.fault(fault)
        with pytest.raises(error):
            await rig.unit.read()
        assert rig.line.counters.silences + rig.line.counters.refusals == before + 1
        rig.cabinet.fault(fault, on=False)
        assert (await rig.read_patiently()).values["segment_level.2"] == 100


async def test_a_silent_meter_does_not_stop_the_cabinet_behind_the_same_port() -> None:
    async with cabinet_rig(IMPATIENT_S) as rig:
        rig.cabinet.fault("silent", unit=2)
        for _ in range(5):
            with pytest.raises(DeviceSilentError):
                await rig.meter.observe()
            assert (await rig.read_patiently()).values["segment_level.2"] == 100


async def test_a_unit_that_is_not_there_is_silent() -> None:
    async with cabinet_rig(IMPATIENT_S) as rig:
        with pytest.raises(DeviceSilentError):
            await ModbusUnit(rig.line, 9, load_profile(PROFILES, "sdm630"), rig.now_ms).read()


async def test_a_wrong_profile_for_a_unit_is_refused_by_the_unit() -> None:
    async with cabinet_rig() as rig:
        with pytest.raises(DeviceRefusedError, match="illegal address"):
            await ModbusUnit(rig.line, 2, load_profile(PROFILES, "cabinet-ref"), rig.now_ms).read()


async def test_a_profile_without_what_a_driver_needs_is_told_at_start() -> None:
    async with cabinet_rig() as rig:
        meter = ModbusUnit(rig.line, 2, load_profile(PROFILES, "sdm630"), rig.now_ms)
        with pytest.raises(ProfileError, match="segment_command"):
            SegmentDriver(meter, 0, SEGMENT)
        with pytest.raises(ProfileError, match="channel 8 of 8"):
            SegmentDriver(rig.unit, 8, SEGMENT)
        with pytest.raises(ProfileError, match="at_top"):
            BollardDriver(rig.unit, BOLLARD)
        assert rig.cabinet.server.requests == 0


async def test_a_meter_tells_values_with_their_units() -> None:
    async with cabinet_rig() as rig:
        rig.cabinet.set(unit=2, energy_kwh=1234.5)
        at_ms, measured = await rig.meter.observe()
        assert at_ms == 10_000
        assert measured["voltage_l1"].unit == "V"
        assert isinstance(measured["voltage_l1"].value, float)
        assert math.isclose(measured["voltage_l1"].value, 230, abs_tol=2)
        assert isinstance(measured["energy_total"].value, float)
        assert math.isclose(measured["energy_total"].value, 1234.5, rel_tol=1e-5)
        assert measured["power_factor_total"].unit == ""
        assert all(each.quality is Quality.GOOD for each in measured.values())


async def test_a_meter_that_says_not_a_number_has_bad_values() -> None:
    async with cabinet_rig() as rig:
        rig.cabinet.fault("wrong_value", unit=2)
        _, measured = await rig.meter.observe()
        assert all(each.quality is Quality.BAD and each.value is None for each in measured.values())


async def test_a_unit_reads_only_the_points_it_is_asked_for() -> None:
    async with cabinet_rig() as rig:
        inputs = rig.unit.narrowed(("door_open", "key_local"))
        rig.cabinet.set(door_open=True)
        reading = await inputs.read()
        assert reading.values == {"door_open": True, "key_local": False}
        assert rig.cabinet.server.requests == 2


async def test_a_write_that_does_not_stand_is_told() -> None:
    async with cabinet_rig() as rig:
        rig.cabinet.model.accept = lambda *_: None  # type: ignore[method-assign]
        with pytest.raises(DeviceNonsenseError, match=r"segment_level\.2 was written 40 and reads 100"):
            await rig.segment.set_level(approve(level(40)))
