"""The NTCIP driver on a simulated signal controller, over UDP."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext

import pytest

from agent.model.command import LOCAL_PLAN, ReleaseJunction, RequestFlash, SelectPlan
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import JunctionObserved
from agent.model.site import Address, SnmpLink
from drivers.errors import DeviceNonsenseError, DeviceRefusedError, DeviceSilentError, DriverError
from drivers.ntcip.controller import SignalController
from simulators.clock import ManualClock
from simulators.signal_controller.agent import Communities
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.drivers.approvals import approve
from tests.referee import Verdict, judged

pytestmark = pytest.mark.hil

JUNCTION = EquipmentId("darcy")
GROUPS_12 = 0x0FFF
VEHICLES, PEDESTRIANS = 0x00FF, 0x0F00
TIMEOUT_S = 2.0  # patient, because a busy test machine is no controller
IMPATIENT_S = 0.1  # where no answer is expected
SYSTEM_CONTROL, BACKUP_MODE = 2, 4
NOT_FLASH, AUTOMATIC_FLASH = 2, 3
PLAN_1 = SelectPlan(JUNCTION, LOCAL_PLAN, PlanNumber(1), 60_000)
FLASH = RequestFlash(JUNCTION, LOCAL_PLAN, 60_000)
RELEASE = ReleaseJunction(JUNCTION, LOCAL_PLAN)


class Rig:
    """A junction that runs from the start, its time moved by hand."""

    def __init__(self, cabinet: SignalCabinet, clock: ManualClock, version: str) -> None:
        self.cabinet = cabinet
        self.clock = clock
        link = SnmpLink(Address("127.0.0.1", cabinet.port), version, "reader", "writer")
        self.driver = SignalController(link, JUNCTION, GROUPS_12, self.now_ms, TIMEOUT_S)

    def now_ms(self) -> int:
        return round(self.clock.now_s() * 1000)

    async def run(self, seconds: float) -> list[JunctionObserved]:
        """Observe ten times a second, as the guard does."""
        seen = []
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)
            seen.append(await self.driver.observe())
        return seen

    @contextmanager
    def impatient(self) -> Iterator[None]:
        self.driver._session._timeout_s = IMPATIENT_S
        yield
        self.driver._session._timeout_s = TIMEOUT_S

    @property
    def sets(self) -> dict[str, int]:
        counts = self.cabinet.controller.state()["sets"]
        assert isinstance(counts, dict)
        return counts


@asynccontextmanager
async def rig_of(version: str = "1", verdict: Verdict = "clear") -> AsyncIterator[Rig]:
    clock, communities = ManualClock(0.0), Communities("reader", "writer")
    async with SignalCabinet.serve(clock=clock, started=True, communities=communities) as cabinet:
        with judged(cabinet, verdict):
            rig = Rig(cabinet, clock, version)
            try:
                yield rig
            finally:
                await rig.driver.close()


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_a_running_junction_is_seen_by_its_channels(version: str) -> None:
    async with rig_of(version) as rig:
        facts = await rig.driver.connect()
        assert facts.by_channel
        assert facts.backup_time_s == 60
        assert facts.set_id is not None
        history = await rig.run(60)
        assert all(seen.flash_status == NOT_FLASH for seen in history)
        assert [seen.at_ms for seen in history] == list(range(100, 60_001, 100))
        shown = {seen.greens & VEHICLES for seen in history}
        assert len(shown) > 2
        lamps = rig.cabinet.controller.lamps()
        assert (history[-1].greens, history[-1].yellows, history[-1].reds) == (lamps.greens, lamps.yellows, lamps.reds)


async def test_at_every_moment_each_vehicle_group_shows_one_aspect() -> None:
    async with rig_of() as rig:
        for seen in await rig.run(30):
            aspects = (seen.greens & VEHICLES, seen.yellows & VEHICLES, seen.reds & VEHICLES)
            assert aspects[0] | aspects[1] | aspects[2] == VEHICLES
            assert sum(aspects) == VEHICLES


async def test_a_plan_holds_while_it_is_refreshed_and_is_dropped_when_we_fall_silent() -> None:
    async with rig_of() as rig:
        await rig.driver.select_plan(approve(PLAN_1))
        for _ in range(3):
            assert (await rig.run(29))[-1].pattern == 1
            await rig.driver.refresh(approve(PLAN_1))
        last = (await rig.run(5))[-1]
        assert (last.pattern, last.control_status) == (1, SYSTEM_CONTROL)
        rig.clock.advance(60.0)
        seen = await rig.driver.observe()
        assert seen.control_status == BACKUP_MODE
        assert rig.cabinet.controller.state()["system_pattern"] == 0


async def test_flash_is_asked_for_once_and_ends_by_a_release_through_the_start_up() -> None:
    async with rig_of() as rig:
        await rig.run(5)
        await rig.driver.flash(approve(FLASH))
        history = await rig.run(40)
        assert history[-1].flash_status == AUTOMATIC_FLASH
        assert history[-1].pattern == 255
        assert sum(rig.sets.values()) == 1
        await rig.driver.release(approve(RELEASE))
        history = await rig.run(30)
        assert history[-1].flash_status == NOT_FLASH
        first_green = next(index for index, seen in enumerate(history) if seen.greens & VEHICLES)
        assert any(seen.reds & VEHICLES == VEHICLES for seen in history[:first_green])


async def test_what_is_refused_changes_nothing() -> None:
    async with rig_of() as rig:
        rig.cabinet.fault("refuse_set")
        with pytest.raises(DeviceRefusedError, match="genErr"):
            await rig.driver.flash(approve(FLASH))
        rig.cabinet.fault("refuse_set", on=False)
        assert rig.cabinet.controller.state()["system_pattern"] == 0


async def test_octet_strings_say_the_same_as_integers() -> None:
    async with rig_of() as rig:
        await rig.run(10)
        plain = await rig.driver.observe()
        rig.cabinet.fault("octet_string")
        assert await rig.driver.observe() == plain
        await rig.driver.connect()
        assert await rig.driver.observe() == plain


async def test_a_lamp_stuck_on_green_is_seen() -> None:
    async with rig_of(verdict="conflict") as rig:
        rig.cabinet.fault("stuck_green:4")
        assert all(seen.greens >> 3 & 1 for seen in await rig.run(20))


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("silent", DeviceSilentError),
        ("power_cut", DeviceSilentError),
        ("slow:0.5", DeviceSilentError),
        ("late_reply", DeviceSilentError),
        ("wrong_request_id", DeviceSilentError),
        ("wrong_value", DeviceNonsenseError),
        ("exception:5", DeviceRefusedError),
    ],
)
async def test_each_fault_has_its_error_and_passes_with_the_fault(fault: str, error: type[DriverError]) -> None:
    async with rig_of() as rig:
        await rig.run(1)
        rig.cabinet.fault(fault)
        for _ in range(3):
            with rig.impatient() if error is DeviceSilentError else nullcontext(), pytest.raises(error):
                await rig.driver.observe()
        rig.cabinet.fault(fault, on=False)
        assert (await rig.driver.observe()).at_ms == rig.now_ms()


async def test_late_replies_never_show_the_past() -> None:
    async with rig_of() as rig:
        rig.cabinet.fault("late_reply")
        for _ in range(3):
            with rig.impatient(), pytest.raises(DeviceSilentError):
                await rig.driver.observe()
            rig.clock.advance(20.0)
        rig.cabinet.fault("late_reply", on=False)
        seen = await rig.driver.observe()
        lamps = rig.cabinet.controller.lamps()
        assert (seen.greens, seen.yellows, seen.reds) == (lamps.greens, lamps.yellows, lamps.reds)
        assert rig.driver.counters.ignored >= 2


async def test_watching_writes_nothing() -> None:
    async with rig_of() as rig:
        await rig.run(20)
        assert rig.sets == {}


async def test_a_changed_configuration_changes_the_fingerprint() -> None:
    async with rig_of() as rig:
        before = await rig.driver.read_set_id()
        rig.cabinet.set(config_changed=True)
        assert await rig.driver.read_set_id() != before
