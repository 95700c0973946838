"""One polled unit: read on a fixed beat, hand the reading to whatever stands behind it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from agent.model.identity import EquipmentId
from agent.model.observation import PointValue, Quality
from agent.process.clock import Clock
from agent.runtime.points import PointTable
from agent.runtime.recorder import Recorder
from drivers.errors import DeviceNonsenseError, DeviceRefusedError, DriverError
from drivers.modbus.unit import ModbusUnit, Reading

NOT_REACHED, ANSWERS = "not reached yet", "answers"
MISSES_MAX = 3
SILENT_AFTER_MS = 2_000
"""One lost datagram is no loss: both words of it would be sealed and kept for ever. So many polls in a row without an
answer are, or so long a time. Until then the values stand with their age, and control judges by that. Of a unit never
reached there is no value to stand."""


class Behind(Protocol):
    """Equipment behind a unit.

    A point travels in one stream only, whatever its quality: two streams would let an old value arrive after the word
    that it is stale.
    """

    id: EquipmentId
    streams: Mapping[str, str]
    """Point name -> stream."""

    async def take(self, reading: Reading) -> None:
        """Take a reading.

        Raises:
            DeviceNonsenseError: nothing in it about this equipment can be believed; nothing was done.
        """
        ...


class UnitPoll:
    """Polls one unit; says once when it falls silent and once when it is back.

    Args:
        heartbeat: name of the watchdog's register, empty if there is none. It is fed only while the unit is read and
            believed: a cabinet that cannot be controlled must fall back to its own plan.
    """

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
        self._doubted: dict[EquipmentId, str] = {}
        self._is_beat_refused = False
        self._link = NOT_REACHED
        self._misses = 0
        self._answered_at_ms = clock.now_ms()
        self.polls = 0

    def __str__(self) -> str:
        return str(self._unit)

    def link_of(self, equipment: EquipmentId) -> str:
        """How the unit answers, in words, as far as this equipment is concerned."""
        if self._link == ANSWERS and equipment in self._doubted:
            return self._doubted[equipment]
        return f"{self._link}, and refuses the heartbeat" if self._is_beat_refused else self._link

    async def run(self, came_round: Callable[[], None]) -> None:
        """Poll for as long as the process lasts; a missed slot is skipped, never made up in a burst."""
        next_ms = self._clock.now_ms()
        while True:
            await self.poll()
            came_round()
            now_ms = self._clock.now_ms()
            next_ms += self._period_ms * max(1, -(-(now_ms - next_ms) // self._period_ms))
            await asyncio.sleep(max(0, next_ms - self._clock.now_ms()) / 1000)

    async def poll(self) -> None:
        """Read once and pass it on.

        After a while without an answer the points become stale; bad, if it was nonsense that came.
        """
        try:
            reading = await self._unit.read()
            if self._heartbeat and not self._doubted:
                await self._beat()
        except DriverError as error:
            self._missed(str(error), Quality.BAD if isinstance(error, DeviceNonsenseError) else Quality.STALE)
            return
        self.polls += 1
        self._misses, self._answered_at_ms = 0, self._clock.now_ms()
        if self._link != ANSWERS:
            self._link = ANSWERS
            for each in self._behind:
                self._recorder.event("alarm", "link.back", each.id, "", "the unit answers")
        for each in self._behind:
            await self._hand_over(reading, each)

    async def _beat(self) -> None:
        """Feed the watchdog. A refusal is no silence: with the key on LOCAL a cabinet refuses every write."""
        try:
            await self._unit.beat(self._heartbeat)
        except DeviceRefusedError as error:
            if not self._is_beat_refused:
                text = f"the unit does not take the heartbeat: {error}"
                self._recorder.event("alarm", "heartbeat.refused", self._behind[0].id, "", text)
            self._is_beat_refused = True
        else:
            if self._is_beat_refused:
                self._recorder.event("alarm", "heartbeat.taken", self._behind[0].id, "", "the heartbeat is taken again")
            self._is_beat_refused = False

    async def _hand_over(self, reading: Reading, each: Behind) -> None:
        """One piece of equipment that makes no sense must not keep the reading from the others."""
        try:
            await each.take(reading)
        except DeviceNonsenseError as error:
            self._record(each, self._table.disbelieve(each.id, each.streams, self._clock.unix_ms()))
            if each.id not in self._doubted:
                self._recorder.event("alarm", "reading.nonsense", each.id, "", str(error))
            self._doubted[each.id] = f"answers nonsense: {error}"
        else:
            if self._doubted.pop(each.id, ""):
                self._recorder.event("alarm", "reading.sound", each.id, "", "the readings make sense again")

    def _missed(self, why: str, quality: Quality) -> None:
        self._misses += 1
        silent_ms = self._clock.now_ms() - self._answered_at_ms
        if self._link != ANSWERS or self._misses >= MISSES_MAX or silent_ms > SILENT_AFTER_MS:
            self._lost(why, quality)

    def _lost(self, why: str, quality: Quality) -> None:
        was, self._link = self._link, why
        source_ms = self._clock.unix_ms()
        for each in self._behind:
            spoil = self._table.disbelieve if quality is Quality.BAD else self._table.silence
            self._record(each, spoil(each.id, each.streams, source_ms))
            if was in (ANSWERS, NOT_REACHED):
                self._recorder.event("alarm", "link.lost", each.id, "", why, {"quality": quality.name.lower()})

    def _record(self, each: Behind, changes: Sequence[PointValue]) -> None:
        for change in changes:
            self._recorder.changes(each.streams[change.point.partition("/")[2]], [change])
