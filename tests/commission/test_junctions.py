"""Lawful junctions drawn at random pass; any single change that makes one unlawful is found."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.commission.proof import JunctionProof, prove
from agent.commission.stages import STAGES_MAX, foes_of, places, stages_of
from agent.model.equipment import GroupKind, Junction, SignalGroup
from agent.model.identity import PlanNumber, SignalGroupNumber
from tests.commission.monge import MONGE, checked, quickly, with_group, with_intergreen

Change = Callable[[Junction, st.DataObject], Junction]


@st.composite
def junctions(draw: st.DrawFn, groups_max: int = 4) -> Junction:
    """As tight as the rules allow, or a little less."""
    numbers = draw(st.lists(st.integers(1, 64), min_size=2, max_size=groups_max, unique=True))
    groups = tuple(_group(draw, number) for number in numbers)
    pairs = [frozenset(pair) for pair in combinations([group.number for group in groups], 2)]
    conflicts = frozenset(draw(st.lists(st.sampled_from(pairs), min_size=1, unique=True)))
    junction = replace(
        MONGE,
        groups=groups,
        conflicts=conflicts,
        intergreen_ms={},
        stages=(),
        red_supervised=frozenset(group.number for group in groups),
        all_red_ms_min=draw(st.sampled_from([0, 1_000, 2_000])),
    )
    for pair in conflicts:
        for ending in pair:
            (starting,) = pair - {ending}
            more = draw(st.sampled_from([0, 0, 1_000]))
            junction = with_intergreen(junction, ending, starting, least_ms(junction, ending) + more)
    if draw(st.booleans()):
        made = (frozenset(groups[n].number for n in places(mask)) for mask in stages_of(junction).masks)
        junction = replace(junction, stages=tuple(made))
    return junction


def _group(draw: st.DrawFn, number: int) -> SignalGroup:
    kind = draw(st.sampled_from(list(GroupKind)))
    yellow_s = 0 if kind is GroupKind.PEDESTRIAN else draw(st.sampled_from([3, 4]))
    green_s, clearing_m = draw(st.sampled_from([6, 8])), draw(st.sampled_from([0, 4, 25]))
    if kind is GroupKind.PEDESTRIAN:
        clearing_m = min(clearing_m, 4)
    name = f"{kind} {number}"
    return SignalGroup(SignalGroupNumber(number), name, kind, green_s * 1000, yellow_s * 1000, clearing_m * 1000)


def least_ms(junction: Junction, ending: int) -> int:
    """The rule in plain words: yellow, then all red or the way at 10 m/s, on foot 1 m/s; here up to the next second."""
    group = next(each for each in junction.groups if each.number == ending)
    on_foot = group.kind is GroupKind.PEDESTRIAN
    way_ms = group.clearing_mm if on_foot else group.clearing_mm // 10
    exact = group.yellow_ms_min + max(junction.all_red_ms_min, way_ms)
    return -(-exact // 1000) * 1000


def is_lawful(junction: Junction) -> bool:
    """Everything the check promises, said a second time without its code."""
    numbers = {group.number for group in junction.groups}
    directed = {(a, b) for pair in junction.conflicts for a in pair for b in pair - {a}}
    in_stages = set().union(*junction.stages) if junction.stages else numbers
    return (
        bool(junction.conflicts)
        and set(junction.intergreen_ms) == directed
        and all(ms + 999 >= least_ms(junction, pair[0]) for pair, ms in junction.intergreen_ms.items())
        and all(group.green_ms_min >= 6_000 for group in junction.groups)
        and all(group.yellow_ms_min >= 3_000 or group.kind is GroupKind.PEDESTRIAN for group in junction.groups)
        and in_stages == numbers == junction.red_supervised
        and not any(pair <= stage for pair in junction.conflicts for stage in junction.stages)
        and 10 <= junction.backup_time_s <= 120
        and all(1 <= plan <= 253 for plan in junction.plans)
    )


def _shift_intergreen(junction: Junction, data: st.DataObject) -> Junction:
    pair = data.draw(st.sampled_from(sorted(junction.intergreen_ms)))
    by_ms = data.draw(st.sampled_from([-3_000, -2_000, -1_000, 1_000]))
    return with_intergreen(junction, *pair, max(0, junction.intergreen_ms[pair] + by_ms))


def _lose_intergreen(junction: Junction, data: st.DataObject) -> Junction:
    return with_intergreen(junction, *data.draw(st.sampled_from(sorted(junction.intergreen_ms))), None)


def _lose_conflict(junction: Junction, data: st.DataObject) -> Junction:
    pair = data.draw(st.sampled_from(sorted(junction.conflicts, key=sorted)))
    keep = data.draw(st.booleans())
    least = {each: ms for each, ms in junction.intergreen_ms.items() if keep or set(each) != pair}
    return replace(junction, conflicts=junction.conflicts - {pair}, intergreen_ms=least)


def _gain_conflict(junction: Junction, data: st.DataObject) -> Junction:
    one, other = sorted(data.draw(st.sampled_from(list(combinations([group.number for group in junction.groups], 2)))))
    changed = replace(junction, conflicts=junction.conflicts | {frozenset((one, other))})
    for ending, starting in ((one, other), (other, one)):
        if (ending, starting) not in changed.intergreen_ms:
            changed = with_intergreen(changed, ending, starting, least_ms(junction, ending))
    return changed


def _change_group(junction: Junction, data: st.DataObject) -> Junction:
    group = data.draw(st.sampled_from(junction.groups))
    facts: dict[str, object] = data.draw(
        st.sampled_from(
            [
                {"green_ms_min": group.green_ms_min - 2_000},
                {"green_ms_min": group.green_ms_min + 2_000},
                {"yellow_ms_min": max(0, group.yellow_ms_min - 1_000)},
                {"yellow_ms_min": group.yellow_ms_min + 1_000},
                {"clearing_mm": group.clearing_mm + 3_000},
                {"clearing_mm": 0},
            ]
        )
    )
    return with_group(junction, group.number, **facts)


def _change_stages(junction: Junction, data: st.DataObject) -> Junction:
    stages = list(junction.stages) or [frozenset(group.number for group in junction.groups)]
    place = data.draw(st.integers(0, len(stages) - 1))
    number = data.draw(st.sampled_from([group.number for group in junction.groups]))
    stages[place] = stages[place] ^ {number}
    return replace(junction, stages=tuple(stage for stage in stages if stage))


def _change_rest(junction: Junction, data: st.DataObject) -> Junction:
    number = data.draw(st.sampled_from([group.number for group in junction.groups]))
    return data.draw(
        st.sampled_from(
            [
                replace(junction, red_supervised=junction.red_supervised - {number}),
                replace(junction, backup_time_s=9),
                replace(junction, backup_time_s=120),
                replace(junction, plans=frozenset({PlanNumber(254)})),
                replace(junction, all_red_ms_min=junction.all_red_ms_min + 1_000),
            ]
        )
    )


CHANGES: list[Change] = [
    _shift_intergreen,
    _lose_intergreen,
    _lose_conflict,
    _gain_conflict,
    _change_group,
    _change_stages,
    _change_rest,
]


@settings(max_examples=25)
@given(junction=junctions())
def test_a_lawful_junction_passes(junction: Junction) -> None:
    assert is_lawful(junction)
    report = checked(junction)
    assert [str(each) for each in report.findings] == []
    assert report.is_clean
    assert report.is_seconded


@settings(max_examples=100)
@given(junction=junctions(), data=st.data())
def test_a_single_change_is_found_or_leaves_a_lawful_junction(junction: Junction, data: st.DataObject) -> None:
    changed = data.draw(st.sampled_from(CHANGES))(junction, data)
    report = checked(changed)
    assert report.is_clean == is_lawful(changed)
    if not report.is_clean:
        assert report.findings
        assert all("j-monge" in each.place for each in report.findings)


@settings(max_examples=40)
@given(junction=junctions(groups_max=2), data=st.data())
def test_search_and_solver_agree_on_every_intergreen(junction: Junction, data: st.DataObject) -> None:
    """Of two groups nothing hides behind a third one's intergreen, so both must find the same."""
    changed = _shift_intergreen(junction, data)
    proof = quickly(changed)
    assert proof.method == "whole"
    assert (proof.breach is None) == (proof.opinion.answer.value == "safe")
    if proof.breach is not None:
        assert proof.breach.property in {"P1", "P4"}
        assert proof.trace is not None
        assert proof.opinion.trace is not None
    assert not proof.disagreement


