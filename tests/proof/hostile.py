"""Search with lights that lie: at any second a sample may show a green that is not there, or hide one, once or twice.

The guard here is the real observer, its real reaction and the real kernel, with the little there is between them written
anew: latch, release, one request for flash, a restart that loses memory and keeps the latch. The observer's memory is
part of every state, its times counted back from the newest sample and cut off where no limit reaches.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from agent.model.command import ReleaseJunction, RequestFlash, ResetLatch, SelectPlan
from agent.model.equipment import Junction
from agent.model.observation import JunctionObserved
from agent.safety.kernel import may_refresh
from agent.safety.latch import Latch
from agent.safety.lease import Lease, granted
from agent.safety.observer import JunctionMemory, Response, Trip, react, watch
from agent.safety.spell import NO_SPELL, Spell
from agent.safety.standing import Standing
from agent.safety.verdict import Approved
from tests.proof.controllers import Controller, Shown, shown
from tests.proof.promises import contradicts
from tests.proof.search import (
    FLASH,
    FLASH_HELD,
    NO_PLAN,
    NORMAL,
    NOW_MS,
    START_UP,
    Asked,
    Judge,
    Known,
    Sought,
    Step,
    explore,
    start_up_end,
)

T0_MS = 1_000_000
START_UP_MS = 3_000
SPELL_MS = 1_000
"""Longer than a red may be missing, or shown with yellow."""
AGAIN_MS = 100
CONFIRM_MS = 200
GAPS_MS = (900, 1_000, 2_000, 3_000)
"""From the newest sample to the next: after a second look, as usual, after one lost sample, after two."""
USUAL_GAP = 1
MEMORIES = 2**24
AROUND = 16 * 16 * 8 * 4 * MEMORIES
"""How many states there are around one of the controller."""


@dataclass(frozen=True, slots=True)
class Life:
    """A state, unpacked.

    Args:
        memory: number of the observer's memory.
        gap: which of ``GAPS_MS`` comes next.
    """

    inner: int
    mode: int
    plan: int
    latched: bool
    asked: bool
    fault: bool
    gap: int
    memory: int


@dataclass(frozen=True, slots=True)
class Event:
    """What the samples of one second show: places made green or hidden in the first, and in a second one soon after."""

    words: str
    green: int = 0
    hidden: int = 0
    again: str = ""
    is_lost: bool = False


LAWFUL = Event("true lights")


class Hostile:
    """A controller whose reports lie, under guard.

    Args:
        lies: without them only samples get lost, and every trip is a false alarm.
        knows_times: the observer remembers when aspects began and ended; without, only what a sample shows by itself.
        lost_max: how many samples in a row get lost.
    """

    def __init__(
        self,
        controller: Controller,
        stages: dict[int, int],
        without: frozenset[str] = frozenset(),
        *,
        lies: bool = True,
        knows_times: bool = False,
        lost_max: int = 2,
    ) -> None:
        self.controller, self.stages, self.lies, self.without = controller, stages, lies, without
        self.knows_times, self.lost_max = knows_times, lost_max
        self.junction = controller.junction
        self.judge = Judge(self.junction, without)
        self._plans = (NO_PLAN, *stages, FLASH_HELD, max(stages) + 1)
        self._start_up_end = start_up_end(self.junction)
        self._numbers: dict[tuple[object, ...], int] = {}
        self._memories: list[JunctionMemory] = []
        self._watched: dict[tuple[int, Shown, int, int], tuple[int, tuple[Trip, ...]]] = {}
        self._seen: dict[tuple[int, Shown], dict[str, tuple[int, str]]] = {}
        self._times_forgotten: dict[int, int] = {}
        self._contradicts: dict[tuple[Shown, int], bool] = {}
        self._refreshes: dict[tuple[int, int], bool] = {}
        self.events = tuple(self._events())

    def _events(self) -> Iterator[Event]:
        yield LAWFUL
        if not self.lies:
            yield Event("a lost sample", is_lost=True)
            return
        for group in self.junction.groups:
            yield Event(f"{group.number} shown green once", green=group.bit)
            yield Event(f"{group.number} shown green, then not", green=group.bit, again="true")
            yield Event(f"{group.number} shown green twice", green=group.bit, again="same")
            yield Event(f"{group.number} hidden once", hidden=group.bit)
        yield Event("a channel nobody has shown green", green=1 << 63)

    def packed(self, life: Life) -> int:
        """One number: the controller, and what is around it."""
        state = life.mode * 16 + self._plans.index(life.plan)
        for bit in (life.latched, life.asked, life.fault):
            state = state * 2 + bit
        return life.inner * AROUND + (state * 4 + life.gap) * MEMORIES + life.memory

    def unpacked(self, state: int) -> Life:
        """The other way."""
        inner, state = divmod(state, AROUND)
        state, memory = divmod(state, MEMORIES)
        state, gap = divmod(state, 4)
        mode, plan = divmod(state // 8, 16)
        return Life(inner, mode, self._plans[plan], bool(state & 4), bool(state & 2), bool(state & 1), gap, memory)

    def search(self, name: str) -> Sought:
        """Every state."""
        rest = Life(
            self.controller.rest, NORMAL, NO_PLAN, False, False, False, USUAL_GAP, self._number(JunctionMemory())
        )
        return explore(name, self.packed(rest), self._steps, self._words, len(self.judge.commands))[0]

    def _steps(self, state: int) -> Iterator[Step]:
        life = self.unpacked(state)
        yield from self._without_time(life)
        for inner, mode in self._second(life):
            light = shown(self.junction, self.controller.lights(inner)) if mode == NORMAL else (0, 0)
            around = replace(life, inner=0, mode=mode)
            known = self._seen.setdefault((self.packed(around), light), {})
            for event in self.events:
                if event.is_lost and life.gap >= USUAL_GAP + self.lost_max:
                    continue
                if event.words not in known:  # Most lights have been seen before.
                    seen, broken = self._samples(around, light, event)
                    known[event.words] = self.packed(seen), broken
                after, broken = known[event.words]
                yield event.words, inner * AROUND + after, broken

    def _without_time(self, life: Life) -> Iterator[Step]:
        """What takes no time: a command, a restart, the end of a hold or of a waiting time."""
        if life.plan != NO_PLAN:
            yield "the hold ends", self.packed(replace(life, plan=NO_PLAN)), ""
        if life.fault and not self._is_contradiction(self._seen_last(life), life.mode):
            yield "ten seconds without a fault", self.packed(replace(life, fault=False)), ""
        fresh = self._number(JunctionMemory())
        yield "a restart", self.packed(replace(life, memory=fresh, gap=USUAL_GAP, plan=NO_PLAN)), ""
        for asked in self.judge.approved(self._known(life)):
            yield from self._obeyed(life, asked)

    def _obeyed(self, life: Life, asked: Asked) -> Iterator[Step]:
        match asked.command:
            case SelectPlan(plan=plan):
                broken = "a plan is approved in spite of the latch" if life.latched else ""
                broken = broken or ("" if plan in self.stages else f"plan {plan} is asked of the controller")
                broken = broken or self._wrong_refresh(life, asked)
                held = next(iter(self.stages))  # Which one is held makes no difference to the guard.
                yield f"plan {plan}", self.packed(replace(life, plan=held)), broken
            case RequestFlash():
                broken = "flash is approved in spite of the latch" if life.latched else ""
                yield "flash", self.packed(replace(life, plan=FLASH_HELD)), broken
            case ReleaseJunction():
                yield "release", self.packed(replace(life, plan=NO_PLAN)), ""
            case ResetLatch():
                memory = self._memories[life.memory].anew()
                after = replace(life, latched=False, asked=False, memory=self._number(memory))
                yield "reset", self.packed(after), self._wrong_reset(life, asked)

    def _wrong_reset(self, life: Life, asked: Asked) -> str:
        if not asked.presence:
            return "a reset with nobody at the cabinet"
        if life.fault:
            return "a reset within ten seconds of the fault"
        return "a reset in sight of the fault" if self._is_contradiction(self._seen_last(life), life.mode) else ""

    def _wrong_refresh(self, life: Life, asked: Asked) -> str:
        """What is approved now must end as soon as a fault is latched: the latch forbids every refresh."""
        key = (life.mode, life.plan)
        if key not in self._refreshes:
            known = replace(self._known(life), latch=self._latch(asked=False))
            verdict = self.judge.verdict(asked, self._known(life))
            assert isinstance(verdict, Approved)
            lease: Lease = granted(verdict)
            site, seen = self.judge.site, self.judge.seen(known)
            self._refreshes[key] = may_refresh(lease, site, seen, self.judge.standing(asked, known), NOW_MS) is not None
        return "" if self._refreshes[key] else "a hold is refreshed in spite of the latch"

    def _known(self, life: Life) -> Known:
        greens, yellows = self._seen_last(life)
        latch = self._latch(asked=life.asked) if life.latched else None
        return Known(life.mode, life.plan, False, latch, life.fault, greens, yellows)

    def _latch(self, *, asked: bool) -> Latch:
        return Latch(self.junction.id, "SR-02", "search", 0, flash_requested=asked)

    def _seen_last(self, life: Life) -> Shown:
        last = self._memories[life.memory].last
        return (0, 0) if last is None else (last.greens, last.yellows)

    def _second(self, life: Life) -> Iterator[tuple[int, int]]:
        rest = self.controller.rest
        if life.plan == FLASH_HELD and life.mode in {NORMAL, FLASH}:
            yield rest, FLASH
        elif life.mode == FLASH:
            yield rest, START_UP
        elif life.mode != NORMAL:
            yield rest, NORMAL if life.mode + 1 == self._start_up_end else life.mode + 1
        else:
            wishes = [self.stages[life.plan]] if life.plan in self.stages else self.stages.values()
            inners = (inner for wish in wishes for inner in self.controller.moves(life.inner, wish))
            yield from dict.fromkeys((inner, NORMAL) for inner in inners)

    def _samples(self, life: Life, true: Shown, event: Event) -> tuple[Life, str]:
        """All that changes around the controller."""
        if event.is_lost:
            return replace(life, gap=max(life.gap, USUAL_GAP) + 1), ""
        lie = ((true[0] | event.green) & ~event.hidden, true[1] & ~event.hidden & ~event.green)
        first, broken = self._looked(life, lie, GAPS_MS[life.gap], is_confirming=False)
        first = replace(first, gap=USUAL_GAP)
        if broken or not event.again:
            return first, broken
        was_wrong = self._is_contradiction(lie, life.mode)
        second_light = lie if event.again == "same" else true
        second, broken = self._looked(first, second_light, AGAIN_MS, is_confirming=was_wrong)
        return replace(second, gap=0), broken

    def _looked(self, life: Life, light: Shown, gap_ms: int, *, is_confirming: bool) -> tuple[Life, str]:
        """One sample: what the observer says, what is done about it, and what should have been."""
        number, trips = self._watch(life.memory, light, life.mode, gap_ms)
        if not self.knows_times or life.latched or any(trip.response >= Response.RELEASE_AND_LATCH for trip in trips):
            number = self._timeless(number)
        wrong = self._is_contradiction(light, life.mode)
        latch = self._latch(asked=life.asked) if life.latched else None
        reaction = react(trips, Standing(latch=latch), NOW_MS, 0)
        plan = NO_PLAN if reaction.release is not None else life.plan
        after = replace(
            life,
            memory=number,
            latched=life.latched or reaction.latch is not None,
            asked=reaction.latch.flash_requested if reaction.latch is not None else life.asked,
            fault=life.fault or wrong or any(trip.response >= Response.RELEASE_AND_LATCH for trip in trips),
            plan=FLASH_HELD if reaction.flash is not None else plan,
        )
        return after, self._judged(life, after, trips, wrong=wrong, is_confirming=is_confirming, light=light)

    def _judged(
        self, before: Life, after: Life, trips: tuple[Trip, ...], *, wrong: bool, is_confirming: bool, light: Shown
    ) -> str:
        is_confirmed = wrong and is_confirming and not light[0] >> 63
        if trips and not self.lies:
            return f"a lawful junction is accused: {trips[0]}"
        if wrong and not after.latched:
            return "a contradiction does not latch"
        if before.asked and not after.asked:
            return "that flash was asked is forgotten"
        if is_confirmed and not after.asked:
            return "a contradiction seen twice within 200 ms does not ask for flash"
        if after.asked and not before.asked and not is_confirmed:
            return "flash is asked on one sample"
        if after.plan == FLASH_HELD and before.plan != FLASH_HELD and before.asked:
            return "flash is asked a second time"
        if not before.latched and after.latched and after.plan not in {NO_PLAN, FLASH_HELD}:
            return "control is not given back"
        return ""

    def _watch(self, memory: int, light: Shown, mode: int, gap_ms: int) -> tuple[int, tuple[Trip, ...]]:
        key = (memory, light, mode, gap_ms)
        if key not in self._watched:
            flash = {NORMAL: 2, FLASH: 3}.get(mode, 7)
            seen = JunctionObserved(self.junction.id, T0_MS + gap_ms, *light, self._reds(light), 2, flash, 1, 60)
            after, trips = watch(self._memories[memory], seen, self.junction)
            self._watched[key] = self._number(counted_back(after, gap_ms, self.junction)), trips
        return self._watched[key]

    def _timeless(self, number: int) -> int:
        if number not in self._times_forgotten:
            self._times_forgotten[number] = self._number(latched_memory(self._memories[number]))
        return self._times_forgotten[number]

    def _reds(self, light: Shown) -> int:
        return sum(group.bit for group in self.junction.groups) & ~(light[0] | light[1])

    def _number(self, memory: JunctionMemory) -> int:
        """A small number for a memory; its matrix is always the junction's own."""
        key = tuple(getattr(memory, field.name) for field in fields(memory) if field.name != "matrix")
        if key not in self._numbers:
            self._numbers[key] = len(self._memories)
            self._memories.append(memory)
        return self._numbers[key]

    def _is_contradiction(self, light: Shown, mode: int) -> bool:
        key = (light, mode)
        if key not in self._contradicts:
            flash = {NORMAL: 2, FLASH: 3}.get(mode, 7)
            seen = JunctionObserved(self.junction.id, 0, *light, 0, 2, flash, 1, 60)
            self._contradicts[key] = contradicts(self.junction, seen)
        return self._contradicts[key]

    def _words(self, state: int) -> str:
        life = self.unpacked(state)
        letters = "".join("RYG"[aspect] for aspect, _ in self.controller.lights(life.inner))
        latch = f", latched{', flash asked' if life.asked else ''}" if life.latched else ""
        return f"{letters} mode {life.mode}, plan {life.plan}{latch}"


