"""A retractable bollard: its mechanics and the PLC that drives it. Pure model; step it.

The PLC obeys the interlocks by itself, whatever is asked over the wire:
``DOWN → PREWARN → RISING → UP → LOWERING → DOWN`` with REVERSING, HELD_DOWN, FAULT_DOWN,
FAULT_STUCK, EFO, LOCAL and POWERFAIL. Rules and figures follow public manuals of bollard
makers; the Modbus map around it (``bollard_plc``) is this project's own invention.

Decisions where the sources leave room:

- A reversed bollard tries again by itself once the loops are free; at the third reversal it is
  HELD_DOWN until a new lowering request (which forgets the count) or a local acknowledgement.
- ``stop`` lowers a bollard on its way up and does nothing to one on its way down.
- The automatic rise is armed only by a lowering request of this PLC session, never by power return.
"""

from enum import IntEnum

from simulators.bollard_site import Build, Surroundings

SUBSTEP_S = 0.02  # five steps within the 100 ms allowed for a reversal
STEPS_MAX = 500_000  # bound of one jump of the clock: nearly three hours
REVERSALS_MAX = 3
LOOPS_FREE_S = 2.0
RESET_PAUSE_S = 0.2  # drive pauses before it changes direction
BOUNCE_AT = 50.0  # %


class State(IntEnum):
    """Input register 0."""

    DOWN = 0
    PREWARN = 1
    RISING = 2
    UP = 3
    LOWERING = 4
    REVERSING = 5
    HELD_DOWN = 6
    FAULT_DOWN = 7
    FAULT_STUCK = 8
    EFO = 9
    LOCAL = 10
    POWERFAIL = 11


class Fault(IntEnum):
    """Input register 1."""

    NONE = 0
    LIMIT_SWITCHES = 1
    UP_TRAVEL_TIMEOUT = 2
    DOWN_TRAVEL_TIMEOUT = 3
    LOOP = 4
    REVERSALS = 5


