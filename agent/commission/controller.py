"""How a signal controller moves between stages: the model that is searched. Pure.

It is the boldest controller that keeps the commissioned numbers: each group ends its green as soon as the requested
stage lacks it and its least green is over, and starts as soon as the stage has it and every conflicting group has been
without green for its intergreen. The request may change at every step, in the middle of a change too; so whatever a
fleet, a hacked agent, a bus or the controller's own plan after a loss of control may ask for is among what is searched.

Nothing is taken from ``agent.safety``: the observer judges the same signals by code of its own.

State   ``(phase, clock of group 1, clock of group 2, ...)``, clocks in steps.
        A clock runs 1..green while green (and stays at its least green), then on through yellow and red until the
        longest intergreen is over; 0 is a red that has lasted longer than anything waits for.
"""

from dataclasses import dataclass
from math import gcd

from agent.commission.stages import foes_of, places
from agent.model.equipment import Junction

STEP_MS_MAX = 1_000
"""Requests are tried at every second at least."""
STEP_MS_MIN = 100
"""Controllers count in tenths of a second (NTCIP 1202)."""
START_UP_YELLOW_MS_MIN = 3_000
"""The least yellow there is; leaving flash shows it on every group that has one (RSMP start-up step f)."""
START_UP_RED_MS = 2_000
"""All red after it (start-up step g). Ours; intergreens that flash cut short are waited for besides."""

NORMAL, FLASH, START_UP = 0, 1, 2
"""Phases; START_UP counts on, first through its yellow, then through its all red."""

State = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the signals show for one step."""

    greens: int
    yellows: int
    is_flashing: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What a controller could do next.

    Args:
        may_end: groups whose green may end now. may_start: groups that may turn green now.
        may_follow: (group, conflicting groups in its way): it may turn green in the very step in which those end, because
            no time at all is commissioned between them. No site file says so; the search must not be kinder than it.
    """

    may_end: int
    may_start: int
    may_follow: tuple[tuple[int, int], ...] = ()


def step_ms_of(junction: Junction) -> int:
    """The longest step that every commissioned time is a multiple of, at most a second.

    Every clock then changes on a step and nowhere else: nothing can happen between two steps that does not show at one.
    """
    times_ms = [STEP_MS_MAX, *junction.intergreen_ms.values()]
    for group in junction.groups:
        times_ms += (group.green_ms_min, group.yellow_ms_min)
    return gcd(*times_ms)


class Controller:
    """One junction's controller, with its times in steps."""

    def __init__(self, junction: Junction, step_ms: int) -> None:
        self.step_ms = step_ms
        self.foes = foes_of(junction)
        place = {group.number: n for n, group in enumerate(junction.groups)}
        count = len(junction.groups)
        self.green = [group.green_ms_min // step_ms for group in junction.groups]
        self.yellow = [group.yellow_ms_min // step_ms for group in junction.groups]
        self.intergreen = [[0] * count for _ in range(count)]
        for (ending, starting), least_ms in junction.intergreen_ms.items():
            self.intergreen[place[ending]][place[starting]] = least_ms // step_ms
        self.at_once = [  # Per group the conflicting groups it may follow without any time between.
            sum(1 << foe for foe in places(self.foes[n]) if not self.intergreen[foe][n]) for n in range(count)
        ]
        self.last = [
            self.green[n] + max(self.yellow[n], *self.intergreen[n]) for n in range(count)
        ]  # The clock's last value before 0.
        self.with_yellow = sum(1 << n for n in range(count) if self.yellow[n])
        yellow_ms = max(START_UP_YELLOW_MS_MIN, *(group.yellow_ms_min for group in junction.groups))
        self.red_from = START_UP - (-yellow_ms // step_ms)
        self.red_until = self.red_from + START_UP_RED_MS // step_ms
        self.start: State = (FLASH, *([0] * count))

    def shown(self, state: State) -> Shown:
        """What the signals show in a state."""
        phase = state[0]
        if phase == FLASH:
            return Shown(0, 0, True)
        if phase != NORMAL:
            return Shown(0, self.with_yellow if phase < self.red_from else 0, False)
        greens = yellows = 0
        for n, clock in enumerate(state[1:]):
            if 0 < clock <= self.green[n]:
                greens |= 1 << n
            elif 0 < clock <= self.green[n] + self.yellow[n]:
                yellows |= 1 << n
        return Shown(greens, yellows, False)

    def choice(self, state: State) -> Choice:
        """What the controller may do now; nothing in flash and start-up."""
        may_end = may_start = 0
        waiting = []
        if state[0] == NORMAL:
            for n, clock in enumerate(state[1:]):
                if clock == self.green[n]:
                    may_end |= 1 << n
                elif clock == 0 or clock > self.green[n] + self.yellow[n]:
                    if self.is_clear(state, n):
                        may_start |= 1 << n
                    elif self.at_once[n]:
                        waiting.append(n)
        follow = tuple((n, blockers) for n in waiting if (blockers := self._ending_blockers(state, n, may_end)))
        return Choice(may_end, may_start, follow)

    def _ending_blockers(self, state: State, starting: int, may_end: int) -> int:
        """The greens whose end alone would clear a group; 0 if more stands in its way."""
        blockers = may_end & self.at_once[starting]
        rest = tuple(0 if blockers >> n & 1 else clock for n, clock in enumerate(state[1:]))
        return blockers if self.is_clear((state[0], *rest), starting) else 0

    def is_clear(self, state: State, starting: int) -> bool:
        """Whether every conflicting group has been without green for its intergreen."""
        for foe in places(self.foes[starting]):
            clock = state[1 + foe]
            if clock and clock - self.green[foe] < max(1, self.intergreen[foe][starting]):
                return False
        return True

    def decided(self, choice: Choice, stage: int) -> tuple[int, int]:
        """What a request for ``stage`` makes of a choice: which groups end, which start. Of two that conflict the first."""
        starts = 0
        for n in places(choice.may_start & stage):
            if not self.foes[n] & starts:
                starts |= 1 << n
        ends = choice.may_end & ~stage
        for n, blockers in choice.may_follow:
            if stage >> n & 1 and not blockers & ~ends and not self.foes[n] & starts:
                starts |= 1 << n
        return ends, starts

    def run(self, state: State, ends: int, starts: int) -> State:
        """One step on: clocks run, groups end and start, a start-up goes on."""
        clocks = self._tick(state)
        for n in places(ends):
            clocks[n] = self.green[n] + 1
        for n in places(starts):
            clocks[n] = 1
        phase = state[0]
        if phase >= START_UP:
            phase = phase + 1 if phase + 1 < self.red_until else NORMAL
        return (phase, *clocks)

    def flash(self, state: State) -> State:
        """One step on, into flash or on in it: what was green ends, and its intergreens begin to run."""
        clocks = self._tick(state)
        for n, clock in enumerate(state[1:]):
            if 0 < clock <= self.green[n]:
                clocks[n] = self.green[n] + 1
        return (FLASH, *clocks)

    def leave_flash(self, state: State) -> State:
        """One step on, from flash into the start-up."""
        return (START_UP, *self._tick(state))

    def _tick(self, state: State) -> list[int]:
        clocks = []
        for n, clock in enumerate(state[1:]):
            if clock == 0 or clock == self.green[n]:
                clocks.append(clock)
            else:
                clocks.append(clock + 1 if clock < self.last[n] else 0)
        return clocks