def counted_back(memory: JunctionMemory, gap_ms: int, junction: Junction) -> JunctionMemory:
    """The same memory with its newest sample at ``T0_MS``; what is older than its limit, as old as the limit."""

    def back(moment_ms: int | None, limit_ms: int) -> int | None:
        return None if moment_ms is None else max(moment_ms - gap_ms, T0_MS - limit_ms)

    limits = {
        "green_from": [group.green_ms_min for group in junction.groups],
        "yellow_from": [group.yellow_ms_min for group in junction.groups],
        "green_until": [
            max((ms for (ending, _), ms in junction.intergreen_ms.items() if ending == group.number), default=0)
            for group in junction.groups
        ],
        "flash_until_ms": [START_UP_MS],
    }
    longest_ms = [max(limit for each in limits.values() for limit in each)]
    changes: dict[str, Any] = {}
    for field in fields(memory):
        value, own = getattr(memory, field.name), limits.get(field.name, longest_ms)
        if field.name.endswith("_ms"):
            changes[field.name] = back(value, own[0])
        elif isinstance(value, tuple):
            own = own if len(own) == len(value) else longest_ms * len(value)
            changes[field.name] = tuple(map(back, value, own))
        elif isinstance(value, JunctionObserved):
            changes[field.name] = replace(value, at_ms=value.at_ms - gap_ms)
        elif isinstance(value, Spell):
            changes[field.name] = Spell(tuple(back(each, SPELL_MS) for each in value.since), value.told)
    return _without_old_conflict(replace(memory, **changes))


def latched_memory(memory: JunctionMemory) -> JunctionMemory:
    """What still matters under a latch: whether a contradiction is confirmed. Times that it forgets accuse nobody."""
    unknown = (None,) * len(memory.green_from)
    timeless = replace(memory, green_from=unknown, yellow_from=unknown, green_until=unknown, flash_until_ms=None)
    return replace(timeless, dark=NO_SPELL, mixed=NO_SPELL, waiting=NO_SPELL)


def _without_old_conflict(memory: JunctionMemory) -> JunctionMemory:
    """A contradiction neither in the newest sample nor soon enough to confirm one is as good as none."""
    at_ms = memory.conflict_at_ms
    if at_ms is None or T0_MS - at_ms < CONFIRM_MS:
        return memory
    return replace(memory, conflict_at_ms=None, confirmed=False)
