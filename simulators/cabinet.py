"""Lighting cabinet on Modbus TCP: unit 1 is the cabinet (profile ``cabinet-ref``), unit 2 its energy meter.

The map is this project's own reference profile, no vendor's. Decisions where the profile is silent:

- Outputs start at the safe mask with the watchdog running. Writing any new value to the heartbeat
  (holding 3) restarts it. When it expires, coils take the safe mask, masked segments go to 100 %, and
  coils and levels refuse writes (exception 4) until the heartbeat comes back.
- While the key stands on LOCAL every write is refused with exception 4 and the watchdog rests.
- Coils obey writes in mode 2 (remote) only; in modes 0 and 1 the cabinet drives them itself.
- A manual override switch, or a stuck contactor, shows in the feedback, never in the coil.
"""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from simulators.clock import Clock, RealClock
from simulators.control_socket import ControlError
from simulators.device import Stand, require_bool, require_number
from simulators.lighting import SEGMENTS, Segment, current_a
from simulators.meter import Meter
from simulators.modbus_frame import ExceptionCode, ModbusRefusal, Table
from simulators.modbus_server import ModbusServer, Unit
from simulators.sun import elevation_deg

CABINET_UNIT, METER_UNIT = 1, 2
MODE_ASTRO, MODE_PHOTOCELL, MODE_REMOTE, MODE_LOCAL = 0, 1, 2, 3
WATCHDOG_S_DEFAULT = 60
DARK_BELOW_LUX, LIGHT_ABOVE_LUX = 35, 70  # photocell hysteresis
DUSK_ELEVATION_DEG = -1.0
BATTERY_FULL_DV, BATTERY_ON_DV = 138, 125  # 0.1 V, float charge and discharge
OWN_FAULTS = (
    "power_cut",
    "door_open",
    "local_key",
    "breaker",
    "stuck_contactor",
    "lamps_out",
    "earth_leakage",
)
TIMEOUT, REMAINING, SAFE_MASK, HEARTBEAT = 0, 1, 2, 3
LEVEL_0, RTC_HIGH, RTC_LOW, LATITUDE, LONGITUDE, MODE = 10, 100, 101, 110, 111, 112
SEGMENT_W = 2_400.0  # 40 lamps of 60 W


