"""Two models of signal controllers, in whole seconds and whole numbers: groups with stages, and a dual ring.

Each is as free as its interlocks let it be: where the street decides (detectors, buttons), every decision is a move.
A state holds for each group, or each ring, the aspect and a time that stops counting where nothing depends on it.
Times are those at the moment of a decision: a green of age 6 has been shown for six full seconds.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Protocol

from agent.model.equipment import Junction

RED, YELLOW, GREEN = 0, 1, 2
Light = tuple[int, int]
"""Aspect and age: of a green since it began, of anything else since the last green ended."""
Shown = tuple[int, int]
"""Masks of greens and yellows."""


class Controller(Protocol):
    """What the search needs of a model."""

    @property
    def junction(self) -> Junction:
        """The commissioned facts."""
        ...

    @property
    def rest(self) -> int:
        """All red for long."""
        ...

    def moves(self, inner: int, wanted: int | None) -> tuple[int, ...]:
        """The states a second later: one if a plan wants a mask of groups, else one for each wish of the street."""
        ...

    def lights(self, inner: int) -> tuple[Light, ...]:
        """The light of every group, in the site's order."""
        ...


@dataclass
class Facts:
    """A junction's numbers in seconds, by place in the site's order. Interlocks named in ``without`` are left out."""

    junction: Junction
    without: frozenset[str] = frozenset()
    greens: list[int] = field(init=False)
    yellows: list[int] = field(init=False)
    intergreens: dict[tuple[int, int], int] = field(init=False)
    against: list[list[int]] = field(init=False)
    cap: int = field(init=False)

    def __post_init__(self) -> None:
        groups = self.junction.groups
        at = {group.number: place for place, group in enumerate(groups)}
        self.greens = [group.green_ms_min // 1000 for group in groups]
        self.yellows = [group.yellow_ms_min // 1000 for group in groups]
        self.intergreens = {(at[a], at[b]): ms // 1000 for (a, b), ms in self.junction.intergreen_ms.items()}
        self.against = [[b for b in range(len(groups)) if (a, b) in self.intergreens] for a in range(len(groups))]
        self.cap = max([*self.intergreens.values(), *self.yellows]) + 1

    def older(self, place: int, light: Light) -> Light:
        """A second later, as far as it matters."""
        aspect, age = light
        return aspect, min(age + 1, self.greens[place] if aspect == GREEN else self.cap)

    def may_start(self, place: int, lights: list[Light] | tuple[Light, ...]) -> bool:
        """The interlocks of a green: conflicting groups are red, and for long enough."""
        for other in self.against[place]:
            aspect, age = lights[other]
            if "aspects" not in self.without and aspect != RED:
                return False
            if "intergreen" not in self.without and age < self.intergreens[other, place]:
                return False
            if aspect == GREEN:
                return "aspects" in self.without and "intergreen" in self.without
        return True

    def ended(self, place: int, light: Light, *, is_wanted: bool) -> Light:
        """What a green or a yellow is now, a red unchanged."""
        aspect, age = light
        if aspect == GREEN and not is_wanted and (age >= self.greens[place] or "green" in self.without):
            return (YELLOW if self.yellows[place] else RED), 0
        if aspect == YELLOW and (age >= self.yellows[place] or "yellow" in self.without):
            return RED, age
        return light


class StageController:
    """Groups, and stages that want some of them; a stage's greens stay until another is wanted.

    Args:
        without: interlocks left out: ``green``, ``yellow``, ``aspects``, ``intergreen``, ``turn``.
    """

    def __init__(self, junction: Junction, without: frozenset[str] = frozenset()) -> None:
        self._facts = Facts(junction, without)
        self._size = len(junction.groups)
        self._base = 3 * (max(self._facts.cap, *self._facts.greens) + 1)
        self._known: dict[tuple[int, int | None], tuple[int, ...]] = {}
        self.rest = self._packed([(RED, self._facts.cap)] * self._size)

    @property
    def junction(self) -> Junction:
        """The commissioned facts."""
        return self._facts.junction

    def _packed(self, lights: list[Light]) -> int:
        inner = 0
        for aspect, age in lights:
            inner = inner * self._base + age * 3 + aspect
        return inner

    def lights(self, inner: int) -> tuple[Light, ...]:
        """Unpacked."""
        found = []
        for _ in range(self._size):
            inner, code = divmod(inner, self._base)
            found.append((code % 3, code // 3))
        return tuple(reversed(found))

    def moves(self, inner: int, wanted: int | None) -> tuple[int, ...]:
        """One second, for one wish or for all of them."""
        key = (inner, wanted)
        if key not in self._known:
            wishes = range(1 << self._size) if wanted is None else (wanted,)
            self._known[key] = tuple(dict.fromkeys(self._second(inner, wish) for wish in wishes))
        return self._known[key]

    def _second(self, inner: int, wanted: int) -> int:
        facts, before = self._facts, self.lights(inner)
        lights = [facts.ended(place, light, is_wanted=bool(wanted >> place & 1)) for place, light in enumerate(before)]
        started: list[int] = []
        for place in range(self._size):
            if lights[place][0] != RED or before[place][0] != RED or not wanted >> place & 1:
                continue
            is_turn = "turn" in facts.without or not any(other in started for other in facts.against[place])
            if is_turn and facts.may_start(place, lights):
                started.append(place)
        for place in started:
            lights[place] = (GREEN, 0)
        return self._packed([facts.older(place, light) for place, light in enumerate(lights)])


class RingController:
    """Eight phases in two rings with a barrier: in each ring one phase after the other, both on the same side.

    A ring keeps its last phase while it is red; with a phase of six seconds or more between them, those before that have
    ended longer ago than any intergreen.
    """

    RINGS = ((0, 1, 2, 3), (4, 5, 6, 7))

    def __init__(self, junction: Junction, without: frozenset[str] = frozenset()) -> None:
        self._facts = Facts(junction, without)
        self._ages = max(self._facts.cap, *self._facts.greens) + 1
        self._known: dict[tuple[int, int | None], tuple[int, ...]] = {}
        self.rest = self._packed([(0, (RED, self._facts.cap)), (4, (RED, self._facts.cap))])

    @property
    def junction(self) -> Junction:
        """The commissioned facts."""
        return self._facts.junction

    def _packed(self, rings: list[tuple[int, Light]]) -> int:
        inner = 0
        for phase, (aspect, age) in rings:
            inner = ((inner * 4 + phase % 4) * 3 + aspect) * self._ages + age
        return inner

    def _rings(self, inner: int) -> list[tuple[int, Light]]:
        found = []
        for ring in (1, 0):
            inner, age = divmod(inner, self._ages)
            inner, aspect = divmod(inner, 3)
            inner, phase = divmod(inner, 4)
            found.append((phase + 4 * ring, (aspect, age)))
        return found[::-1]

    def lights(self, inner: int) -> tuple[Light, ...]:
        """A phase that is not its ring's has been red for long."""
        lights = [(RED, self._facts.cap)] * 8
        for phase, light in self._rings(inner):
            lights[phase] = light
        return tuple(lights)

    def moves(self, inner: int, wanted: int | None) -> tuple[int, ...]:
        """One second, for a plan's two phases or for any two the rings could turn to."""
        key = (inner, wanted)
        if key not in self._known:
            self._known[key] = tuple(dict.fromkeys(self._second(inner, pair) for pair in self._wishes(wanted)))
        return self._known[key]

    def _wishes(self, wanted: int | None) -> Iterator[tuple[int, int]]:
        if wanted is None:
            yield from product(*self.RINGS)
            return
        first, second = (next(phase for phase in ring if wanted >> phase & 1) for ring in self.RINGS)
        yield first, second

    def _second(self, inner: int, wanted: tuple[int, int]) -> int:
        facts, rings = self._facts, self._rings(inner)
        now = [
            (phase, facts.ended(phase, light, is_wanted=phase == target))
            for (phase, light), target in zip(rings, wanted, strict=True)
        ]
        for ring, target in enumerate(wanted):
            if now[ring][1][0] != RED or rings[ring][1][0] != RED:
                continue
            lights = [(RED, facts.cap)] * 8
            for other_phase, other_light in now:
                lights[other_phase] = other_light
            if "turn" in facts.without:  # Each ring looks only at what was before this second.
                lights[rings[1 - ring][0]] = rings[1 - ring][1]
            if facts.may_start(target, lights):
                now[ring] = (target, (GREEN, 0))
        return self._packed([(phase, facts.older(phase, light)) for phase, light in now])


def shown(junction: Junction, lights: tuple[Light, ...]) -> Shown:
    """What a reading of these lights says."""
    greens = yellows = 0
    for group, (aspect, _) in zip(junction.groups, lights, strict=True):
        greens |= group.bit if aspect == GREEN else 0
        yellows |= group.bit if aspect == YELLOW else 0
    return greens, yellows
