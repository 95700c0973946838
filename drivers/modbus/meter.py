"""An energy meter, or any unit that is only read: values by name, with their units."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.model.identity import EquipmentId
from agent.model.observation import Quality, Scalar
from drivers.modbus.unit import ModbusUnit


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured value. ``unit`` as in the profile: V, A, W, kWh ...; empty for a bare number."""

    value: Scalar
    unit: str
    quality: Quality


class MeterDriver:
    """One meter. It has no verbs."""

    def __init__(self, unit: ModbusUnit, equipment_id: EquipmentId) -> None:
        self.equipment_id = equipment_id
        self._unit = unit
        points = unit.profile.points.values()
        self._units = {point.key(channel): point.unit for point in points for channel in range(point.repeat)}

    async def observe(self) -> tuple[int, Mapping[str, Measured]]:
        """Read everything.

        Returns:
            The monotonic time in ms at which the reading began, and the values by name.

        Raises: as ``ModbusUnit.read``.
        """
        reading = await self._unit.read()
        measured = {
            key: Measured(value, self._units[key], Quality.BAD if key in reading.bad else Quality.GOOD)
            for key, value in reading.values.items()
        }
        return reading.at_ms, measured
