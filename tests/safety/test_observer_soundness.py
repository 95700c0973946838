"""Polling never raises a false alarm, and never overlooks what lasts longer than it polls."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.equipment import Junction
from agent.safety.observer import JunctionMemory, Trip, watch
from tests.safety.facts import JUNCTION
from tests.safety.true_junction import TrueJunction

LASTS_MS = 120_000
CALLED = replace(
    JUNCTION, groups=tuple(replace(group, call_phase=int(group.number)) for group in JUNCTION.groups), red_ms_max=9_000
)


def watched(true: TrueJunction, junction: Junction, random: Random, period_ms: int, delay_ms: int) -> list[Trip]:
    """Poll a history; replies take up to ``delay_ms``, and the look falls anywhere inside. Calls are asked seldom."""
    memory, said, asked_ms, calls = JunctionMemory(), [], 0, None
    while asked_ms < LASTS_MS:
        at_ms = asked_ms + random.randint(0, delay_ms)
        seen = replace(true.sample(asked_ms, random.randint(asked_ms, at_ms), at_ms), calls=calls)
        if calls is None or at_ms - calls.at_ms >= 3_000:
            answered_ms = at_ms + random.randint(0, delay_ms)
            calls = true.calls(at_ms, random.randint(at_ms, answered_ms), answered_ms)
            at_ms = answered_ms
        memory, trips = watch(memory, seen, junction)
        said += trips
        asked_ms = max(at_ms, asked_ms + random.randint(1, 2 * period_ms))
    return said


@pytest.mark.no_cover
@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    period_ms=st.sampled_from([10, 50, 100, 400, 1_500]),
    delay_ms=st.sampled_from([0, 5, 300]),
)
def test_a_lawful_junction_is_never_accused_however_it_is_polled(seed: int, period_ms: int, delay_ms: int) -> None:
    random = Random(seed)
    true = TrueJunction(CALLED, random, relay_ms=random.choice((0, 20, 250)), waits_ms=CALLED.red_ms_max)
    true.run(LASTS_MS)
    assert watched(true, CALLED, random, period_ms, delay_ms) == []


def stricter(rule: str, by_ms: int) -> Junction:
    """The same junction, commissioned with one kind of floor higher than what it does."""
    if rule == "SR-06":
        return replace(JUNCTION, intergreen_ms={pair: ms + by_ms for pair, ms in JUNCTION.intergreen_ms.items()})
    field = {"SR-04": "yellow_ms_min", "SR-05": "green_ms_min"}[rule]
    groups = [
        replace(group, **{field: getattr(group, field) + by_ms}) if getattr(group, field) else group
        for group in JUNCTION.groups
    ]
    return replace(JUNCTION, groups=tuple(groups))


@pytest.mark.parametrize("rule", ["SR-04", "SR-05", "SR-06"])
@pytest.mark.parametrize("seed", range(5))
def test_what_breaks_a_floor_by_more_than_two_polls_is_always_told(rule: str, seed: int) -> None:
    period_ms = 100
    random = Random(seed)
    true = TrueJunction(JUNCTION, random, red_ms_min=2 * period_ms)
    true.go_through_flash = lambda: true.at(true.now_ms + 1)  # type: ignore[method-assign]
    true.run(LASTS_MS)
    junction = stricter(rule, 6_000)
    memory, told, samples = JunctionMemory(), set(), range(0, LASTS_MS, period_ms)
    for at_ms in samples:
        memory, trips = watch(memory, true.sample(at_ms, at_ms, at_ms), junction)
        told |= {(trip.rule, trip.groups, at_ms) for trip in trips}
    assert {each[0] for each in told} == {rule}
    assert told == broken(true, junction, rule, period_ms, samples[-1])


def broken(
    true: TrueJunction, junction: Junction, rule: str, period_ms: int, last_ms: int
) -> set[tuple[str, tuple[int, ...], int]]:
    """Every violation of the history, as the samples show it: (rule, groups, when it is seen)."""

    def seen(moment_ms: int) -> int:
        """The first sample at or after a change."""
        return -(-moment_ms // period_ms) * period_ms

    found: set[tuple[str, tuple[int, ...], int]] = set()
    ended: dict[int, int] = {}
    began: dict[tuple[int, str], int] = {}
    was = true.history[0][1]
    for moment_ms, shown, _flash in true.history[1:]:
        at_ms = seen(moment_ms)
        for number, group in true.groups.items():
            if was[number] == shown[number] or at_ms > last_ms:
                continue
            now_group = next(each for each in junction.groups if each.number == group.number)
            floor = {"G": now_group.green_ms_min, "Y": now_group.yellow_ms_min}.get(was[number], 0)
            start_ms = began.get((number, was[number]), 0)
            if (
                rule == {"G": "SR-05", "Y": "SR-04"}.get(was[number])
                and start_ms > 0
                and at_ms - (seen(start_ms) - period_ms) < floor
            ):
                found.add((rule, (number,), at_ms))
            if was[number] == "G":
                ended[number] = moment_ms
            if shown[number] == "G" and rule == "SR-06":
                for (ending, starting), least_ms in junction.intergreen_ms.items():
                    if starting == number and ending in ended and at_ms - (seen(ended[ending]) - period_ms) < least_ms:
                        found.add((rule, (int(ending), number), at_ms))
            began[number, shown[number]] = moment_ms
        was = shown
    return found


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), data=st.data())
def test_nonsense_never_stops_the_observer(seed: int, data: st.DataObject) -> None:
    random = Random(seed)
    memory, at_ms = JunctionMemory(), 0
    base = TrueJunction(JUNCTION, random).sample(0, 0, 0)
    for _ in range(50):
        at_ms += random.choice((0, 1, 100, 3_000, -500))
        masks = [random.choice((0, 1, 15, random.getrandbits(64))) for _ in range(3)]
        seen = replace(
            base,
            at_ms=at_ms,
            greens=masks[0],
            yellows=masks[1],
            reds=masks[2],
            flash_status=data.draw(st.sampled_from([2, 2, 2, 3, 7, 0, -1, 99])),
            delay_ms=random.randrange(400),
        )
        memory, trips = watch(memory, seen, JUNCTION)
        assert all(trip.reason and trip.groups and trip.equipment == JUNCTION.id for trip in trips)
