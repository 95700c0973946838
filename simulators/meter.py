"""Energy meter with the register map of the Eastron SDM630: input registers, float32, high word first.

Source: the public SDM630 register inventories. 0-based addresses; energy in kWh.
"""

import math
import struct
from collections.abc import Callable, Mapping
from typing import Any

from simulators.control_socket import ControlError
from simulators.device import require_number
from simulators.lighting import MAINS_V
from simulators.modbus_frame import ExceptionCode, ModbusRefusal, Table
from simulators.modbus_server import Unit

POWER_FACTOR = 0.95
WH_PER_KWH = 1000.0
DIVIDER_W = 15.0  # what the cabinet's own electronics draw, on L1
STEP_MAX_S = 3600.0

# Register pairs that exist and have nothing to say here answer 0.0, as the real meter does.
QUIET = (0x0024, 0x0026, 0x0028, 0x002A, 0x0034, 0x0046, 0x0048, 0x004A, 0x0156, 0x015A, 0x015C, 0x015E)
HOLDINGS = {0x000A: 60.0, 0x0012: 0.0, 0x0014: 2.0, 0x001C: 2.0}  # demand period, parity, node, baud code


def float_words(value: float) -> tuple[int, int]:
    """Return the two registers of a float32, high word first (230.5 is 4366 8000)."""
    high, low = struct.unpack(">HH", struct.pack(">f", value))
    return high, low


class Meter(Unit):
    """An SDM630 behind the cabinet's main breaker.

    Args:
        load_w: returns the active power of L1, L2, L3 in watts; asked at every step.
        serial_number: u32 at holding 0xFC00.
    """

    def __init__(self, load_w: Callable[[], tuple[float, float, float]], serial_number: int = 63_000_001) -> None:
        super().__init__()
        self._load_w = load_w
        self._energy_wh = [0.0, 0.0, 0.0]
        self._last_s: float | None = None
        self._offset_v = 0.0
        self.power_w = (0.0, 0.0, 0.0)
        holdings = self.tables[Table.HOLDINGS]
        for address, value in HOLDINGS.items():
            holdings[address], holdings[address + 1] = float_words(value)
        holdings[0xFC00], holdings[0xFC01] = serial_number >> 16, serial_number & 0xFFFF
        for address in range(0, 0x0058, 2):
            self._put(address, 0.0)
        for address in QUIET:
            self._put(address, 0.0)

    def _put(self, address: int, value: float) -> None:
        inputs = self.tables[Table.INPUTS]
        inputs[address], inputs[address + 1] = float_words(value)

    def step(self, now_s: float) -> None:
        """Integrate the energy and refresh the registers."""
        elapsed_s = 0.0 if self._last_s is None else max(0.0, now_s - self._last_s)
        self._last_s = now_s if self._last_s is None else max(now_s, self._last_s)
        load = self._load_w()
        self.power_w = (load[0] + DIVIDER_W, load[1], load[2])
        self._energy_wh = [
            energy + power * elapsed_s / 3600 for energy, power in zip(self._energy_wh, self.power_w, strict=True)
        ]
        self._refresh(now_s)

    def _refresh(self, now_s: float) -> None:
        ripple_v = 0.8 * math.sin(now_s / 17)  # the grid breathes a little, so that values live
        currents = 0.0
        for index, power_w in enumerate(self.power_w):
            voltage_v = MAINS_V + self._offset_v + ripple_v + 0.4 * index
            current_a = power_w / (voltage_v * POWER_FACTOR)
            currents += current_a
            self._put(0x0000 + 2 * index, voltage_v)
            self._put(0x0006 + 2 * index, current_a)
            self._put(0x000C + 2 * index, power_w)
            self._put(0x0012 + 2 * index, power_w / POWER_FACTOR)
            self._put(0x001E + 2 * index, POWER_FACTOR)
            self._put(0x015A + 2 * index, self._energy_wh[index] / WH_PER_KWH)
        total_w = sum(self.power_w)
        self._put(0x002A, MAINS_V + self._offset_v + ripple_v)
        self._put(0x0030, currents)
        self._put(0x0034, total_w)
        self._put(0x0038, total_w / POWER_FACTOR)
        self._put(0x003C, total_w * math.tan(math.acos(POWER_FACTOR)))
        self._put(0x003E, POWER_FACTOR)
        self._put(0x0046, 50.0 + 0.01 * math.sin(now_s / 5))
        self._put(0x0048, sum(self._energy_wh) / WH_PER_KWH)
        self._put(0x004A, 0.0)
        self._put(0x0156, sum(self._energy_wh) / WH_PER_KWH)

    def accept(self, table: Table, address: int, values: tuple[int, ...]) -> None:
        """A sealed meter takes no settings from the wire."""
        raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)

    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Know ``energy_kwh`` (sets the total) and ``voltage_offset_v``."""
        for name, value in stimulus.items():
            match name:
                case "energy_kwh":
                    total_wh = require_number(name, value, 0, 1e7) * WH_PER_KWH
                    self._energy_wh = [total_wh / 3] * 3
                case "voltage_offset_v":
                    self._offset_v = require_number(name, value, -MAINS_V, MAINS_V)
                case _:
                    raise ControlError(f"a meter knows energy_kwh and voltage_offset_v, not {name!r}")

    def state(self) -> dict[str, Any]:
        """Describe the meter."""
        return {
            **super().state(),
            "power_w": [round(value, 1) for value in self.power_w],
            "energy_kwh": sum(self._energy_wh) / WH_PER_KWH,
        }
