"""Bollards on Modbus TCP: one unit id per bollard. The map is this project's own invention.

coil              0 lower · 1 raise · 2 stop · 3 emergency raise (always refused here) · 4 acknowledge fault · 5 hold down
discrete input    0 at top · 1 at bottom · 2 moving up · 3 moving down · 4 loop A · 5 loop B · 6 loop fault · 7 pressure
                  8 local key · 9 mains ok · 10 door open · 11 fault latched · 12 red on · 13 green on · 14 beacon on · 15 EFO
input register    0 state · 1 fault · 2 heartbeat 1 Hz · 3 position % · 4 motor 0.1 A · 5 oil °C · 6-7 cycles u32
                  8 reversals · 9 battery % · 10 map version
holding register  0 gateway heartbeat · 1 mode (0 local, 1 remote) · 2 automatic rise, s (0 off, 15..) · 3 command echo

Coils 0-4 are pulses: the PLC clears them. A request the PLC will not carry out is answered with
exception 4 and changes nothing. Raising and holding need remote control: mode 1 and a gateway
heartbeat that changed within 10 s. Lowering and stopping do not.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from simulators.bollard import Bollard, Fault
from simulators.bollard_site import DEFECTS, Build
from simulators.clock import Clock, RealClock
from simulators.control_socket import ControlError
from simulators.device import Stand, require_bool
from simulators.modbus_frame import ExceptionCode, ModbusRefusal, Table
from simulators.modbus_server import ModbusServer, Unit

MAP_VERSION = 1
GATEWAY_SILENCE_S_MAX = 10.0
AUTO_RAISE_S_MIN = 15
LOWER, RAISE, STOP, EFO_RAISE, ACK_FAULT, HOLD_DOWN = range(6)
GATEWAY_HEARTBEAT, MODE, AUTO_RAISE, COMMAND_ECHO = range(4)
MODE_LOCAL, MODE_REMOTE = 0, 1
OWN_FAULTS = (
    "power_cut",
    "door_open",
    "local_key",
    "frozen_heartbeat",
    "loop_fault",
    "loop_occupied",
    "pressure",
    "both_limits",
    "stuck_drive",
    "red_lamp_out",
    "green_lamp_on",
    *DEFECTS,
)
STIMULI = (
    "loop_a",
    "loop_b",
    "loop_fault",
    "pressure",
    "local_key",
    "door_open",
    "efo",
    "local_raise",
    "local_lower",
)
OIL_C, OIL_MOVING_C = 18, 24
MOTOR_IDLE_DA, MOTOR_MOVING_DA = 0, 62  # 0.1 A


class BollardPlc(Unit):
    """One bollard as a Modbus unit. Pure model: step it, or let Bollards host it."""

    def __init__(self, build: Build | None = None, position: float = 0.0) -> None:
        super().__init__(OWN_FAULTS)
        self.bollard = Bollard(build or Build(), position)
        self._stimuli = dict.fromkeys(STIMULI, False)
        self._mains = True
        self._holding = {GATEWAY_HEARTBEAT: 0, MODE: MODE_REMOTE, AUTO_RAISE: 0, COMMAND_ECHO: 0}
        self._gateway_s = float("-inf")
        self._heartbeat = 0
        self.raises_refused = 0

    def step(self, now_s: float) -> None:
        """Move to ``now_s``."""
        self._look_around()
        fresh = now_s - self._gateway_s <= GATEWAY_SILENCE_S_MAX
        if self.bollard.remote and not fresh:
            # A jump of the clock must not carry remote control past the moment it lapsed.
            self.bollard.step(self._gateway_s + GATEWAY_SILENCE_S_MAX)
            self.bollard.drop_remote()
        self.bollard.step(now_s)
        self._set_remote()
        if not self.faults.on("frozen_heartbeat"):
            self._heartbeat = int(self.bollard.now_s) & 0xFFFF
        self._refresh()

    def _set_remote(self) -> None:
        fresh = self.bollard.now_s - self._gateway_s <= GATEWAY_SILENCE_S_MAX
        self.bollard.remote = fresh and self._holding[MODE] == MODE_REMOTE

    def _look_around(self) -> None:
        around, stimuli, faults = self.bollard.around, self._stimuli, self.faults
        loops = faults.letters("loop_occupied")
        around.loop_a = stimuli["loop_a"] or "A" in loops
        around.loop_b = stimuli["loop_b"] or "B" in loops
        around.loop_fault = stimuli["loop_fault"] or faults.on("loop_fault")
        around.pressure = stimuli["pressure"] or faults.on("pressure")
        around.local_key = stimuli["local_key"] or faults.on("local_key")
        around.door_open = stimuli["door_open"] or faults.on("door_open")
        around.mains = self._mains and not faults.on("power_cut")
        around.both_limits = faults.on("both_limits")
        around.stuck_drive = faults.on("stuck_drive")
        around.efo = stimuli["efo"]
        around.defects = frozenset(name for name in DEFECTS if faults.on(name))
        around.local_raise, around.local_lower = stimuli["local_raise"], stimuli["local_lower"]

    def _refresh(self) -> None:
        bollard, around = self.bollard, self.bollard.around
        bits = (
            bollard.at_top,
            bollard.at_bottom,
            bollard.moving_up,
            bollard.moving_down,
            around.loop_a,
            around.loop_b,
            around.loop_fault,
            around.pressure,
            around.local_key,
            around.mains,
            around.door_open,
            bollard.fault_latched,
            bollard.red and not self.faults.on("red_lamp_out"),
            bollard.green or self.faults.on("green_lamp_on"),
            bollard.beacon,
            bollard.state.name == "EFO",
        )
        self.tables[Table.DISCRETES] = {address: int(bit) for address, bit in enumerate(bits)}
        moving = bollard.moving_up or bollard.moving_down
        fault = Fault.LOOP if around.loop_fault and bollard.fault is Fault.NONE else bollard.fault
        words = (
            bollard.state,
            fault,
            self._heartbeat,
            round(bollard.position),
            MOTOR_MOVING_DA if moving and around.mains else MOTOR_IDLE_DA,
            OIL_MOVING_C if moving else OIL_C,
            bollard.cycles >> 16,
            bollard.cycles & 0xFFFF,
            bollard.reversals,
            100 if around.mains else 80,
            MAP_VERSION,
        )
        self.tables[Table.INPUTS] = {address: int(word) for address, word in enumerate(words)}
        self.tables[Table.HOLDINGS] = dict(self._holding)
        self.tables[Table.COILS] = {**dict.fromkeys(range(5), 0), HOLD_DOWN: int(bollard.hold_down)}

    def accept(self, table: Table, address: int, values: tuple[int, ...]) -> None:
        """Carry out a write. Several coils at once are refused: one request, one word."""
        if table is Table.HOLDINGS:
            self._write_holdings(dict(enumerate(values, start=address)))
            return
        if len(values) != 1:
            raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
        if not self._carry_out(address, bool(values[0])):
            self.raises_refused += address == RAISE
            raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)

    def _carry_out(self, coil: int, on: bool) -> bool:
        """Hand one coil to the PLC; a pulse written 0 asks for nothing."""
        if coil == HOLD_DOWN:
            return self.bollard.request_hold_down(on)
        if not on:
            return True
        match coil:
            case 0:
                return self.bollard.request_lower()
            case 1:
                return self.bollard.request_raise()
            case 2:
                return self.bollard.request_stop()
            case 4:
                return self.bollard.acknowledge_fault()
            case _:
                return False  # the emergency raise is a local input, never the wire

    def _write_holdings(self, entries: dict[int, int]) -> None:
        if entries.get(MODE, MODE_LOCAL) not in (MODE_LOCAL, MODE_REMOTE):
            raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
        if 0 < entries.get(AUTO_RAISE, 0) < AUTO_RAISE_S_MIN:
            raise ModbusRefusal(ExceptionCode.ILLEGAL_VALUE)
        if self.bollard.around.local_key and (MODE in entries or AUTO_RAISE in entries):
            raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)
        if entries.get(GATEWAY_HEARTBEAT, self._holding[GATEWAY_HEARTBEAT]) != self._holding[GATEWAY_HEARTBEAT]:
            self._gateway_s = self.bollard.now_s
        self._holding.update(entries)
        self.bollard.auto_raise_s = self._holding[AUTO_RAISE]
        self._set_remote()
        if self._holding[MODE] == MODE_LOCAL:
            self.bollard.drop_remote()

    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Know the names in STIMULI and ``mains``; each true or false."""
        for name, value in stimulus.items():
            if name == "mains":
                self._mains = require_bool(name, value)
            elif name in self._stimuli:
                self._stimuli[name] = require_bool(name, value)
            else:
                raise ControlError(f"a bollard knows mains, {', '.join(STIMULI)}, not {name[:64]!r}")
        self._look_around()

    def state(self) -> dict[str, Any]:
        """Describe the bollard."""
        bollard = self.bollard
        return {
            **super().state(),
            "state": bollard.state.name,
            "fault": bollard.fault.name,
            "fault_latched": bollard.fault_latched,
            "position": round(bollard.position, 1),
            "remote": bollard.remote,
            "hold_down": bollard.hold_down,
            "reversals": bollard.reversals,
            "cycles": bollard.cycles,
            "raises_refused": self.raises_refused,
            "red": bollard.red,
            "green": bollard.green,
            "beacon": bollard.beacon,
            "command_echo": self._holding[COMMAND_ECHO],
            "loop_a": bollard.around.loop_a,
            "loop_b": bollard.around.loop_b,
            "mains": bollard.around.mains,
            "local_key": bollard.around.local_key,
        }


