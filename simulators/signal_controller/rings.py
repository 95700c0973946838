"""The dual-ring kernel: which phases are green, and when they end. Pure; counts tenths of a second.

A ring shows one phase at a time. Phases of different rings may be green together only on the
same side of the barrier; the rings cross the barrier together. Order of every phase: green,
yellow, red clearance, red. There is no red with yellow.
"""

from dataclasses import dataclass
from enum import Enum

from simulators.signal_controller.aspects import Picture, bit, numbers
from simulators.signal_controller.demand import TENTHS, Demand
from simulators.signal_controller.event_log import Code, EventLog
from simulators.signal_controller.program import Phase, Program


class Interval(Enum):
    """What a ring's present phase shows."""

    GREEN = "green"
    YELLOW = "yellow"
    RED_CLEAR = "red clearance"
    RED = "red"


@dataclass(slots=True)
class Ring:
    """One ring's present phase."""

    index: int
    phase: Phase
    interval: Interval = Interval.RED
    since: int = 0  # tenth when the interval began
    walking_until: int = 0
    clearing_until: int = 0
    last_actuation: int = 0
    conflict_since: int | None = None
    next_phase: Phase | None = None


class RingKernel:
    """Steps the rings. ``tick`` is called once per tenth of a second, in order."""

    def __init__(self, program: Program, log: EventLog) -> None:
        self.program = program
        self._log = log
        self._tenth = 0
        self._calls = 0
        self._ped_calls = 0
        self._crossing_to: int | None = None
        self.ended = 0  # phases whose green ended in this tenth; force-offs clear themselves with it
        self._rings = [
            Ring(index, next(phase for phase in program.phases if phase.ring == index))
            for index in sorted({phase.ring for phase in program.phases})
        ]

    @property
    def all_red(self) -> bool:
        """Every ring shows red and has no green to come by itself."""
        return all(ring.interval is Interval.RED for ring in self._rings)

    def restart(self, tenth: int) -> None:
        """Start with the start phases, from all red."""
        self._tenth = tenth
        self._crossing_to = None
        for ring in self._rings:
            ring.interval, ring.next_phase = Interval.RED, None
            for phase in self.program.phases:
                if phase.ring == ring.index and phase.number in self.program.start_phases:
                    self._begin_green(ring, phase, Demand())

    def go_dark(self) -> None:
        """Forget the running intervals: the lamps are not ours (flash, power cut)."""
        for ring in self._rings:
            ring.interval, ring.next_phase = Interval.RED, None
        self._crossing_to, self._calls, self._ped_calls = None, 0, 0

    def tick(self, tenth: int, demand: Demand) -> None:
        """Advance to ``tenth``."""
        self._tenth = tenth
        self.ended = 0
        for ring in self._rings:
            ring.phase = self.program.phase(ring.phase.number)  # times may have been changed
        self._note_calls(demand)
        for ring in self._rings:
            self._run_interval(ring, demand)
        if not demand.clear:
            self._begin_crossed(demand)
            for ring in self._rings:
                self._consider_end(ring, demand)
            self._consider_crossing(demand)
        else:
            for ring in self._rings:
                if ring.interval is Interval.GREEN and self._minimum_served(ring):
                    self._end_green(ring, Code.FORCE_OFF)

    # Calls.

    def _note_calls(self, demand: Demand) -> None:
        greens = self._showing(Interval.GREEN)
        recalls = 0
        for phase in self.program.phases:
            if phase.recall or (demand.plan is not None and phase.number in demand.plan.splits_s):
                recalls |= bit(phase.number)
        before = self._calls
        self._calls = (self._calls | demand.actuations | recalls) & ~greens & ~demand.omit
        self._ped_calls = (self._ped_calls | demand.ped_calls) & ~demand.ped_omit
        for number in numbers(self._calls & ~before):
            self._log.write(Code.CALL_ON, number)
        for number in numbers(before & ~self._calls):
            self._log.write(Code.CALL_OFF, number)
        for ring in self._rings:
            if ring.interval is Interval.GREEN and demand.actuations & bit(ring.phase.number):
                ring.last_actuation = self._tenth

    def _wanted(self, demand: Demand) -> int:
        if demand.preempt:
            return demand.preempt & ~self._showing(Interval.GREEN)
        served_peds = 0
        for phase in self.program.phases:
            if phase.walk_s and self._ped_calls & bit(phase.number):
                served_peds |= bit(phase.number)
        return (self._calls | served_peds & ~self._showing(Interval.GREEN)) & ~demand.omit

    def _showing(self, interval: Interval) -> int:
        return sum(bit(ring.phase.number) for ring in self._rings if ring.interval is interval)

    # Intervals.

    def _run_interval(self, ring: Ring, demand: Demand) -> None:
        elapsed = self._tenth - ring.since
        number = ring.phase.number
        if ring.interval is Interval.GREEN:
            self._run_pedestrians(ring)
        elif ring.interval is Interval.YELLOW and elapsed >= _tenths(ring.phase.yellow_s):
            self._log.write(Code.YELLOW_END, number)
            self._log.write(Code.RED_CLEAR_BEGIN, number)
            ring.interval, ring.since = Interval.RED_CLEAR, self._tenth
        elif ring.interval is Interval.RED_CLEAR and elapsed >= _tenths(ring.phase.red_clear_s):
            self._log.write(Code.RED_CLEAR_END, number)
            ring.interval, ring.since = Interval.RED, self._tenth
            if ring.next_phase is not None and not demand.clear:
                self._begin_green(ring, ring.next_phase, demand)

    def _run_pedestrians(self, ring: Ring) -> None:
        number = ring.phase.number
        if ring.walking_until and self._tenth == ring.walking_until:
            self._log.write(Code.PED_CLEAR_BEGIN, number)
        if ring.clearing_until and self._tenth == ring.clearing_until:
            self._log.write(Code.DONT_WALK_BEGIN, number)

    def _begin_green(self, ring: Ring, phase: Phase, demand: Demand) -> None:
        ring.phase, ring.interval, ring.since = phase, Interval.GREEN, self._tenth
        ring.last_actuation, ring.conflict_since, ring.next_phase = self._tenth, None, None
        ring.walking_until = ring.clearing_until = 0
        self._log.write(Code.GREEN_BEGIN, phase.number)
        mask = bit(phase.number)
        if self._calls & mask:
            self._calls &= ~mask
            self._log.write(Code.CALL_OFF, phase.number)
        if phase.walk_s and self._ped_calls & mask and not demand.ped_omit & mask:
            self._ped_calls &= ~mask
            ring.walking_until = self._tenth + _tenths(phase.walk_s)
            ring.clearing_until = ring.walking_until + _tenths(phase.ped_clear_s)
            self._log.write(Code.WALK_BEGIN, phase.number)

    def _end_green(self, ring: Ring, reason: Code) -> None:
        number = ring.phase.number
        for code in (reason, Code.GREEN_END, Code.YELLOW_BEGIN):
            self._log.write(code, number)
        ring.interval, ring.since = Interval.YELLOW, self._tenth
        self.ended |= bit(number)

    # Ends of greens.

    def _minimum_served(self, ring: Ring) -> bool:
        elapsed = self._tenth - ring.since
        return elapsed >= _tenths(ring.phase.min_green_s) and self._tenth >= ring.clearing_until

    def _reason_to_end(self, ring: Ring, demand: Demand) -> Code | None:
        """Tell why the ring's green may end now, None while it must go on."""
        mask = bit(ring.phase.number)
        if not self._minimum_served(ring) or demand.hold & mask:
            return None
        if demand.preempt:
            return None if demand.preempt & mask else Code.FORCE_OFF
        if demand.force_off & mask:
            return Code.FORCE_OFF
        if demand.plan is not None and ring.phase.number in demand.plan.splits_s:
            split = demand.plan.splits_s[ring.phase.number] - ring.phase.yellow_s - ring.phase.red_clear_s
            return Code.FORCE_OFF if self._tenth - ring.since >= _tenths(split) else None
        if self._tenth - ring.last_actuation >= _tenths(ring.phase.passage_s):
            return Code.GAP_OUT
        if ring.conflict_since is not None and self._tenth - ring.conflict_since >= _tenths(ring.phase.max_green_s):
            return Code.MAX_OUT
        return None

    def _consider_end(self, ring: Ring, demand: Demand) -> None:
        """End a green for another phase of the same ring on the same side of the barrier."""
        if ring.interval is not Interval.GREEN or self._crossing_to is not None:
            return
        wanted = self._wanted(demand)
        if ring.conflict_since is None and any(self._conflicts(ring, number) for number in numbers(wanted)):
            ring.conflict_since = self._tenth
        following = self._next_here(ring, wanted)
        if following is None:
            return
        reason = self._reason_to_end(ring, demand)
        if reason is not None:
            ring.next_phase = following
            self._end_green(ring, reason)

    def _conflicts(self, ring: Ring, number: int) -> bool:
        other = self.program.phase(number)
        return other.ring == ring.index or other.barrier != ring.phase.barrier

    def _next_here(self, ring: Ring, wanted: int) -> Phase | None:
        """The next wanted phase of the ring on this side; backwards only if nobody waits on the other side."""
        side = ring.phase.barrier
        here = [
            phase
            for phase in self.program.phases
            if phase.ring == ring.index and phase.barrier == side and wanted & bit(phase.number)
        ]
        later = [phase for phase in here if phase.number > ring.phase.number]
        if later:
            return later[0]
        waiting_across = any(wanted & bit(phase.number) for phase in self.program.phases if phase.barrier != side)
        return here[0] if here and not waiting_across else None

    # The barrier.

    def _consider_crossing(self, demand: Demand) -> None:
        """Cross when somebody waits on another side and every ring may end."""
        if self._crossing_to is not None:
            return
        wanted = self._wanted(demand)
        present = self._rings[0].phase.barrier
        sides = sorted({phase.barrier for phase in self.program.phases})
        order = [side for side in sides if side > present] + [side for side in sides if side < present]
        target = next((side for side in order if self._side_wanted(side, wanted)), None)
        if target is None:
            return
        if any(ring.interval not in (Interval.GREEN, Interval.RED) for ring in self._rings):
            return
        greens = [ring for ring in self._rings if ring.interval is Interval.GREEN]
        reasons = [self._reason_to_end(ring, demand) for ring in greens]
        if any(reason is None for reason in reasons) or any(self._next_here(ring, wanted) for ring in greens):
            return
        self._crossing_to = target
        for ring, reason in zip(greens, reasons, strict=True):
            assert reason is not None
            self._end_green(ring, reason)

    def _side_wanted(self, side: int, wanted: int) -> bool:
        return any(wanted & bit(phase.number) for phase in self.program.phases if phase.barrier == side)

    def _begin_crossed(self, demand: Demand) -> None:
        """Once every ring is red, begin the other side; a ring without a call enters with its last phase."""
        if self._crossing_to is None or not self.all_red:
            return
        side, self._crossing_to = self._crossing_to, None
        wanted = self._wanted(demand)
        for ring in self._rings:
            here = [phase for phase in self.program.phases if phase.ring == ring.index and phase.barrier == side]
            here = [phase for phase in here if not demand.omit & bit(phase.number)]
            called = [phase for phase in here if wanted & bit(phase.number)]
            if called or here:
                self._begin_green(ring, called[0] if called else here[-1], demand)

    # Showing.

    def picture(self) -> Picture:
        """Return what every phase shows."""
        everyone, with_peds = self.program.everyone, self.program.with_peds
        greens, yellows = self._showing(Interval.GREEN), self._showing(Interval.YELLOW)
        walks = clears = following = 0
        for ring in self._rings:
            if ring.interval is Interval.GREEN and self._tenth < ring.walking_until:
                walks |= bit(ring.phase.number)
            elif ring.interval is Interval.GREEN and self._tenth < ring.clearing_until:
                clears |= bit(ring.phase.number)
            if ring.next_phase is not None:
                following |= bit(ring.next_phase.number)
        return Picture(
            reds=everyone & ~greens & ~yellows,
            yellows=yellows,
            greens=greens,
            walks=walks,
            ped_clears=clears,
            dont_walks=with_peds & ~walks & ~clears,
            vehicle_calls=self._calls,
            pedestrian_calls=self._ped_calls & with_peds,
            phases_on=greens | yellows | self._showing(Interval.RED_CLEAR),
            phases_next=following,
        )


def _tenths(seconds: float) -> int:
    return round(seconds * TENTHS)
