"""Somebody at the open cabinet: the guard reads door, key and tag-out switch itself; nobody else can vouch for them."""

import asyncio

from agent.guard.records import Records
from agent.guard.surroundings import Surroundings
from agent.model.observation import Presence
from agent.model.site import PresenceInputs
from drivers.errors import DriverError
from drivers.modbus.unit import ModbusUnit

PERIOD_S = 0.5


class PresenceWatch:
    """Keeps the newest reading; without one, nobody is there, the cabinet counts as tagged out, and a turned key stays so."""

    def __init__(self, inputs: PresenceInputs, unit: ModbusUnit, surroundings: Surroundings, records: Records) -> None:
        self._inputs = inputs
        self._unit = unit
        self._surroundings = surroundings
        self._records = records
        self._is_tagged: bool | None = None
        if inputs.tag_out:
            surroundings.expect_tag()

    async def run(self) -> None:
        """Read the inputs for as long as the process lasts."""
        while True:
            await self.read()
            await asyncio.sleep(PERIOD_S)

    async def read(self) -> None:
        """Read once. Silence or nonsense means nobody is known to be there, no tag to be off, and no key to be turned back."""
        try:
            reading = await self._unit.read()
        except DriverError:
            self._surroundings.see(None)
            self._surroundings.see_key(None)
            return
        door, key = (reading.values.get(name) for name in (self._inputs.door_open, self._inputs.local_key))
        if isinstance(door, bool) and isinstance(key, bool):
            self._surroundings.see(Presence(reading.at_ms, door, key))
        else:
            self._surroundings.see(None)
        self._surroundings.see_key(key if isinstance(key, bool) else None)
        tagged = reading.values.get(self._inputs.tag_out)
        if isinstance(tagged, bool):
            self._surroundings.see_tag(tagged, reading.at_ms)
            self._tell(tagged)

    def _tell(self, is_tagged: bool) -> None:
        """Seal a change, and a tag that is there at the start."""
        if is_tagged:
            if self._is_tagged is not True:
                self._records.note("tag.out", "", "SR-29", "somebody's lock is in the tag-out switch")
        elif self._is_tagged:
            self._records.note("tag.in", "", "SR-29", "the lock is out of the tag-out switch")
        self._is_tagged = is_tagged