class Bollards:
    """Several bollards behind one Modbus TCP port, units 1..n. Use ``async with Bollards.serve(count=2) as bollards``."""

    def __init__(self, plcs: Iterable[BollardPlc], clock: Clock) -> None:
        self.plcs = dict(enumerate(plcs, start=1))
        self.stand = Stand(self.plcs, clock)
        self.server = ModbusServer(self.plcs, self.stand)

    @property
    def port(self) -> int:
        """The TCP port."""
        return self.server.port

    def fault(self, spec: str, on: bool = True, unit: int = 1) -> None:
        """Switch a fault of one bollard."""
        self.plcs[unit].faults.switch(spec, on)
        self.stand.step()

    def set(self, unit: int = 1, **stimulus: object) -> None:
        """Change the world around one bollard."""
        self.plcs[unit].stimulate(stimulus)
        self.stand.step()

    @classmethod
    @asynccontextmanager
    async def serve(
        cls,
        port: int = 0,
        count: int = 1,
        control: str | None = None,
        clock: Clock | None = None,
        build: Build | None = None,
    ) -> AsyncIterator["Bollards"]:
        """Serve ``count`` bollards on 127.0.0.1 until the block ends."""
        bollards = cls([BollardPlc(build) for _ in range(count)], clock or RealClock())
        async with bollards.server.serve(port), bollards.stand.run(control):
            yield bollards
