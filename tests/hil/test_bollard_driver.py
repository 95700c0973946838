"""The bollard driver on a simulated PLC, over TCP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.model.command import LOCAL_PLAN, LowerBollard, RaiseBollard
from agent.model.identity import EquipmentId
from agent.model.site import Address
from drivers.errors import DeviceNonsenseError, DeviceRefusedError
from drivers.modbus.bollard import BollardDriver
from drivers.modbus.line import ModbusLine
from drivers.modbus.profile import load_profile
from drivers.modbus.unit import ModbusUnit
from simulators.bollard_plc import Bollards
from simulators.clock import ManualClock
from tests.drivers.approvals import approve, nothing_against

pytestmark = pytest.mark.hil

PROFILES = Path(__file__).parents[2] / "configs" / "profiles"
TIMEOUT_S = 2.0  # patient, because a busy test machine is no PLC
BOLLARD = EquipmentId("bollard-1")


class BollardRig:
    """One bollard, its time moved by hand."""

    def __init__(self, bollards: Bollards, clock: ManualClock) -> None:
        self.bollards = bollards
        self.clock = clock
        self.line = ModbusLine(Address("127.0.0.1", bollards.port), TIMEOUT_S, seed=1)
        unit = ModbusUnit(self.line, 1, load_profile(PROFILES, "bollard-ref"), self.now_ms)
        self.driver = BollardDriver(unit, BOLLARD)

    def now_ms(self) -> int:
        return round(self.clock.now_s() * 1000)

    async def run(self, seconds: int) -> None:
        """Beat and observe once a second, as the guard does."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            await self.driver.beat()
            await self.driver.observe()


@asynccontextmanager
async def bollard_rig() -> AsyncIterator[BollardRig]:
    clock = ManualClock(100.0)
    async with Bollards.serve(clock=clock) as bollards:
        rig = BollardRig(bollards, clock)
        try:
            yield rig
        finally:
            await rig.line.close()


RAISE = RaiseBollard(BOLLARD, LOCAL_PLAN)
LOWER = LowerBollard(BOLLARD, LOCAL_PLAN)


async def test_a_bollard_rises_and_lowers_when_asked() -> None:
    async with bollard_rig() as rig:
        await rig.run(3)
        await rig.driver.raise_(approve(RAISE), nothing_against)
        await rig.run(9)
        up = await rig.driver.observe()
        assert (up.at_top, up.at_bottom, up.position_percent, up.red_on, up.green_on) == (True, False, 100, True, False)
        await rig.driver.lower(approve(LOWER))
        await rig.run(5)
        down = await rig.driver.observe()
        assert (down.at_top, down.at_bottom, down.position_percent, down.green_on) == (False, True, 0, True)
        assert (down.equipment, down.mains_ok, down.fault_latched, down.reversals) == (BOLLARD, True, False, 0)


async def test_without_the_gateways_heartbeat_the_plc_refuses_to_raise_but_lowers() -> None:
    async with bollard_rig() as rig:
        await rig.run(3)
        rig.clock.advance(11.0)
        with pytest.raises(DeviceRefusedError):
            await rig.driver.raise_(approve(RAISE), nothing_against)
        await rig.driver.lower(approve(LOWER))


async def test_a_bollard_is_seen_in_two_requests() -> None:
    async with bollard_rig() as rig:
        before = rig.bollards.server.requests
        await rig.driver.observe()
        assert rig.bollards.server.requests == before + 2


async def test_loops_count_as_free_from_when_they_were_first_seen_free() -> None:
    async with bollard_rig() as rig:
        rig.bollards.set(loop_a=True)
        assert (await rig.driver.observe()).loops_free_since_ms is None
        rig.bollards.set(loop_a=False)
        rig.clock.advance(1.0)
        assert (await rig.driver.observe()).loops_free_since_ms == 101_000
        rig.clock.advance(1.0)
        assert (await rig.driver.observe()).loops_free_since_ms == 101_000
        rig.bollards.set(loop_fault=True)
        rig.clock.advance(1.0)
        assert (await rig.driver.observe()).loops_free_since_ms is None


async def test_after_a_look_away_loops_count_as_free_anew() -> None:
    async with bollard_rig() as rig:
        await rig.driver.observe()
        rig.clock.advance(1.5)
        assert (await rig.driver.observe()).loops_free_since_ms == 100_000
        rig.clock.advance(1.501)
        assert (await rig.driver.observe()).loops_free_since_ms == 103_001


async def test_after_a_failed_reading_loops_count_as_free_anew() -> None:
    async with bollard_rig() as rig:
        await rig.driver.observe()
        rig.bollards.fault("exception:4")
        with pytest.raises(DeviceRefusedError):
            await rig.driver.observe()
        rig.bollards.fault("exception:4", on=False)
        rig.clock.advance(0.5)
        assert (await rig.driver.observe()).loops_free_since_ms == 100_500


async def test_the_plcs_heartbeat_counts_from_its_first_change_and_stands_when_frozen() -> None:
    async with bollard_rig() as rig:
        assert (await rig.driver.observe()).heartbeat_at_ms is None
        rig.clock.advance(1.0)
        assert (await rig.driver.observe()).heartbeat_at_ms == 101_000
        rig.bollards.fault("frozen_heartbeat")
        rig.clock.advance(1.0)
        await rig.driver.observe()
        rig.clock.advance(1.0)
        assert (await rig.driver.observe()).heartbeat_at_ms == 101_000


async def test_nonsense_from_the_plc_is_not_believed() -> None:
    async with bollard_rig() as rig:
        rig.bollards.fault("wrong_value")
        with pytest.raises(DeviceNonsenseError, match="state"):
            await rig.driver.observe()


async def test_an_approval_for_another_bollard_is_not_carried_out() -> None:
    async with bollard_rig() as rig:
        await rig.run(3)
        other = EquipmentId("bollard-9")
        with pytest.raises(ValueError, match="approved for bollard-9"):
            await rig.driver.raise_(approve(RaiseBollard(other, LOCAL_PLAN)), nothing_against)
        with pytest.raises(ValueError, match="approved for bollard-9"):
            await rig.driver.lower(approve(LowerBollard(other, LOCAL_PLAN)))
        assert (await rig.driver.observe()).at_bottom


async def test_the_local_key_refuses_both_ways() -> None:
    async with bollard_rig() as rig:
        await rig.run(3)
        rig.bollards.set(local_key=True)
        for attempt in (rig.driver.raise_(approve(RAISE), nothing_against), rig.driver.lower(approve(LOWER))):
            with pytest.raises(DeviceRefusedError):
                await attempt
