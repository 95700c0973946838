"""Search every state a junction can reach: controller, guard and everybody's commands, second by second.

Between the commands and the controller stands the kernel itself, not a model of it. In each second one command of a long
list may be given, in every mode, by everybody; what is held may end; the street may want anything. Properties are those
of the safety page, checked by looking at the lights before and after, not by asking the controller.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from time import perf_counter

from agent.model.command import (
    LOCAL_PLAN,
    Command,
    Origin,
    ReleaseJunction,
    RequestFlash,
    ResetLatch,
    Role,
    SelectPlan,
)
from agent.model.equipment import Junction
from agent.model.identity import CityId, GatewayId, PlanNumber
from agent.model.observation import JunctionObserved, Presence
from agent.model.site import Site
from agent.safety import kernel
from agent.safety.latch import Latch
from agent.safety.mode import Mode, ModeEntry
from agent.safety.standing import Standing
from agent.safety.verdict import Approved
from tests.proof.controllers import GREEN, YELLOW, Controller, Light
from tests.proof.thinned import left_out

NOW_MS = 1_000_000
NORMAL, FLASH = 0, 1
START_UP = 2
"""Modes from 2 on count the seconds of the start-up: 3 s yellow, then all red until every intergreen is over."""
START_UP_YELLOW_S, START_UP_RED_S_MIN = 3, 2
SERVED_S_MAX = 120
NO_PLAN, FLASH_HELD = 0, -1


def start_up_end(junction: Junction) -> int:
    """The mode that would follow the last second of the start-up."""
    clearing_s = max(junction.intergreen_ms.values()) // 1000 - START_UP_YELLOW_S
    return START_UP + START_UP_YELLOW_S + max(START_UP_RED_S_MIN, clearing_s)


@dataclass(frozen=True, slots=True)
class Sought:
    """What a search found.

    Args:
        broken: the first property that does not hold; empty if all do.
        trace: how it came about, second by second.
        served_s_max: the longest any plan waits for its greens.
        is_as_expected: what a person wants to know first.
    """

    name: str
    states: int
    transitions: int
    commands: int
    took_s: float
    broken: str = ""
    trace: tuple[str, ...] = ()
    served_s_max: int = 0

    @property
    def is_as_expected(self) -> bool:
        """No property broken."""
        return not self.broken

    def __str__(self) -> str:
        found = f"BROKEN: {self.broken}\n    " + "\n    ".join(self.trace) if self.broken else "every property holds"
        served = f", a plan is served within {self.served_s_max} s" if self.served_s_max else ""
        return (
            f"{self.name}: {self.states:,} states, {self.transitions:,} transitions, "
            f"{self.commands} commands each second{served}, {self.took_s:.1f} s: {found}"
        )


Step = tuple[str, int, str]
"""What happened, the state it leads to, and the property it breaks."""


def explore(
    name: str, start: int, steps: Callable[[int], Iterator[Step]], words: Callable[[int], str], commands: int
) -> tuple[Sought, dict[int, tuple[int, str]]]:
    """Breadth first, so that a counter-example is a shortest one. Also returns where each state was reached from."""
    began = perf_counter()
    came: dict[int, tuple[int, str]] = {start: (start, "all red")}
    waiting, transitions = deque([start]), 0
    while waiting:
        state = waiting.popleft()
        for label, after, broken in steps(state):
            transitions += 1
            if broken:
                came.setdefault(after, (state, label))
                trace = (*_trace(came, state, words), f"{label} -> {words(after)}")
                return Sought(name, len(came), transitions, commands, perf_counter() - began, broken, trace), came
            if after not in came:
                came[after] = (state, label)
                waiting.append(after)
    return Sought(name, len(came), transitions, commands, perf_counter() - began), came


def _trace(came: dict[int, tuple[int, str]], state: int, words: Callable[[int], str]) -> tuple[str, ...]:
    found: list[str] = []
    while True:
        before, label = came[state]
        found.append(f"{label} -> {words(state)}")
        if before == state:
            return tuple(reversed(found))
        state = before


@dataclass(frozen=True, slots=True)
class Asked:
    """One command under one set of circumstances."""

    command: Command
    mode: Mode
    presence: bool


def every_command(junction: Junction) -> tuple[Asked, ...]:
    """All verbs to a junction, by everybody, in every mode; plans nobody commissioned, and leases too long."""
    crew = [
        Origin(Role.OPERATOR, ("alice",)),
        Origin(Role.OPERATOR, ("alice", "bruno")),
        Origin(Role.TECHNICIAN, ("claude",)),
        LOCAL_PLAN,
    ]
    commands: list[Command] = []
    for origin in crew:
        plans = (*sorted(junction.plans), 0, max(junction.plans) + 1, 254, 255)
        for plan, lease_ms in product(plans, (60_000, 3_600_000, 3_600_001, 0)):
            commands.append(SelectPlan(junction.id, origin, PlanNumber(plan), lease_ms))
        commands += [RequestFlash(junction.id, origin, lease_ms) for lease_ms in (60_000, 3_600_001)]
        commands += [ReleaseJunction(junction.id, origin), ResetLatch(junction.id, origin)]
    return tuple(Asked(*each) for each in product(commands, Mode, (True, False)))


@dataclass(frozen=True, slots=True)
class Known:
    """What the guard knows when it judges: all that a verdict depends on here."""

    mode: int
    plan: int
    is_flash_recent: bool
    latch: Latch | None = None
    is_fault_recent: bool = False
    greens: int = 0
    yellows: int = 0


_KNOWN: dict[tuple[str, frozenset[str]], dict[Known, tuple[Asked, ...]]] = {}
"""What was asked before, by junction and by the rules left out."""


class Judge:
    """The kernel, asked every command once for each thing it may know.

    Args:
        without: names of the kernel's rules left out.
    """

    def __init__(self, junction: Junction, without: frozenset[str] = frozenset()) -> None:
        self._junction = junction
        self.commands = every_command(junction)
        self.site = Site(CityId("dijon"), GatewayId("gw"), "search", {junction.id: junction}, 120_000)
        self._without = without
        self._known = _KNOWN.setdefault((junction.id, without), {})

    def approved(self, known: Known) -> tuple[Asked, ...]:
        """One command for each effect that is approved."""
        if known not in self._known:
            effects: dict[tuple[type, int, bool], Asked] = {}
            seen = self.seen(known)
            with left_out(self._without):
                for asked in self.commands:
                    verdict = kernel.judge(asked.command, self.site, seen, self.standing(asked, known), NOW_MS)
                    if isinstance(verdict, Approved):
                        is_alone = isinstance(asked.command, ResetLatch) and not asked.presence
                        effects.setdefault((type(asked.command), getattr(asked.command, "plan", 0), is_alone), asked)
            self._known[known] = tuple(effects.values())
        return self._known[known]

    def verdict(self, asked: Asked, known: Known) -> object:
        """What the kernel says to one command."""
        with left_out(self._without):
            return kernel.judge(asked.command, self.site, self.seen(known), self.standing(asked, known), NOW_MS)

    def seen(self, known: Known) -> JunctionObserved:
        """What a controller in this state reports."""
        flash = {NORMAL: 2, FLASH: 3}.get(known.mode, 7)
        pattern = 255 if known.plan == FLASH_HELD else known.plan or 254
        return JunctionObserved(
            self._junction.id, NOW_MS, known.greens, known.yellows, 0, 2, flash, pattern, self._junction.backup_time_s
        )

    def standing(self, asked: Asked, known: Known) -> Standing:
        """What holds there."""
        return Standing(
            mode=ModeEntry(asked.mode, "search", "search"),
            latch=known.latch,
            presence=Presence(NOW_MS, door_open=True, local_key=True) if asked.presence else None,
            flash_requested_at_ms=NOW_MS - (1_000 if known.is_flash_recent else 600_000),
            fault_seen_at_ms=NOW_MS - (1_000 if known.is_fault_recent else 10_000),
        )


class Lawful:
    """A controller that keeps its interlocks, under guard, and a crew that asks for everything.

    Args:
        stages: plan -> mask of the places it wants green.
        without: interlocks and rules left out, to see that the search would find it.
    """

    def __init__(self, controller: Controller, stages: dict[int, int], without: frozenset[str] = frozenset()) -> None:
        self.controller, self.stages, self.without = controller, stages, without
        self.judge = Judge(controller.junction, without)
        self._plans = (NO_PLAN, *stages, FLASH_HELD, max(stages) + 1)
        self._start_up_end = start_up_end(controller.junction)

    def packed(self, inner: int, mode: int, plan: int, recent: bool) -> int:
        """One number for all of it."""
        return ((inner * 16 + mode) * 16 + self._plans.index(plan)) * 2 + recent

    def unpacked(self, state: int) -> tuple[int, int, int, bool]:
        """Inner state, mode, plan held, flash asked in the last ten minutes."""
        state, recent = divmod(state, 2)
        state, plan = divmod(state, 16)
        inner, mode = divmod(state, 16)
        return inner, mode, self._plans[plan], bool(recent)

    def search(self, name: str) -> Sought:
        """Every state, then how long each plan waits in each of them."""
        start = self.packed(self.controller.rest, NORMAL, NO_PLAN, recent=False)
        sought, came = explore(name, start, self.steps, self.words, len(self.judge.commands))
        if sought.broken:
            return sought
        inners = {self.unpacked(state)[0] for state in came if self.unpacked(state)[1] == NORMAL}
        longest = max(self._served_s(inners, mask) for mask in self.stages.values())
        broken = "" if longest <= SERVED_S_MAX else f"P5: a plan is not served within {SERVED_S_MAX} s"
        return replace(sought, served_s_max=longest, broken=broken)

    def steps(self, state: int) -> Iterator[Step]:
        """Everything that may happen in the next second."""
        inner, mode, plan, recent = self.unpacked(state)
        for label, new_plan, new_recent, broken in self._asked(mode, plan, recent):
            for after, new_mode in self._second(inner, mode, new_plan):
                found = broken or breaks(self.controller, inner, mode, after, new_mode)
                yield label, self.packed(after, new_mode, new_plan, new_recent), found

    def _asked(self, mode: int, plan: int, recent: bool) -> Iterator[tuple[str, int, bool, str]]:
        yield "nothing", plan, recent, ""
        if recent:
            yield "ten minutes are over", plan, False, ""
        if plan != NO_PLAN:
            yield "the lease ends", NO_PLAN, recent, ""
        for asked in self.judge.approved(Known(mode, plan, recent)):
            match asked.command:
                case SelectPlan(plan=wanted):
                    yield str(asked.command), wanted, recent, self._wrong_plan(wanted, mode)
                case RequestFlash():
                    wrong = "flash a second time within ten minutes" if recent else ""
                    yield "flash", FLASH_HELD, True, wrong
                case ReleaseJunction():
                    yield "release", NO_PLAN, recent, ""
                case _:
                    yield "reset", plan, recent, ""

    def _wrong_plan(self, plan: int, mode: int) -> str:
        if plan not in self.stages:
            return f"SR-27: plan {plan} is asked of the controller"
        return "P6: a plan is asked of a controller in flash or start-up" if mode != NORMAL else ""

    def _second(self, inner: int, mode: int, plan: int) -> Iterator[tuple[int, int]]:
        """A second of the controller: its state and mode afterwards."""
        rest = self.controller.rest
        if plan == FLASH_HELD and mode in {NORMAL, FLASH}:
            yield rest, FLASH
        elif mode == FLASH:
            yield rest, NORMAL if "start-up" in self.without else START_UP
        elif mode != NORMAL:
            yield rest, NORMAL if mode + 1 == self._start_up_end else mode + 1
        else:
            for after in self.controller.moves(inner, self.stages.get(plan)):
                yield after, NORMAL

    def _served_s(self, inners: set[int], mask: int) -> int:
        """P5: the longest wait for a plan's greens, from any state, while it is held."""
        known: dict[int, int] = {}
        for start in inners:
            inner, path = start, list[int]()
            while inner not in known and not self._has(inner, mask) and len(path) <= SERVED_S_MAX:
                path.append(inner)
                (inner,) = self.controller.moves(inner, mask)
            seconds = known.get(inner, 0 if self._has(inner, mask) else SERVED_S_MAX)
            for each in reversed(path):
                seconds += 1
                known[each] = seconds
        return max(known.values(), default=0)

    def _has(self, inner: int, mask: int) -> bool:
        return all(light[0] == GREEN for place, light in enumerate(self.controller.lights(inner)) if mask >> place & 1)

    def words(self, state: int) -> str:
        """A state for a person."""
        inner, mode, plan, _ = self.unpacked(state)
        how = {NORMAL: "", FLASH: " flashing"}.get(mode, " starting")
        letters = "".join("RYG"[aspect] for aspect, _ in self.controller.lights(inner))
        return f"{letters}{how}, {'flash' if plan == FLASH_HELD else f'plan {plan}' if plan else 'its own plan'}"


