"""The controller around its kernel: modes, flash, start-up, plans, lamps, faults. Pure model; step it."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from simulators.control_socket import ControlError
from simulators.device import require_bool, require_number
from simulators.faults import FaultPanel
from simulators.signal_controller.aspects import VEHICLE_CHANNELS, Lamps, Picture, bit, lamps_of, numbers
from simulators.signal_controller.demand import TENTHS, Demand
from simulators.signal_controller.event_log import Code, EventLog
from simulators.signal_controller.kernel import Kernel
from simulators.signal_controller.modes import FlashStatus, Mode
from simulators.signal_controller.program import Program
from simulators.signal_controller.traffic import Traffic
from simulators.signal_controller.unit import (
    FLASH_PATTERN,
    FREE_PATTERN,
    FreeStatus,
    PhaseControl,
    RingControl,
    SystemControl,
)

TENTHS_MAX = 1_000_000  # bound of one jump of the clock: more than a day
FLASH_HALF_PERIOD_TENTHS = 5  # one flash a second
POWER_RESTART_SHOWN_TENTHS = 600
FAULTS = (
    "silent",
    "slow",
    "late_reply",
    "wrong_request_id",
    "wrong_value",
    "octet_string",
    "exception",
    "refuse_set",
    "power_cut",
    "door_open",
    "local_key",
    "local_flash",
    "stuck_green",
    "red_lamp_out",
    "stuck_red",
    "config_changed",
)


class SignalController:
    """The controller as its cabinet sees it.

    Args:
        program: its configuration.
        kernel: decides the phases.
        log: where the kernel writes events too.
        traffic: who arrives; None for nobody.
        backup_s: unitBackupTime at power-up.
        started: begin running at once instead of through the start-up sequence.
    """

    def __init__(
        self,
        program: Program,
        kernel: Kernel,
        log: EventLog,
        traffic: Traffic | None = None,
        backup_s: int = 60,
        started: bool = False,
    ) -> None:
        self.program, self.kernel, self.log = program, kernel, log
        self.control = SystemControl(backup_s)
        self.mmu_flash = False  # the monitor's line; only the wiring writes it
        self.witness: Callable[[float, Lamps], None] | None = None  # is shown the lamps of every tenth, none left out
        self.config_id = 1
        self.vehicle_detectors = {1: 0, 2: 0}  # set over the wire, by group
        self.ped_detectors = {1: 0, 2: 0}
        self._traffic = traffic
        self._faults = FaultPanel(FAULTS)
        self._switches = {"door_open": False, "local_key": False, "local_flash": False}
        self._tenth: int | None = None
        self._mode_since = 0
        self._power_since = 0
        self._stimulated = {"call": 0, "ped_call": 0, "detector": 0}
        self.mode = Mode.START_UP_FLASH
        self._flash_shown = FlashStatus.STARTUP
        self._pattern_shown = -1
        self._preempts_shown: frozenset[int] = frozenset()
        if started:
            self.mode = Mode.RUN

    @property
    def faults(self) -> FaultPanel:
        """Its fault switches."""
        return self._faults

    def switched(self, name: str) -> bool:
        """Tell whether a door, key or switch is on, by stimulus or by fault."""
        return self._switches[name] or self._faults.on(name)

    # Time.

    def step(self, now_s: float) -> None:
        """Move to ``now_s``, tenth by tenth."""
        target = int(now_s * TENTHS + 1e-6)
        if self._tenth is None:
            self._tenth = target
            self._mode_since = self._power_since = target
            if self.mode is Mode.RUN:
                self.kernel.restart(target)
        self.control.step(now_s)
        for _ in range(TENTHS_MAX):
            if self._tenth >= target:
                break
            self._tenth += 1
            self._tick(self._tenth)
            self._show(self._tenth / TENTHS)
        self._note_changes()
        self._show(now_s)

    def _show(self, now_s: float) -> None:
        if self.witness is not None:
            self.witness(now_s, self.lamps())

    def _tick(self, tenth: int) -> None:
        self.log.now_s = tenth / TENTHS
        if self._faults.on("power_cut"):
            self._lose_power()
            return
        if self.mode is Mode.DARK:
            self._power_since = tenth
            self.control.restart()
            self._enter(Mode.START_UP_FLASH)
        if self.mode not in (Mode.RUN, Mode.CLEARING):
            self._advance_mode()
            return
        if self._immediate_flash():
            self.kernel.go_dark()
            self._enter(Mode.FLASH)
            return
        wants_flash = self._pattern() == FLASH_PATTERN
        self.mode = Mode.CLEARING if wants_flash else Mode.RUN
        self.kernel.tick(tenth, self._demand(wants_flash))
        self.control.end_force_off(self.kernel.ended)
        if wants_flash and self.kernel.all_red:
            self.kernel.go_dark()
            self._enter(Mode.FLASH)
        elif self.kernel.all_red and self._rests_red():
            self.kernel.restart(tenth)
        self._note_changes()

    def _rests_red(self) -> bool:
        """A flash request withdrawn while clearing leaves every ring red: begin again."""
        return self.mode is Mode.RUN and not self.kernel.picture().phases_next and self._tenth != self._mode_since

    def _lose_power(self) -> None:
        if self.mode is not Mode.DARK:
            self.kernel.go_dark()
            self._enter(Mode.DARK)

    def _advance_mode(self) -> None:
        """Flash, then the start-up sequence: the only way out of flash."""
        assert self._tenth is not None
        elapsed = (self._tenth - self._mode_since) / TENTHS
        if self._immediate_flash() or self._pattern() == FLASH_PATTERN:
            if self.mode is not Mode.FLASH:
                self._enter(Mode.FLASH)
            return
        if self.mode is Mode.FLASH or (self.mode is Mode.START_UP_FLASH and elapsed >= self.program.start_up_flash_s):
            self._enter(Mode.START_UP_YELLOW)
        elif self.mode is Mode.START_UP_YELLOW and elapsed >= self.program.start_up_yellow_s:
            self._enter(Mode.START_UP_RED)
        elif self.mode is Mode.START_UP_RED and elapsed >= self.program.start_up_red_s:
            self.kernel.restart(self._tenth)
            self._enter(Mode.RUN)

    def _enter(self, mode: Mode) -> None:
        assert self._tenth is not None
        self.mode, self._mode_since = mode, self._tenth
        self._note_changes()

    def _immediate_flash(self) -> bool:
        return self.mmu_flash or self.switched("local_flash")

    def _pattern(self) -> int:
        """The pattern that counts: the system's, else the local plan."""
        return self.control.pattern or self.program.local_plan

    def _demand(self, clear: bool) -> Demand:
        vehicles, pedestrians = self._traffic.arrivals() if self._traffic is not None else (0, 0)
        control, stimulated = self.control, self._stimulated
        preempt = 0
        for number in self._preempts():
            preempt |= sum(bit(phase) for phase in self.program.preempts[number])
        ring_force = control.ring_control[RingControl.FORCE_OFF]
        forced = sum(bit(phase.number) for phase in self.program.phases if ring_force >> phase.ring & 1)
        demand = Demand(
            actuations=vehicles
            | self.vehicle_detectors[1]
            | control.phase_control[PhaseControl.VEHICLE_CALL]
            | stimulated["call"]
            | stimulated["detector"],
            ped_calls=pedestrians
            | self.ped_detectors[1]
            | control.phase_control[PhaseControl.PED_CALL]
            | stimulated["ped_call"],
            omit=control.phase_control[PhaseControl.PHASE_OMIT] | self._never_served(),
            ped_omit=control.phase_control[PhaseControl.PED_OMIT],
            hold=control.phase_control[PhaseControl.HOLD],
            force_off=control.phase_control[PhaseControl.FORCE_OFF] | forced,
            preempt=preempt,
            plan=self.program.plan(self._pattern()),
            clear=clear,
        )
        stimulated["call"] = stimulated["ped_call"] = 0  # a call is made once; a detector stays
        return demand

    def _never_served(self) -> int:
        return sum(bit(phase) for phase in self._faults.numbers("stuck_red") if 1 <= phase <= 8)

    @property
    def configuration_id(self) -> int:
        """What it tells as globalSetIDParameter."""
        return self.config_id % 65_535 + 1 if self._faults.on("config_changed") else self.config_id

    def _preempts(self) -> list[int]:
        active = [n for n, on in self.control.preempt.items() if on and n in self.program.preempts]
        return active[:1]  # the lowest number has priority

    def _note_changes(self) -> None:
        """Write the unit's events when they change."""
        flash = self.flash_status()
        if flash is not self._flash_shown:
            self._flash_shown = flash
            self.log.write(Code.UNIT_FLASH, int(flash))
        pattern = self.pattern_status()
        if pattern != self._pattern_shown:
            self._pattern_shown = pattern
            self.log.write(Code.PATTERN, pattern)
        preempts = frozenset(number for number, on in self.control.preempt.items() if on)
        for number in preempts - self._preempts_shown:
            self.log.write(Code.PREEMPT_ON, number)
        for number in self._preempts_shown - preempts:
            self.log.write(Code.PREEMPT_OFF, number)
        self._preempts_shown = preempts

    # What it tells.

    def pattern_status(self) -> int:
        """Return coordPatternStatus: 0 n/a, 1..253, 254 free, 255 flash."""
        pattern = self._pattern()
        if self.mode is Mode.FLASH or pattern == FLASH_PATTERN:
            return FLASH_PATTERN
        return pattern if self.program.plan(pattern) is not None else FREE_PATTERN

    def free_status(self) -> FreeStatus:
        """Return localFreeStatus."""
        pattern = self._pattern()
        if self.program.plan(pattern) is not None:
            return FreeStatus.NOT_FREE
        return FreeStatus.COMMAND_FREE if pattern in (FREE_PATTERN, FLASH_PATTERN) else FreeStatus.BAD_PLAN

    def flash_status(self) -> FlashStatus:
        """Return unitFlashStatus; start-up counts until the first green."""
        if self.mode in (Mode.START_UP_FLASH, Mode.START_UP_YELLOW, Mode.START_UP_RED):
            return FlashStatus.STARTUP
        if self.mode is not Mode.FLASH:
            return FlashStatus.NOT_FLASH
        if self.mmu_flash:
            return FlashStatus.MMU
        return FlashStatus.LOCAL_MANUAL if self.switched("local_flash") else FlashStatus.AUTOMATIC

    def alarm_1(self) -> int:
        """Return unitAlarmStatus1."""
        flash = self.flash_status()
        in_plan = self.mode is Mode.RUN and self.free_status() is FreeStatus.NOT_FREE
        local_free = self.mode is Mode.RUN and not in_plan
        return (
            (flash is FlashStatus.MMU) << 4 | (flash is FlashStatus.LOCAL_MANUAL) << 5 | local_free << 6 | in_plan << 7
        )

    def alarm_2(self) -> int:
        """Return unitAlarmStatus2."""
        recent = self._tenth is not None and self._tenth - self._power_since < POWER_RESTART_SHOWN_TENTHS
        stopped = self.flash_status() is FlashStatus.MMU or bool(self.control.ring_control[RingControl.STOP_TIME])
        return int(recent) | stopped << 4

    def short_alarm(self) -> int:
        """Return shortAlarmStatus."""
        flash = self.flash_status()
        return (
            bool(self._preempts())
            | (flash in (FlashStatus.MMU, FlashStatus.LOCAL_MANUAL, FlashStatus.AUTOMATIC)) << 1
            | self.switched("local_key") << 3
            | (flash is FlashStatus.MMU) << 7
        )

    def cycle_second(self) -> int:
        """Return coordCycleStatus: seconds into the cycle, 0 when free."""
        plan = self.program.plan(self._pattern())
        if plan is None or self._tenth is None:
            return 0
        return (self._tenth // TENTHS - plan.offset_s) % plan.cycle_s

    def preempt_state(self, number: int) -> int:
        """Return preemptState: 2 not active, 3 waiting, 4 entry started, 6 dwell."""
        if not self.control.preempt.get(number):
            return 2
        if number not in self._preempts():
            return 3
        wanted = sum(bit(phase) for phase in self.program.preempts[number])
        return 6 if self.kernel.picture().greens & wanted == wanted else 4

    # What it shows.

    def picture(self) -> Picture:
        """Return what the phases show, start-up included."""
        everyone, with_peds = self.program.everyone, self.program.with_peds
        if self.mode in (Mode.RUN, Mode.CLEARING):
            shown = self.kernel.picture()
            calls = shown.vehicle_calls | self._never_served() & shown.reds
            return shown if calls == shown.vehicle_calls else replace(shown, vehicle_calls=calls)
        if self.mode is Mode.START_UP_YELLOW:
            return Picture(yellows=everyone, dont_walks=with_peds)
        if self.mode is Mode.START_UP_RED:
            return Picture(reds=everyone, dont_walks=with_peds)
        return Picture()

    def lamps(self) -> Lamps:
        """Return the lamps that are lit now, faults of the outputs included."""
        channels = self.program.channels
        if self.mode is Mode.DARK:
            return Lamps()
        if self.mode in (Mode.FLASH, Mode.START_UP_FLASH):
            lit = ((self._tenth or 0) // FLASH_HALF_PERIOD_TENTHS) % 2 == 0
            lamps = Lamps(yellows=channels & VEHICLE_CHANNELS if lit else 0)
            if self.flash_status() is FlashStatus.MMU:
                return lamps  # the transfer relay has taken the lamps from the outputs
        else:
            lamps = lamps_of(self.picture(), channels)
        stuck = sum(bit(channel) for channel in self._faults.numbers("stuck_green") if 1 <= channel <= 16)
        dead = sum(bit(channel) for channel in self._faults.numbers("red_lamp_out") if 1 <= channel <= 16)
        if not stuck and not dead:
            return lamps
        return Lamps(lamps.reds & ~dead, lamps.yellows, lamps.greens | stuck, lamps.red_enable)

    # The world around it.

    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Know ``call``/``ped_call``/``detector`` (a phase, 0 to end a detector), the switches, ``config_changed``.

        ``min_green:2`` and ``yellow:2`` change the stored program behind everybody's back.
        """
        for name, value in stimulus.items():
            key, _, phase = name.partition(":")
            if name in self._switches:
                self._switches[name] = require_bool(name, value)
            elif name in self._stimulated:
                number = int(require_number(name, value, 0, 8))
                self._stimulated[name] = self._stimulated[name] | bit(number) if number else 0
            elif name == "config_changed":
                self.config_id = self.config_id % 65_535 + 1
            elif key in ("min_green", "yellow", "red_clear") and phase.isdigit():
                self.change_phase(int(phase), f"{key}_s", require_number(name, value, 0, 255))
            else:
                known = (*self._switches, *self._stimulated, "config_changed", "min_green:N", "yellow:N", "red_clear:N")
                raise ControlError(f"a signal controller knows {', '.join(known)}, not {name[:64]!r}")

    def change_phase(self, number: int, time: str, seconds: float) -> None:
        """Change one stored time of a phase; the configuration's fingerprint changes with it."""
        if number not in {phase.number for phase in self.program.phases}:
            raise ControlError(f"no phase {number}")
        self.program = self.program.changed(number, **{time: seconds})
        self.kernel.program = self.program
        self.config_id = self.config_id % 65_535 + 1

    def state(self) -> dict[str, Any]:
        """Describe the controller."""
        lamps = self.lamps()
        return {
            "faults": self._faults.listed(),
            "mode": self.mode.name,
            "unit_control_status": self.control.status(self.switched("local_key")).name,
            "unit_flash_status": self.flash_status().name,
            "pattern": self.pattern_status(),
            "system_pattern": self.control.pattern,
            "backup_s": self.control.backup_s,
            "greens": numbers(lamps.greens),
            "yellows": numbers(lamps.yellows),
            "reds": numbers(lamps.reds),
            "picture": asdict(self.picture()),
            "sets": dict(self.control.set_counts),
            "config_id": self.config_id,
        }