@settings(max_examples=60)
@given(junction=junctions(groups_max=7))
def test_stages_are_exactly_the_largest_sets_without_a_conflict(junction: Junction) -> None:
    bare = replace(junction, stages=())
    foes, count = foes_of(bare), len(bare.groups)
    free = [mask for mask in range(1, 1 << count) if not any(foes[n] & mask for n in places(mask))]
    largest = {mask for mask in free if not any(mask != other and mask & other == mask for other in free)}
    stages = stages_of(bare)
    assert (set(stages.masks), stages.are_written, stages.are_all) == (largest, False, True)
    assert len(stages.masks) == len(largest)


def test_too_many_stages_are_not_kept_silent() -> None:
    """Eleven pairs that exclude each other make 2,048 largest sets."""
    group = MONGE.groups[0]
    groups = tuple(replace(group, number=SignalGroupNumber(number)) for number in range(1, 23))
    numbers = [each.number for each in groups]
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    many = replace(
        MONGE,
        groups=groups,
        conflicts=frozenset(frozenset(pair) for pair in pairs),
        intergreen_ms={way: 5_000 for one, other in pairs for way in ((one, other), (other, one))},
        stages=(),
        red_supervised=frozenset(numbers),
    )
    stages = stages_of(many)
    assert (len(stages.masks), stages.are_all) == (STAGES_MAX, False)
    proof = prove(many)
    assert (proof.method, proof.holds, proof.wait_ms) == ("pairs", True, 19_000)
    short: JunctionProof = prove(with_intergreen(many, 3, 4, 4_000))
    assert (short.holds, short.breach is not None and short.breach.groups) == (False, (3, 4))
    assert short.trace is not None
    assert [row.number for row in short.trace.rows] == [3, 4]


def test_what_is_too_large_even_in_pairs_is_not_proven() -> None:
    proof = prove(MONGE, states_max=10)
    assert (proof.method, proof.holds) == ("none", False)
