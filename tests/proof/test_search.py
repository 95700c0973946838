"""The reference junctions, searched to the end. The counts are exact: a state more or less is a change of behaviour."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.safety import observer
from agent.safety.observer import Reaction
from tests.proof.references import LAWFUL, SEARCHES, hostile, lawful
from tests.test_docs import tables

LAWFUL_ONCE = pytest.mark.xdist_group("lawful searches")
STATES_AND_TRANSITIONS = {
    "lawful 4-group crossing": (3_844, 40_348),
    "lawful pedestrian and bus": (964, 8_066),
    "lawful 8-phase dual ring": (10_712, 134_760),
    "lying 4-group crossing": (30_789, 995_063),
    "lying pedestrian and bus": (4_418, 96_536),
    "lying 8-phase dual ring": (5_385, 300_845),
    "polled 4-group crossing": (28_571, 210_362),
    "polled pedestrian and bus": (20_426, 147_018),
    "polled 8-phase dual ring": (25_477, 195_116),
}


TRACED = {"lawful pedestrian and bus"}
"""The smallest: tracing costs a search three times its time."""


def searches() -> Iterator[Any]:
    """Each search; the lawful ones with the tests that ask for them again, on one worker."""
    for name in SEARCHES:
        marks = [] if name in TRACED else [pytest.mark.no_cover]
        yield pytest.param(name, marks=[*marks, LAWFUL_ONCE] if name.startswith("lawful") else marks)


@pytest.mark.parametrize("name", [*searches()])
def test_every_property_holds_in_every_state(name: str) -> None:
    sought = SEARCHES[name]()
    assert sought.broken == "", str(sought)
    assert (sought.states, sought.transitions) == STATES_AND_TRANSITIONS[name]


@pytest.mark.no_cover
@LAWFUL_ONCE
def test_every_plan_is_served_within_two_minutes() -> None:
    assert [lawful(name).served_s_max for name in LAWFUL] == [17, 18, 12]


@pytest.mark.parametrize("name", LAWFUL)
@pytest.mark.parametrize(
    ("left_out", "found"),
    [
        ({"green"}, "P2"),
        ({"yellow"}, "P3"),
        ({"intergreen"}, "P4"),
        ({"aspects", "intergreen"}, "P1"),
        ({"turn"}, "P1"),
        ({"start-up"}, "P6"),
        ({"plan_is_commissioned"}, "SR-27"),
        ({"controller_runs_normally"}, "P6"),
        ({"flash_is_rare"}, "flash a second time"),
    ],
)
def test_an_interlock_or_a_rule_left_out_is_found(name: str, left_out: set[str], found: str) -> None:
    sought = LAWFUL[name](frozenset(left_out)).search(name)
    assert sought.broken.startswith(found)
    assert sought.trace


@pytest.mark.no_cover
@LAWFUL_ONCE
@pytest.mark.parametrize("name", LAWFUL)
def test_to_look_at_the_aspects_too_changes_nothing_where_intergreens_are_kept(name: str) -> None:
    """The one interlock that is not found missing: a group that is not red has not been red for its intergreen."""
    complete, thinned = lawful(name), LAWFUL[name](frozenset({"aspects"})).search(name)
    assert (complete.states, complete.transitions) == (thinned.states, thinned.transitions)
    assert not thinned.broken


@pytest.mark.parametrize(
    ("left_out", "found"),
    [
        ("nothing_is_latched", "a plan is approved in spite of the latch"),
        ("reset_is_on_site", "a reset with nobody at the cabinet"),
        ("fault_is_over", "a reset within ten seconds of the fault"),
        ("plan_is_commissioned", "plan 0 is asked of the controller"),
    ],
)
def test_with_lying_lights_a_rule_left_out_is_found(left_out: str, found: str) -> None:
    assert hostile("pedestrian and bus", frozenset({left_out})).broken == found


@pytest.mark.no_cover
def test_a_reset_in_sight_of_the_fault_takes_two_rules_left_out() -> None:
    """Ten seconds without a fault and no fault now: here, where every second brings a sample, the first implies the other."""
    assert hostile("pedestrian and bus", frozenset({"conflict_is_gone"})).broken == ""
    both = hostile("pedestrian and bus", frozenset({"conflict_is_gone", "fault_is_over"})).broken
    assert both.startswith("a reset ")


def test_an_observer_that_confirms_too_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "CONFIRM_MS_MAX", 99)
    assert hostile("pedestrian and bus").broken == "a contradiction seen twice within 200 ms does not ask for flash"


def test_an_observer_that_confirms_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "CONFIRM_MS_MAX", 1_000)
    assert hostile("pedestrian and bus").broken == "flash is asked on one sample"


def test_a_reaction_that_forgets_to_latch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.proof.hostile.react", lambda *_: Reaction(alarm=True))
    assert hostile("pedestrian and bus").broken == "a contradiction does not latch"


def test_the_page_tells_these_counts() -> None:
    told = {cells[0]: cells[1:] for cells in tables(Path("docs/proof.md"))}
    counts = STATES_AND_TRANSITIONS | {
        "together": tuple(sum(each) for each in zip(*STATES_AND_TRANSITIONS.values(), strict=True))
    }
    for name, (states, transitions) in counts.items():
        assert told[name] == [f"{states:,}", f"{transitions:,}"]