class Bollard:
    """The mechanics and the PLC's state machine."""

    def __init__(self, build: Build, position: float = 0.0) -> None:
        self.build = build
        self.around = Surroundings()
        self.position = position  # %, 0 is flush with the road
        self.state = State.UP if position >= 100 else State.DOWN if position <= 0 else State.LOWERING
        self.fault = Fault.NONE
        self.fault_latched = False
        self.hold_down = False
        self.remote = False  # set by the PLC's wire side: heartbeat fresh and mode remote
        self.auto_raise_s = 0
        self.reversals = 0
        self.cycles = 0
        self.now_s = 0.0
        self._since_s = 0.0  # when the present state was entered
        self._loops_busy_s = float("-inf")  # when a loop was last busy
        self._retry = False
        self._auto_armed = False
        self._started = False

    # Inputs of the PLC.

    @property
    def at_top(self) -> bool:
        """The upper limit switch."""
        return self.position >= 100 or self.around.both_limits

    @property
    def at_bottom(self) -> bool:
        """The lower limit switch."""
        return self.position <= 0 or self.around.both_limits

    # Outputs.

    @property
    def moving_up(self) -> bool:
        """The drive runs upwards."""
        return self.state in (State.RISING, State.EFO) and self._driving()

    @property
    def moving_down(self) -> bool:
        """The drive runs downwards, or the spring does."""
        if self.state is State.POWERFAIL:
            return self.build.spring_down and self.position > 0
        return self.state in (State.LOWERING, State.REVERSING) and self._driving()

    @property
    def green(self) -> bool:
        """Green only when fully down and passable."""
        return self.at_bottom and not self.at_top and self.state in (State.DOWN, State.HELD_DOWN)

    @property
    def red(self) -> bool:
        """Red in every other state, but for a dark signal without mains."""
        return self.state is not State.POWERFAIL and not self.green

    @property
    def beacon(self) -> bool:
        """Warns before and during every movement."""
        moving = (State.PREWARN, State.RISING, State.LOWERING, State.REVERSING, State.EFO)
        return self.state in moving and self.around.mains

    def _driving(self) -> bool:
        pause_s = RESET_PAUSE_S if self.state is State.REVERSING else 0.0
        if self.state is State.EFO:
            pause_s = self.build.efo_prewarn_s
        return self.now_s - self._since_s >= pause_s

    # Requests. Each tells whether the PLC takes it.

    def request_raise(self) -> bool:
        """Ask for a rise; taken only in DOWN with every interlock satisfied."""
        if self.state is not State.DOWN or not self.remote or not self._may_rise():
            return False
        self._enter(State.PREWARN)
        return True

    def request_lower(self) -> bool:
        """Ask to lower; always taken but under LOCAL, without mains, or with a stuck drive."""
        if self.state in (State.LOCAL, State.POWERFAIL, State.FAULT_STUCK):
            return False
        self.reversals, self._retry = 0, False
        if self.fault is Fault.REVERSALS:
            self._clear_fault()
        self._auto_armed = self.auto_raise_s > 0
        if self.state in (State.UP, State.RISING, State.EFO, State.REVERSING):
            self._enter(State.LOWERING)
        elif self.state in (State.PREWARN, State.HELD_DOWN):
            self._enter(State.HELD_DOWN if self.hold_down else State.DOWN)
        return True

    def request_stop(self) -> bool:
        """Stop a rise by lowering."""
        self._retry = False
        if self.state in (State.RISING, State.EFO, State.REVERSING):
            self._enter(State.LOWERING)
        elif self.state is State.PREWARN:
            self._enter(State.DOWN)
        return self.state is not State.LOCAL

    def request_hold_down(self, hold: bool) -> bool:
        """Keep the bollard down for as long as this stands."""
        if self.state is State.LOCAL or not self.remote:
            return False
        self.hold_down = hold
        if not hold and self.state is State.HELD_DOWN and self.fault is Fault.NONE:
            self._enter(State.DOWN)
        return True

    def acknowledge_fault(self) -> bool:
        """Clear a latched fault whose cause is gone; only with the local key on."""
        if not self.around.local_key or self.around.both_limits or self.around.stuck_drive:
            return False
        self._clear_fault()
        self.reversals = 0
        return True

    def drop_remote(self) -> None:
        """Forget what was asked over the wire: the gateway is silent."""
        self.remote = self.hold_down = self._retry = False
        if (self.state is State.HELD_DOWN and self.fault is Fault.NONE) or self.state is State.PREWARN:
            self._enter(State.DOWN)

    def _clear_fault(self) -> None:
        self.fault, self.fault_latched = Fault.NONE, False

    def _may_rise(self) -> bool:
        """The interlocks of every rise, whoever asks."""
        around = self.around
        return (
            around.mains
            and not around.obstructed
            and (self.now_s - self._loops_busy_s >= LOOPS_FREE_S or "ignore_loops" in around.defects)
            and not self.at_top
            and self.at_bottom
            and not self.hold_down
            and not self.fault_latched
            and not self._worn_out
        )

    @property
    def _worn_out(self) -> bool:
        return self.reversals >= REVERSALS_MAX and "endless_reversals" not in self.around.defects

    # Time.

    def step(self, now_s: float) -> None:
        """Move to ``now_s`` in small steps, so that a jump of the clock skips no reaction."""
        if not self._started:
            self._started, self.now_s, self._since_s = True, now_s, now_s
        for _ in range(STEPS_MAX):
            elapsed_s = min(SUBSTEP_S, now_s - self.now_s)
            if elapsed_s < 0 or (elapsed_s == 0 and now_s <= self.now_s):
                break
            self.now_s = min(now_s, self.now_s + SUBSTEP_S)
            self._move(elapsed_s)
            self._think()
        else:
            self.now_s = max(self.now_s, now_s)
        self._think()

    def _move(self, elapsed_s: float) -> None:
        if self.around.stuck_drive:
            return
        if self.moving_up:
            self.position = min(100.0, self.position + 100 * elapsed_s / self.build.raise_s)
        elif self.moving_down:
            self.position = max(0.0, self.position - 100 * elapsed_s / self.build.lower_s)

    def _think(self) -> None:
        """One scan of the PLC: the street first, then the state."""
        if self.around.loops_busy:
            self._loops_busy_s = self.now_s
        if self._overridden():
            return
        if self.around.both_limits and self.fault is Fault.NONE:
            self._fail(Fault.LIMIT_SWITCHES, State.LOWERING if self.position > 0 else State.FAULT_DOWN)
        match self.state:
            case State.DOWN | State.HELD_DOWN:
                self._rest_down()
            case State.PREWARN:
                self._prewarn()
            case State.RISING | State.EFO:
                self._rise()
            case State.UP:
                self._stand()
            case State.LOWERING | State.REVERSING:
                self._lower()
            case _:
                pass

    def _overridden(self) -> bool:
        """Mains and key come before everything; True while one of them rules."""
        if not self.around.mains:
            if self.state is not State.POWERFAIL:
                self._retry = self._auto_armed = False
                self._enter(State.POWERFAIL)
            return True
        if self.around.local_key:
            if self.state is not State.LOCAL:
                self._retry = self._auto_armed = False
                self._enter(State.LOCAL)
            self._local_buttons()
            return True
        if self.state in (State.POWERFAIL, State.LOCAL):
            self._resume()
        return False

    def _local_buttons(self) -> None:
        """Under LOCAL the technician holds a button and watches; loops still stop a rise."""
        if self.around.stuck_drive:
            return
        if self.around.local_lower:
            self.position = max(0.0, self.position - 100 * SUBSTEP_S / self.build.lower_s)
        elif self.around.local_raise and not self.around.loops_busy and not self.around.pressure:
            self.position = min(100.0, self.position + 100 * SUBSTEP_S / self.build.raise_s)

    def _resume(self) -> None:
        """After mains or key: take the position as found; never rise."""
        if self.fault_latched:
            self._enter(State.FAULT_DOWN if self.position <= 0 else State.LOWERING)
        elif self.state is State.POWERFAIL and "rise_on_power" in self.around.defects and self.position <= 0:
            self._enter(State.PREWARN)
        elif self.position >= 100:
            self._enter(State.UP)
        elif self.position <= 0:
            self._enter(State.HELD_DOWN if self.hold_down else State.DOWN)
        else:
            self._enter(State.LOWERING)

    def _rest_down(self) -> None:
        if self.hold_down:
            if self.state is State.DOWN:
                self._enter(State.HELD_DOWN)
            return
        if self.state is not State.DOWN:
            return
        if self.around.efo and self._may_rise():
            self._enter(State.EFO)
        elif self._retry and self.build.retries and self._may_rise():
            self._enter(State.PREWARN)
        elif self._auto_armed and self.now_s - self._since_s >= self.auto_raise_s and self._may_rise():
            self._auto_armed = False
            self._enter(State.PREWARN)

    def _prewarn(self) -> None:
        least_s = 0.0 if "no_warning" in self.around.defects else max(1.0, self.build.prewarn_s)
        if self.around.obstructed or self.hold_down:
            self._enter(State.DOWN)
        elif self.now_s - self._since_s >= least_s:
            self._retry = False
            self._enter(State.RISING)

    def _rise(self) -> None:
        if self.around.obstructed:
            self.reversals += 1
            self._retry = True
            self._enter(State.REVERSING)
        elif self.hold_down:
            self._enter(State.LOWERING)
        elif self.position >= 100:
            self.cycles += 1
            self.reversals = 0
            self._enter(State.UP)
        elif self._is_late(self.build.raise_s, self._pause_s()):
            self._fail(Fault.UP_TRAVEL_TIMEOUT, State.LOWERING)

    def _pause_s(self) -> float:
        return self.build.efo_prewarn_s if self.state is State.EFO else 0.0

    def _stand(self) -> None:
        if self.hold_down:
            self._enter(State.LOWERING)

    def _lower(self) -> None:
        if self.position <= 0:
            self._land()
        elif self.state is State.REVERSING and "bounce" in self.around.defects and self.position < BOUNCE_AT:
            self._enter(State.RISING)
        elif self._is_late(self.build.lower_s, RESET_PAUSE_S):
            self._fail(Fault.DOWN_TRAVEL_TIMEOUT, State.FAULT_STUCK)

    def _is_late(self, nominal_s: float, pause_s: float) -> bool:
        if "no_timeout" in self.around.defects:
            return False
        return self.now_s - self._since_s > self.build.travel_s_max(nominal_s) + pause_s

    def _land(self) -> None:
        if self.fault_latched:
            self._enter(State.FAULT_DOWN)
        elif self._worn_out:
            self.fault, self._retry = Fault.REVERSALS, False
            self._enter(State.HELD_DOWN)
        else:
            self._enter(State.HELD_DOWN if self.hold_down else State.DOWN)

    def _fail(self, fault: Fault, state: State) -> None:
        self.fault, self.fault_latched = fault, True
        self._retry = self._auto_armed = False
        self._enter(state)

    def _enter(self, state: State) -> None:
        self.state, self._since_s = state, self.now_s