def breaks(controller: Controller, before: int, mode: int, after: int, new_mode: int) -> str:
    """P1 to P4 and P6 on one second, from the lights and the commissioned numbers alone."""
    if mode == FLASH and new_mode not in {FLASH, START_UP}:
        return "P6: flash is left without the start-up"
    if mode >= START_UP and new_mode != _following(controller.junction, mode):
        return "P6: the start-up is cut short"
    if mode != NORMAL or new_mode != NORMAL:
        return ""  # Flash ends what was shown; nothing is claimed about how.
    return _wrong_lights(controller.junction, controller.lights(before), controller.lights(after))


def _following(junction: Junction, mode: int) -> int:
    return NORMAL if mode + 1 == start_up_end(junction) else mode + 1


def _wrong_lights(junction: Junction, was: tuple[Light, ...], now: tuple[Light, ...]) -> str:
    groups = junction.groups
    for first, group in enumerate(groups):
        aspect, age = was[first]
        new = now[first][0]
        if aspect == GREEN and new != GREEN and age * 1000 < group.green_ms_min:
            return f"P2: group {group.number} was green for {age} s"
        if aspect == GREEN and new not in {GREEN, YELLOW} and group.yellow_ms_min:
            return f"P3: group {group.number} has no yellow"
        if aspect == YELLOW and new != YELLOW and age * 1000 < group.yellow_ms_min:
            return f"P3: group {group.number} was yellow for {age} s"
        for second, other in enumerate(groups):
            if frozenset((group.number, other.number)) not in junction.conflicts:
                continue
            if new == GREEN and now[second][0] in {GREEN, YELLOW}:
                return f"P1: groups {group.number} and {other.number} at once"
            least_ms = junction.intergreen_ms[other.number, group.number]
            if aspect != GREEN and new == GREEN and was[second][1] * 1000 < least_ms:
                return f"P4: group {group.number} green {was[second][1]} s after group {other.number}"
    return ""
