"""What stands behind a polled unit: a lit segment, a meter, plain points."""

from collections.abc import Callable, Mapping

from agent.model.equipment import Meter, Points
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.process.clock import Clock
from agent.runtime.points import PointTable
from agent.runtime.recorder import Recorder
from agent.runtime.segment import SegmentControl
from drivers.modbus.profile import PointType, Profile
from drivers.modbus.segment import SegmentDriver
from drivers.modbus.unit import Reading

STREAMS = ("state", "tele")
INPUT_CODES = (2, 4)  # Modbus discrete inputs and input registers: what the equipment measures, not what it is set to
CURRENT_NAME = "current_a"
SEGMENT_NAMES: tuple[str, ...] = (
    "commanded_on",
    "contactor_on",
    "level_percent",
    "target_percent",
    "dark",
    "local_override",
    "breaker_tripped",
    "override",
)


class SegmentBehind:
    """A lighting segment: observed, controlled, reported."""

    def __init__(
        self,
        control: SegmentControl,
        driver: SegmentDriver,
        table: PointTable,
        recorder: Recorder,
        clock: Clock,
        is_fleet_silent: Callable[[], bool],
        current: str,
    ) -> None:
        self.id = control.segment.id
        self.streams: Mapping[str, str] = dict.fromkeys(SEGMENT_NAMES, "state") | (
            {CURRENT_NAME: "tele"} if current else {}
        )
        self._control = control
        self._driver = driver
        self._table = table
        self._recorder = recorder
        self._clock = clock
        self._is_fleet_silent = is_fleet_silent
        self._current = current

    async def take(self, reading: Reading) -> None:
        """Observe, control, report the changes."""
        seen = self._driver.observe(reading)
        await self._control.tick(seen, self._is_fleet_silent())
        shown: tuple[Scalar, ...] = (
            seen.commanded_on,
            seen.contactor_on,
            seen.level_percent,
            self._control.target_percent,
            seen.dark,
            seen.local_override,
            seen.breaker_tripped,
            self._control.holding(),
        )
        values = dict(zip(SEGMENT_NAMES, shown, strict=True))
        source_ms = self._clock.unix_ms()
        self._recorder.changes("state", self._table.take(self.id, values, (), source_ms))
        if self._current in reading.values:
            current = {CURRENT_NAME: reading.values[self._current]}
            bad = {CURRENT_NAME} if self._current in reading.bad else ()
            self._recorder.changes("tele", self._table.take(self.id, current, bad, source_ms))


class PointsBehind:
    """A meter or plain points: truths go to the state stream, numbers to telemetry."""

    def __init__(
        self, equipment: Meter | Points, profile: Profile, table: PointTable, recorder: Recorder, clock: Clock
    ) -> None:
        self.id: EquipmentId = equipment.id
        self.streams: Mapping[str, str] = {
            point.key(): "state" if point.type is PointType.BOOL else "tele"
            for point in profile.points.values()
            if point.fc in INPUT_CODES and point.repeat == 1
        }
        self._table = table
        self._recorder = recorder
        self._clock = clock

    async def take(self, reading: Reading) -> None:
        """Report the changes."""
        source_ms = self._clock.unix_ms()
        for stream in STREAMS:
            values = {name: value for name, value in reading.values.items() if self.streams.get(name) == stream}
            self._recorder.changes(stream, self._table.take(self.id, values, reading.bad, source_ms))
