"""SR-19, SR-29: raising is the dangerous verb, lowering the safe direction."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.observation import BollardObserved
from agent.safety.bollard import BollardState
from agent.safety.kernel import judge
from agent.safety.standing import Standing
from agent.safety.verdict import Approved, Refused
from simulators.bollard import State
from tests.safety.facts import BOLLARD, LOWER, NOW_MS, RAISE, SEEN_BOLLARD, SITE, TECHNICIAN, B, by


def raising(now_ms: int = NOW_MS, **seen: Any) -> Approved[Any] | Refused:
    return judge(RAISE, SITE, replace(SEEN_BOLLARD, **seen), Standing(), now_ms)


WHY_NOT = [
    ({"loop_a": True}, "loop A is occupied"),
    ({"loop_b": True}, "loop B is occupied"),
    ({"loop_a": True, "loop_b": True}, "loop A is occupied"),
    ({"loops_free_since_ms": None}, "it is not known since when the loops are free"),
    ({"loops_free_since_ms": NOW_MS - 3_999}, "the loops are free since 3999 ms; raising needs 4000 ms"),
    ({"loop_fault": True}, "a loop is faulty"),
    ({"pressure_trip": True}, "the pressure switch is tripped"),
    ({"local_key": True}, "the local key is turned at the bollard"),
    ({"mains_ok": False}, "mains has failed"),
    ({"fault_latched": True}, "the PLC has latched a fault"),
    ({"reversals": 3}, "it reversed 3 times; lower it first"),
    ({"reversals": 4}, "it reversed 4 times; lower it first"),
    ({"at_top": True}, "position unknown: both limit switches are on"),
    ({"at_bottom": False}, "position unknown: neither limit switch is on"),
    ({"at_bottom": False, "at_top": True}, "the bollard is up"),
    ({"moving_up": True}, "the bollard is moving up"),
    ({"moving_down": True}, "the bollard is moving down"),
    ({"state": 6}, "the PLC says held-down, not down"),
    ({"state": 11}, "the PLC says powerfail, not down"),
    ({"state": 12}, "the PLC says unknown state 12, not down"),
    ({"state": -1}, "the PLC says unknown state -1, not down"),
    ({"heartbeat_at_ms": None}, "the PLC's heartbeat has not been seen to change yet"),
    ({"heartbeat_at_ms": NOW_MS - 3_001}, "the PLC's heartbeat stands still since 3001 ms"),
    ({"heartbeat_at_ms": NOW_MS + 1}, "the PLC's heartbeat stands still since -1 ms"),
    ({"at_ms": NOW_MS - 1_001}, "the bollard was last read 1001 ms ago; raising needs 1000 ms at most"),
]


@pytest.mark.parametrize(("seen", "reason"), WHY_NOT, ids=str)
def test_sr_19_raising_is_refused_with_what_was_seen(seen: dict[str, Any], reason: str) -> None:
    assert raising(**seen) == Refused("SR-21" if "reversed" in reason else "SR-19", reason)


@pytest.mark.parametrize(
    "seen",
    [
        {"reversals": 2},
        {"loops_free_since_ms": NOW_MS - 4_000},
        {"heartbeat_at_ms": NOW_MS - 3_000},
        {"heartbeat_at_ms": NOW_MS},
        {"at_ms": NOW_MS - 1_000},
        {"green_on": False, "red_on": True},
        {"door_open": True},
    ],
    ids=str,
)
def test_sr_19_raising_is_approved_up_to_each_limit(seen: dict[str, Any]) -> None:
    assert isinstance(raising(**seen), Approved)


@pytest.mark.parametrize(("free_ms", "passes"), [(1_999, False), (2_000, True)])
def test_sr_19_two_seconds_of_free_loops_are_the_least_anywhere(free_ms: int, passes: bool) -> None:
    hasty = replace(SITE, equipment={B: replace(BOLLARD, loops_free_ms_min=500)})
    seen = replace(SEEN_BOLLARD, loops_free_since_ms=NOW_MS - free_ms)
    assert isinstance(judge(RAISE, hasty, seen, Standing(), NOW_MS), Approved) is passes


def test_sr_19_the_time_loops_are_free_is_what_was_seen_not_what_passed_since() -> None:
    assert raising(at_ms=NOW_MS - 600, loops_free_since_ms=NOW_MS - 4_500) == Refused(
        "SR-19", "the loops are free since 3900 ms; raising needs 4000 ms"
    )


bollards = st.builds(
    BollardObserved,
    equipment=st.just(B),
    at_ms=st.integers(NOW_MS - 1_500, NOW_MS),
    state=st.sampled_from([0, 0, 0, 3, 6]),
    **{
        name: st.sampled_from([usual, usual, usual, not usual])
        for name, usual in {
            "at_top": False,
            "at_bottom": True,
            "moving_up": False,
            "moving_down": False,
            "loop_a": False,
            "loop_b": False,
            "loop_fault": False,
            "pressure_trip": False,
            "local_key": False,
            "mains_ok": True,
            "door_open": False,
            "fault_latched": False,
            "red_on": False,
            "green_on": True,
        }.items()
    },
    reversals=st.integers(0, 4),
    position_percent=st.just(0),
    loops_free_since_ms=st.none() | st.integers(NOW_MS - 8_000, NOW_MS),
    heartbeat_at_ms=st.none() | st.integers(NOW_MS - 5_000, NOW_MS),
)


@given(seen=bollards)
def test_sr_19_an_approved_raise_had_nothing_against_it(seen: BollardObserved) -> None:
    if isinstance(judge(RAISE, SITE, seen, Standing(), NOW_MS), Approved):
        assert (seen.at_bottom, seen.at_top, seen.moving_up, seen.moving_down, seen.state) == (
            True,
            False,
            False,
            False,
            0,
        )
        assert not any((seen.loop_a, seen.loop_b, seen.loop_fault, seen.pressure_trip, seen.local_key))
        assert seen.mains_ok
        assert not seen.fault_latched
        assert seen.reversals < 3
        assert seen.loops_free_since_ms is not None
        assert seen.at_ms - seen.loops_free_since_ms >= 4_000
        assert seen.heartbeat_at_ms is not None
        assert NOW_MS - seen.heartbeat_at_ms <= 3_000
        assert NOW_MS - seen.at_ms <= 1_000


@given(seen=bollards)
def test_sr_29_only_the_local_key_keeps_a_bollard_from_being_lowered(seen: BollardObserved) -> None:
    for command in (LOWER, by(TECHNICIAN, LOWER)):
        result = judge(command, SITE, seen, Standing(), NOW_MS)
        assert isinstance(result, Approved) is not seen.local_key


@pytest.mark.parametrize("seen", [{"local_key": True}, {"state": 10}], ids=str)
def test_sr_29_says_that_the_key_is_turned(seen: dict[str, Any]) -> None:
    assert judge(LOWER, SITE, replace(SEEN_BOLLARD, **seen), Standing(), NOW_MS) == Refused(
        "SR-29", "the local key is turned at the bollard: only the key moves it"
    )


@pytest.mark.parametrize("seen", [{"state": 9}, {"efo_active": True}, {"state": 9, "efo_active": False}], ids=str)
def test_sr_23_no_message_ends_or_hastens_an_emergency_raise(seen: dict[str, Any]) -> None:
    refused = Refused("SR-23", "the emergency raise (EFO) is on: only its own switch at the bollard ends it")
    assert raising(**seen) == refused
    assert judge(LOWER, SITE, replace(SEEN_BOLLARD, **seen), Standing(), NOW_MS) == refused


def test_a_bollard_without_mains_may_be_lowered_and_not_raised() -> None:
    seen = {"state": 11, "mains_ok": False}
    assert isinstance(judge(LOWER, SITE, replace(SEEN_BOLLARD, **seen), Standing(), NOW_MS), Approved)  # type: ignore[arg-type]
    assert raising(**seen) == Refused("SR-19", "mains has failed")


def test_the_states_are_those_of_the_plc() -> None:
    assert {state.name: state.value for state in BollardState} == {state.name: state.value for state in State}
