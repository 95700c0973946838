"""Somebody at the open cabinet: the guard reads door and key itself, because nobody else can vouch for them."""

import asyncio

from agent.guard.surroundings import Surroundings
from agent.model.observation import Presence
from agent.model.site import PresenceInputs
from agent.process.clock import Clock
from drivers.errors import DriverError
from drivers.modbus.unit import ModbusUnit

PERIOD_S = 0.5


class PresenceWatch:
    """Keeps the newest reading; without one, nobody is there."""

    def __init__(self, inputs: PresenceInputs, unit: ModbusUnit, surroundings: Surroundings, clock: Clock) -> None:
        self._inputs = inputs
        self._unit = unit
        self._surroundings = surroundings
        self._clock = clock

    async def run(self) -> None:
        """Read the inputs for as long as the process lasts."""
        while True:
            await self.read()
            await asyncio.sleep(PERIOD_S)

    async def read(self) -> None:
        """Read once. Silence or nonsense means nobody is known to be there."""
        try:
            reading = await self._unit.read()
        except DriverError:
            self._surroundings.see(None)
            return
        door, key = (reading.values.get(name) for name in (self._inputs.door_open, self._inputs.local_key))
        if isinstance(door, bool) and isinstance(key, bool):
            self._surroundings.see(Presence(reading.at_ms, door, key))
        else:
            self._surroundings.see(None)