class LightingCabinet(Unit):
    """Unit 1. Pure model: step it, or let a Cabinet host it.

    Args:
        epoch_s: the cabinet's clock when time is 0, seconds since 1970 UTC.
    """

    def __init__(self, epoch_s: float | None = None) -> None:
        super().__init__(OWN_FAULTS)
        self.segments = [Segment(SEGMENT_W) for _ in range(SEGMENTS)]
        self.coils = [True] * SEGMENTS
        self.lux = 10_000
        self.photocell_dark = False
        self._temperature_dc = 210
        self._now_s = 0.0
        self._epoch_offset_s = time.time() if epoch_s is None else epoch_s
        self._holding = {TIMEOUT: WATCHDOG_S_DEFAULT, SAFE_MASK: 0xFF, HEARTBEAT: 0}
        self._holding |= {LATITUDE: 4732, LONGITUDE: 504, MODE: MODE_REMOTE}
        self._heartbeat_s = 0.0
        self.watchdog_expired = False
        self._switches = {"door_open": False, "local_key": False, "power_cut": False, "earth_leakage": False}
        self._switches["tag_out"] = False

    def _is(self, name: str) -> bool:
        return self._switches[name] or self.faults.on(name)

    @property
    def mains(self) -> bool:
        """Tell whether the mains are present."""
        return not self._is("power_cut")

    def load_w(self) -> tuple[float, float, float]:
        """Return the load on L1, L2, L3 in watts; feeders are spread in turn."""
        powers = [segment.power_w(self.mains) for segment in self.segments]
        return sum(powers[0::3]), sum(powers[1::3]), sum(powers[2::3])

    def step(self, now_s: float) -> None:
        """Move to ``now_s``."""
        self._now_s = max(self._now_s, now_s)
        self._watch()
        if self.lux < DARK_BELOW_LUX:
            self.photocell_dark = True
        elif self.lux > LIGHT_ABOVE_LUX:
            self.photocell_dark = False
        self._drive_itself()
        tripped, stuck, dead = (self.faults.numbers(name) for name in ("breaker", "stuck_contactor", "lamps_out"))
        for index, segment in enumerate(self.segments):
            segment.breaker_tripped = index in tripped
            segment.lamps_out = index in dead
            wanted = (self.coils[index] or segment.override_on) and self.mains
            segment.contactor.step(self._now_s, wanted, stuck=index in stuck)
        self._refresh()

    def _watch(self) -> None:
        if self._is("local_key"):
            self._heartbeat_s = self._now_s
            self.watchdog_expired = False
        elif not self.watchdog_expired and self._now_s - self._heartbeat_s >= self._holding[TIMEOUT]:
            self.watchdog_expired = True
            for index, segment in enumerate(self.segments):
                self.coils[index] = bool(self._holding[SAFE_MASK] >> index & 1)
                if self.coils[index]:
                    segment.level = 100

    def _drive_itself(self) -> None:
        if self.watchdog_expired or self._is("local_key"):
            return
        if self._holding[MODE] == MODE_PHOTOCELL:
            self.coils = [self.photocell_dark] * SEGMENTS
        elif self._holding[MODE] == MODE_ASTRO:
            latitude, longitude = (_signed(self._holding[address]) / 100 for address in (LATITUDE, LONGITUDE))
            elevation = elevation_deg(self.epoch_s, latitude, longitude)
            self.coils = [elevation < DUSK_ELEVATION_DEG] * SEGMENTS

    @property
    def epoch_s(self) -> float:
        """The cabinet's own clock, seconds since 1970 UTC."""
        return self._epoch_offset_s + self._now_s

    def _refresh(self) -> None:
        coils, discretes = self.tables[Table.COILS], self.tables[Table.DISCRETES]
        inputs, holdings = self.tables[Table.INPUTS], self.tables[Table.HOLDINGS]
        for index, segment in enumerate(self.segments):
            coils[index] = int(self.coils[index])
            discretes[index] = int(segment.contactor.closed)
            discretes[8 + index] = int(segment.breaker_tripped)
            discretes[16 + index] = int(segment.override_on)
            inputs[8 + index] = round(current_a(segment.power_w(self.mains)) * 100)
            holdings[LEVEL_0 + index] = segment.level
        flags = (self._is("door_open"), self._is("earth_leakage"), self.mains, self.photocell_dark)
        for address, flag in enumerate((*flags, not self.mains, self._is("local_key")), start=24):
            discretes[address] = int(flag)
        discretes[30] = int(self._switches["tag_out"])
        uptime_s = int(self._now_s)
        inputs[0], inputs[1] = min(self.lux, 0xFFFF), self._temperature_dc & 0xFFFF
        inputs[2], inputs[3] = uptime_s >> 16 & 0xFFFF, uptime_s & 0xFFFF
        inputs[4] = BATTERY_FULL_DV if self.mains else BATTERY_ON_DV
        holdings.update(self._holding)
        remaining_s = 0 if self.watchdog_expired else self._holding[TIMEOUT] - (self._now_s - self._heartbeat_s)
        holdings[REMAINING] = max(0, int(remaining_s))
        epoch = int(self.epoch_s)
        holdings[RTC_HIGH], holdings[RTC_LOW] = epoch >> 16 & 0xFFFF, epoch & 0xFFFF
        if self._is("local_key"):
            holdings[MODE] = MODE_LOCAL

    def accept(self, table: Table, address: int, values: tuple[int, ...]) -> None:
        """Carry out a write; the rules are in the module's docstring."""
        if self._is("local_key"):
            raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)
        if table is Table.COILS:
            if self.watchdog_expired or self._holding[MODE] != MODE_REMOTE:
                raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)
            self.coils[address : address + len(values)] = [bool(value) for value in values]
            return
        entries = dict(enumerate(values, start=address))
        alive_again = HEARTBEAT in entries and entries[HEARTBEAT] != self._holding[HEARTBEAT]
        for register, value in entries.items():
            self._check(register, value, alive_again)
        if alive_again:
            self._heartbeat_s, self.watchdog_expired = self._now_s, False
        epoch = int(self.epoch_s)
        high, low = entries.get(RTC_HIGH, epoch >> 16), entries.get(RTC_LOW, epoch & 0xFFFF)
        if RTC_HIGH in entries or RTC_LOW in entries:
            self._epoch_offset_s = (high << 16 | low) - self._now_s
        for register, value in entries.items():
            if LEVEL_0 <= register < LEVEL_0 + SEGMENTS:
                self.segments[register - LEVEL_0].level = value
            elif register in self._holding:
                self._holding[register] = value

    def _check(self, register: int, value: int, alive_again: bool) -> None:
        """Refuse a value out of range, a read-only register, or a level while the watchdog is expired."""
        if register == REMAINING:
            raise ModbusRefusal(ExceptionCode.ILLEGAL_ADDRESS)
        if LEVEL_0 <= register < LEVEL_0 + SEGMENTS and self.watchdog_expired and not alive_again:
            raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)
        allowed = {
            TIMEOUT: (1, 65_534),
            SAFE_MASK: (0, 0xFF),
            MODE: (MODE_ASTRO, MODE_REMOTE),
        }.get(register, (0, 100) if LEVEL_0 <= register < LEVEL_0 + SEGMENTS else (0, 0xFFFF))
        if not allowed[0] <= value <= allowed[1]:
            raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)

    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Know ``lux``, ``temperature_c``, ``door_open``, ``local_key``, ``power_cut``, ``earth_leakage``, ``tag_out``, ``override_N``."""
        for name, value in stimulus.items():
            if name == "lux":
                self.lux = round(require_number(name, value, 0, 100_000))
            elif name == "temperature_c":
                self._temperature_dc = round(require_number(name, value, -60, 120) * 10)
            elif name in self._switches:
                self._switches[name] = require_bool(name, value)
            elif name.startswith("override_") and name[9:].isdigit() and int(name[9:]) < SEGMENTS:
                self.segments[int(name[9:])].override_on = require_bool(name, value)
            else:
                known = ("lux", "temperature_c", *self._switches, "override_0..7")
                raise ControlError(f"a lighting cabinet knows {', '.join(known)}, not {name[:64]!r}")

    def state(self) -> dict[str, Any]:
        """Describe the cabinet."""
        return {
            **super().state(),
            "coils": list(self.coils),
            "feedback": [segment.contactor.closed for segment in self.segments],
            "levels": [segment.level for segment in self.segments],
            "power_w": [round(segment.power_w(self.mains), 1) for segment in self.segments],
            "lux": self.lux,
            "photocell_dark": self.photocell_dark,
            "mains": self.mains,
            "local_key": self._is("local_key"),
            "door_open": self._is("door_open"),
            "mode": self._holding[MODE],
            "watchdog_expired": self.watchdog_expired,
            "watchdog_remaining_s": self.tables[Table.HOLDINGS].get(REMAINING, 0),
        }


def _signed(word: int) -> int:
    return word - 0x10000 if word & 0x8000 else word


class Cabinet:
    """A lighting cabinet and its meter on one Modbus TCP port. Use ``async with Cabinet.serve() as cabinet``."""

    def __init__(self, clock: Clock, epoch_s: float | None = None) -> None:
        self.model = LightingCabinet(epoch_s)
        self.meter = Meter(self.model.load_w)
        self.stand = Stand({CABINET_UNIT: self.model, METER_UNIT: self.meter}, clock)
        self.server = ModbusServer({CABINET_UNIT: self.model, METER_UNIT: self.meter}, self.stand)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.server.port

    def fault(self, spec: str, on: bool = True, unit: int = CABINET_UNIT) -> None:
        """Switch a fault of the cabinet, or of the meter with ``unit=2``."""
        self.stand.devices[unit].faults.switch(spec, on)
        self.stand.step()

    def set(self, unit: int = CABINET_UNIT, **stimulus: object) -> None:
        """Change the world around the cabinet."""
        self.stand.devices[unit].stimulate(stimulus)
        self.stand.step()

    @classmethod
    @asynccontextmanager
    async def serve(
        cls, port: int = 0, control: str | None = None, clock: Clock | None = None, epoch_s: float | None = None
    ) -> AsyncIterator["Cabinet"]:
        """Serve on 127.0.0.1 until the block ends."""
        cabinet = cls(clock or RealClock(), epoch_s)
        async with cabinet.server.serve(port), cabinet.stand.run(control):
            yield cabinet
