"""One unit behind a line: read whole by its profile, written point by point."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.model.observation import Scalar
from drivers.base import NowMs, Recheck
from drivers.errors import DeviceNonsenseError
from drivers.modbus.codec import encode, plan, single
from drivers.modbus.line import ModbusLine
from drivers.modbus.profile import COILS, PointType, Profile

REGISTER_VALUES = 0x10000


@dataclass(frozen=True, slots=True)
class Reading:
    """One pass over a unit's points.

    Args:
        values: by name, ``name.channel`` where a point has channels; None where the unit had none to give.
        bad: the keys whose value cannot be believed; each is None in ``values``.
        at_ms: monotonic time the reading began, so no value is older.
    """

    values: Mapping[str, Scalar]
    bad: frozenset[str]
    at_ms: int

    def truth(self, key: str) -> bool:
        """Return a point that must be true or false.

        Raises:
            DeviceNonsenseError: it is not there or not believed.
        """
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise DeviceNonsenseError(f"{key} is {value!r}, expected true or false")
        return value

    def whole(self, key: str) -> int:
        """Return a point that must be a whole number.

        Raises:
            DeviceNonsenseError: it is not there or not believed.
        """
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise DeviceNonsenseError(f"{key} is {value!r}, expected a whole number")
        return value


class ModbusUnit:
    """One unit id on a line.

    Args:
        points: read only these; all of the profile if None.

    Raises:
        ProfileError: a name in ``points`` is not in the profile.
    """

    def __init__(
        self, line: ModbusLine, unit: int, profile: Profile, now_ms: NowMs, points: Iterable[str] | None = None
    ) -> None:
        self.profile = profile
        self.unit = unit
        self.now_ms = now_ms
        self._line = line
        self._blocks = plan(profile, points)
        # Any value that differs from the last will do; a restart must not begin with the one it ended with.
        self._beats = random.randrange(REGISTER_VALUES)

    def __str__(self) -> str:
        return f"unit {self.unit} at {self._line.address}"

    def narrowed(self, points: Iterable[str]) -> "ModbusUnit":
        """Return the same unit, reading only these points. Raises: as the constructor."""
        return ModbusUnit(self._line, self.unit, self.profile, self.now_ms, points)

    async def read(self) -> Reading:
        """Read all points, in as few requests as the profile allows. All or nothing.

        Raises:
            LinkDownError, DeviceSilentError, DeviceRefusedError, DeviceNonsenseError: from the first request that fails.
        """
        at_ms = self.now_ms()
        values: dict[str, Scalar] = {}
        bad: set[str] = set()
        for block in self._blocks:
            block.decode(await self._line.read(self.unit, block.fc, block.address, block.count), values, bad)
        return Reading(values, frozenset(bad), at_ms)

    async def write(
        self, name: str, value: Scalar, channel: int = 0, *, insist: bool = False, recheck: Recheck | None = None
    ) -> None:
        """Write one point, then read it back where the profile says so.

        Args:
            insist: ask even if the unit is believed dead; for commands, not for heartbeats.
            recheck: asked when the write's turn on the line has come.

        Raises:
            ProfileError: no such point, or not writable.
            ValueError: the point cannot hold the value. Nothing was sent.
            ApprovalLapsedError: ``recheck`` refused. Nothing was sent.
            DeviceNonsenseError: the unit acknowledged the write and reads otherwise.
            LinkDownError, DeviceSilentError, DeviceRefusedError: as ``ModbusLine``.
        """
        point = self.profile.point(name, channel=channel, writable=True)
        words = encode(point, value)
        address = point.address_of(channel)
        if point.fc == COILS:
            await self._line.write_coil(self.unit, address, bool(words[0]), insist=insist, recheck=recheck)
        else:
            await self._line.write_registers(self.unit, address, words, insist=insist, recheck=recheck)
        if point.read_back:
            count = 1 if point.type is PointType.BOOL else point.type.width
            answer = await self._line.read(self.unit, point.fc, address, count)
            if tuple(int(word) for word in answer[:count]) != words:
                values: dict[str, Scalar] = {}
                single(point, channel).decode(answer, values, set())
                shown = values[point.key(channel)]
                raise DeviceNonsenseError(f"{self}: {point.key(channel)} was written {value!r} and reads {shown!r}")

    async def beat(self, name: str) -> None:
        """Write a new value to a heartbeat register, so that the unit knows that somebody watches over it.

        Raises: as ``write``. A unit that gets no beat falls back to its own plan.
        """
        self._beats = (self._beats + 1) % REGISTER_VALUES
        await self.write(name, self._beats)
