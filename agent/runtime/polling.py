"""One polled unit: read on a fixed beat, hand the reading to whatever stands behind it."""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from agent.model.identity import EquipmentId
from agent.model.observation import Quality
from agent.process.clock import Clock
from agent.runtime.points import PointTable
from agent.runtime.recorder import Recorder
from drivers.errors import DriverError
from drivers.modbus.unit import ModbusUnit, Reading


class Behind(Protocol):
    """Equipment behind a unit."""

    id: EquipmentId
    names: tuple[str, ...]

    async def take(self, reading: Reading) -> None:
        """Take a good reading."""
        ...


class UnitPoll:
    """Polls one unit; says once when it falls silent and once when it is back."""

    def __init__(
        self,
        unit: ModbusUnit,
        behind: Sequence[Behind],
        table: PointTable,
        recorder: Recorder,
        clock: Clock,
        period_ms: int,
        heartbeat: str = "",
    ) -> None:
        self._unit = unit
        self._behind = behind
        self._table = table
        self._recorder = recorder
        self._clock = clock
        self._period_ms = period_ms
        self._heartbeat = heartbeat
        self.link = "not reached yet"
        self.polls = 0

    async def run(self) -> None:
        """Poll for as long as the process lasts; a missed slot is skipped, never made up in a burst."""
        next_ms = self._clock.now_ms()
        while True:
            await self.poll()
            now_ms = self._clock.now_ms()
            next_ms += self._period_ms * max(1, -(-(now_ms - next_ms) // self._period_ms))
            await asyncio.sleep(max(0, next_ms - self._clock.now_ms()) / 1000)

    async def poll(self) -> None:
        """Read once and pass it on; a silent unit's points become stale."""
        try:
            if self._heartbeat:
                await self._unit.beat(self._heartbeat)
            reading = await self._unit.read()
            for each in self._behind:
                await each.take(reading)
        except DriverError as error:
            await self._lost(str(error))
            return
        self.polls += 1
        if self.link != "answers":
            self.link = "answers"
            for each in self._behind:
                await self._recorder.event("alarm", "link.back", each.id, "", "the unit answers")

    async def _lost(self, why: str) -> None:
        was, self.link = self.link, why
        for each in self._behind:
            self._recorder.changes("state", self._table.silence(each.id, each.names, self._clock.unix_ms()))
            if was in ("answers", "not reached yet"):
                await self._recorder.event(
                    "alarm", "link.lost", each.id, "", why, {"quality": Quality.STALE.name.lower()}
                )
