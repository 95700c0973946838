"""A lighting segment: one contactor and one level of a cabinet with the profile ``cabinet-ref``."""

from agent.model.command import SetLevel
from agent.model.identity import EquipmentId
from agent.model.observation import SegmentObserved
from agent.safety.verdict import Approved
from drivers.errors import DeviceNonsenseError
from drivers.modbus.profile import COILS, DISCRETES, HOLDINGS
from drivers.modbus.unit import ModbusUnit, Reading

COMMAND = "segment_command"
LEVEL = "segment_level"
CONTACTOR = "contactor_feedback"
BREAKER = "breaker_tripped"
OVERRIDE = "local_override"
DARK = "dark"
LUX = "illuminance"
"""Where the profile has it."""
HEARTBEAT = "heartbeat"
LEVEL_FULL = 100


class SegmentDriver:
    """One segment. Several share a unit, and so one reading of it.

    Args:
        channel: which of the unit's outputs, from 0.

    Raises:
        ProfileError: the unit's profile lacks a point that a segment needs.
    """

    def __init__(self, unit: ModbusUnit, channel: int, equipment_id: EquipmentId) -> None:
        self.equipment_id = equipment_id
        self._unit = unit
        self._channel = channel
        profile = unit.profile
        points = [profile.point(COMMAND, channel=channel, fc=COILS, writable=True)]
        points.append(profile.point(LEVEL, channel=channel, fc=HOLDINGS, writable=True))
        points += [profile.point(name, channel=channel, fc=DISCRETES) for name in (CONTACTOR, BREAKER, OVERRIDE)]
        self._command, self._level, self._contactor, self._breaker, self._override = (
            point.key(channel) for point in points
        )
        profile.point(HEARTBEAT, fc=HOLDINGS, writable=True)
        profile.point(DARK, fc=DISCRETES)

    def observe(self, reading: Reading) -> SegmentObserved:
        """Pick this segment out of a reading of its unit. The level of a segment that is off is 0.

        Raises:
            DeviceNonsenseError: a point is not believed. The photocell is the exception: it becomes None, unknown.
        """
        commanded_on = reading.truth(self._command)
        level_percent = reading.whole(self._level)
        if not 0 <= level_percent <= LEVEL_FULL:
            raise DeviceNonsenseError(f"{self._unit}: {self._level} is {level_percent}, expected 0..100 %")
        dark, lux = reading.values.get(DARK), reading.values.get(LUX)
        return SegmentObserved(
            equipment=self.equipment_id,
            at_ms=reading.at_ms,
            commanded_on=commanded_on,
            contactor_on=reading.truth(self._contactor),
            level_percent=level_percent if commanded_on else 0,
            dark=dark if isinstance(dark, bool) else None,
            local_override=reading.truth(self._override),
            breaker_tripped=reading.truth(self._breaker),
            lux=lux if type(lux) is int else None,
        )

    async def set_level(self, approved: Approved[SetLevel]) -> None:
        """Bring the segment to an approved level, reading back each write.

        Off is said by the contactor alone, and the level behind it is left at full: whoever closes the
        contactor next, the cabinet's own watchdog included, finds light.

        Raises:
            DeviceNonsenseError: the unit acknowledged and reads otherwise.
            LinkDownError, DeviceSilentError, DeviceRefusedError: the segment may stand between old and new level.
        """
        command = approved.command
        if command.equipment != self.equipment_id:
            raise ValueError(f"approved for {command.equipment}, and this is {self.equipment_id}")
        on = command.level_percent > 0
        if not on:
            await self._unit.write(COMMAND, on, self._channel, insist=True)
        level_percent = command.level_percent if on else LEVEL_FULL
        await self._unit.write(LEVEL, level_percent, self._channel, insist=True)
        if on:
            await self._unit.write(COMMAND, on, self._channel, insist=True)

    async def beat(self) -> None:
        """Feed the cabinet's watchdog; once per unit is enough. Raises: as ``ModbusUnit.beat``."""
        await self._unit.beat(HEARTBEAT)
