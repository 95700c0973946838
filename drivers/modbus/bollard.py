"""A retractable bollard behind its PLC, profile ``bollard-ref``. The PLC keeps its own interlocks; we add ours before it."""

from agent.model.command import LowerBollard, RaiseBollard
from agent.model.identity import EquipmentId
from agent.model.observation import BollardObserved
from agent.safety.verdict import Approved
from drivers.base import Recheck
from drivers.errors import DriverError
from drivers.modbus.profile import COILS, DISCRETES, HOLDINGS, INPUTS
from drivers.modbus.unit import ModbusUnit, Reading

LOWER, RAISE = "lower_request", "raise_request"
GATEWAY_HEARTBEAT = "gateway_heartbeat"
PLC_HEARTBEAT = "plc_heartbeat"
FLAGS = (
    "at_top",
    "at_bottom",
    "moving_up",
    "moving_down",
    "loop_a",
    "loop_b",
    "loop_fault",
    "pressure_trip",
    "local_key",
    "mains_ok",
    "door_open",
    "fault_latched",
    "red_on",
    "green_on",
)
MAYBE = ("beacon_on", "efo_active")
"""Read where the profile has them."""
NUMBERS = ("state", PLC_HEARTBEAT, "position", "reversals")
UNSEEN_MS_MAX = 1_500  # longer between two looks and a vehicle may have come and gone: loops count as free anew


class BollardDriver:
    """One bollard. Remembers since when the loops are seen free and the PLC's heartbeat moves.

    Raises:
        ProfileError: the unit's profile lacks a point that a bollard needs.
    """

    def __init__(self, unit: ModbusUnit, equipment_id: EquipmentId) -> None:
        self.equipment_id = equipment_id
        self._maybe = [name for name in MAYBE if name in unit.profile.points]
        self._unit = unit.narrowed((*FLAGS, *self._maybe, *NUMBERS))  # two requests, because the guard looks often
        for name in (*FLAGS, *self._maybe):
            unit.profile.point(name, fc=DISCRETES)
        for name in NUMBERS:
            unit.profile.point(name, fc=INPUTS)
        for name in (LOWER, RAISE):
            unit.profile.point(name, fc=COILS, writable=True)
        unit.profile.point(GATEWAY_HEARTBEAT, fc=HOLDINGS, writable=True)
        self._loops_free_since_ms: int | None = None
        self._seen_at_ms: int | None = None
        self._heartbeat: int | None = None
        self._heartbeat_at_ms: int | None = None

    async def observe(self) -> BollardObserved:
        """Read the PLC once.

        Raises:
            DeviceNonsenseError: a point is missing or not believed.
            LinkDownError, DeviceSilentError, DeviceRefusedError: as ``ModbusLine``. After any of them the loops
                count as unknown until seen free again.
        """
        try:
            reading = await self._unit.read()
            flags = {name: reading.truth(name) for name in (*FLAGS, *self._maybe)}
            state, heartbeat, position, reversals = (reading.whole(name) for name in NUMBERS)
        except DriverError:
            self._loops_free_since_ms = self._seen_at_ms = None
            raise
        self._remember(reading, heartbeat, loops_free=not (flags["loop_a"] or flags["loop_b"] or flags["loop_fault"]))
        return BollardObserved(
            equipment=self.equipment_id,
            at_ms=reading.at_ms,
            state=state,
            reversals=reversals,
            position_percent=position,
            loops_free_since_ms=self._loops_free_since_ms,
            heartbeat_at_ms=self._heartbeat_at_ms,
            took_ms=self._unit.now_ms() - reading.at_ms,
            **flags,
        )

    def _remember(self, reading: Reading, heartbeat: int, *, loops_free: bool) -> None:
        if self._heartbeat is not None and heartbeat != self._heartbeat:
            self._heartbeat_at_ms = reading.at_ms
        self._heartbeat = heartbeat
        unseen = self._seen_at_ms is None or reading.at_ms - self._seen_at_ms > UNSEEN_MS_MAX
        if not loops_free:
            self._loops_free_since_ms = None
        elif unseen or self._loops_free_since_ms is None:
            # The end of the reading, because the loops may have been read last.
            self._loops_free_since_ms = self._unit.now_ms()
        self._seen_at_ms = reading.at_ms

    async def lower(self, approved: Approved[LowerBollard]) -> None:
        """Ask the PLC to lower. It clears the request itself, so only the next observation tells what it did.

        Raises:
            DeviceRefusedError: the PLC will not, for instance under its local key.
            LinkDownError, DeviceSilentError, DeviceNonsenseError: it may or may not have heard: observe.
        """
        self._own(approved.command.equipment)
        await self._unit.write(LOWER, value=True, insist=True)

    async def raise_(self, approved: Approved[RaiseBollard], recheck: Recheck) -> None:
        """Ask the PLC to raise. It judges its own interlocks again; only the next observation tells what it did.

        Args:
            recheck: judges again when the pulse's turn on the line has come: a car drives onto a loop in a second.

        Raises:
            ApprovalLapsedError: ``recheck`` refused; nothing was sent.
            Others as ``lower``.
        """
        self._own(approved.command.equipment)
        await self._unit.write(RAISE, value=True, insist=True, recheck=recheck)

    async def beat(self) -> None:
        """Tell the PLC that the gateway is there; without it remote control is dropped within 10 s.

        Raises: as ``ModbusUnit.beat``.
        """
        await self._unit.beat(GATEWAY_HEARTBEAT)

    def _own(self, equipment: EquipmentId) -> None:
        if equipment != self.equipment_id:
            raise ValueError(f"approved for {equipment}, and this is {self.equipment_id}")
