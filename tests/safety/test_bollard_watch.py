"""SR-19 to SR-24 as observed: what the report of a bollard's PLC reveals, to the millisecond, and what it never does."""

from dataclasses import replace
from typing import Any

import pytest

from agent.model.equipment import Bollard
from agent.model.observation import BollardObserved
from agent.safety.bollard import FOLLOWS, SOON_AFTER, BollardState
from agent.safety.bollard_watch import BollardMemory, commanded, watch_bollard
from agent.safety.observer import Response, Trip
from tests.safety.facts import BOLLARD, RAISE, SEEN_BOLLARD
from tests.safety.facts import LOWER as LOWER_IT

START_MS = 70_000  # A clock does not start with the story.
ALARM, LATCH, LOWER = Response.ALARM, Response.RELEASE_AND_LATCH, Response.LOWER
DOWN = {"state": 0}
RED = {"red_on": True, "green_on": False}
WARNS = {"state": 1, **RED}
RISES = {"state": 2, **RED, "moving_up": True, "at_bottom": False}
UP = {"state": 3, **RED, "at_top": True, "at_bottom": False}
FALLS = {"state": 4, **RED, "moving_down": True, "at_bottom": False}
EFO = {"state": 9, **RED, "efo_active": True}
EFO_RISES = {**RISES, "state": 9, "efo_active": True}
LOOP = {"loop_a": True}


def sample(at_ms: int, seen: dict[str, Any]) -> BollardObserved:
    beats = {"heartbeat_at_ms": START_MS + at_ms} | seen
    return replace(SEEN_BOLLARD, at_ms=START_MS + at_ms, **beats)


def trips(*samples: Any, asked: bool | None = True, bollard: Bollard = BOLLARD) -> list[Trip]:
    """What is said of ``(at_ms, seen)``, in order."""
    memory, said = BollardMemory(asked=asked), []
    for at_ms, seen in samples:
        memory, new = watch_bollard(memory, sample(at_ms, seen), bollard)
        said += new
    return said


def told(*samples: Any, **how: Any) -> list[tuple[str, str, Response]]:
    return [(trip.rule, trip.reason, trip.response) for trip in trips(*samples, **how)]


def test_a_rise_after_its_warning_is_lawful() -> None:
    assert (
        told((0, DOWN), (100, WARNS), (1_100, RISES), (3_000, RISES), (4_000, UP), (9_000, FALLS), (12_000, DOWN)) == []
    )


@pytest.mark.parametrize(
    ("before", "rule", "why", "response"),
    [
        ({**WARNS, **LOOP}, "SR-19", "a loop was hit", LOWER),
        ({**WARNS, "loop_b": True}, "SR-19", "a loop was hit", LOWER),
        ({**WARNS, "loop_fault": True}, "SR-19", "a loop was faulty", LOWER),
        ({**WARNS, "pressure_trip": True}, "SR-19", "the pressure edge was hit", LOWER),
        ({**WARNS, "mains_ok": False}, "SR-19", "mains had failed", LOWER),
        ({**FALLS, "state": 1}, "SR-19", "it was not down and at rest", LOWER),
        ({**UP, "state": 1}, "SR-19", "it was not down and at rest", LOWER),
        ({**WARNS, "moving_down": True}, "SR-19", "it was not down and at rest", LOWER),
        ({**WARNS, "at_top": True}, "SR-19", "it was not down and at rest", LOWER),
        ({**WARNS, "at_bottom": False}, "SR-19", "it was not down and at rest", LOWER),
        ({**WARNS, "red_on": False}, "SR-20", "the red lamp was off", LATCH),
        ({**EFO, **LOOP, "state": 1}, "SR-23", "a loop was hit", LOWER),
    ],
    ids=str,
)
def test_sr_19_a_rise_begins_from_down_with_free_loops_and_after_a_whole_warning(
    before: dict[str, Any], rule: str, why: str, response: Response
) -> None:
    def rules(began_ms: int, took_ms: int = 0) -> list[tuple[str, str, Response]]:
        story = ((0, before), (100, WARNS), (began_ms, {**RISES, "took_ms": took_ms}))
        # An alarm of the one sample itself, and what follows from failed mains, are not what is asked here.
        return [each for each in told(*story) if "rises" in each[1] and "asked" not in each[1]]

    assert rules(999) == [(rule, f"it rises 999 ms at most after {why}", response)]
    assert rules(1_000) == []
    assert rules(998, took_ms=1) == [(rule, f"it rises 999 ms at most after {why}", response)]
    assert rules(999, took_ms=1) == []


def test_what_the_key_did_is_nobodys_fault() -> None:
    assert told((0, {**UP, "local_key": True}), (100, RISES)) == []
    assert told((0, UP), (100, {**RISES, "local_key": True})) == []
    assert told((0, {**DOWN, **RED, "local_key": True}), (100, {**RED, "state": 2})) == []


def test_sr_24_green_is_wrong_where_the_position_is_unknown() -> None:
    assert told((0, {"at_top": True})) == [
        ("SR-24", "the green lamp is on and the bollard is at the upper limit", LATCH),
        ("SR-19", "position unknown: both limit switches are on", ALARM),
    ]


def test_sr_20_the_commissioned_warning_counts() -> None:
    slow = replace(BOLLARD, prewarn_ms_min=2_500)
    story = ((0, DOWN), (100, WARNS), (2_499, RISES))
    assert [(trip.rule, trip.response) for trip in trips(*story, bollard=slow)] == [("SR-20", LATCH)]
    assert trips(*story[:2], (2_500, RISES), bollard=slow) == []


def test_sr_20_it_never_moves_up_while_the_red_lamp_is_off() -> None:
    dark = {**RISES, "red_on": False}
    assert told((0, dark)) == [("SR-20", "it moves up and the red lamp is off", LATCH)]
    assert told((0, {**dark, "local_key": True})) == []
    assert told((0, {**FALLS, "red_on": False})) == []


def test_sr_20_an_obstructed_rise_turns_back_in_the_commissioned_time() -> None:
    hit, over = {**RISES, **LOOP}, "it goes on rising for {} ms at least after a loop or the pressure edge was hit"
    before = ((0, WARNS), (1_000, RISES))
    assert told(*before, (1_100, hit), (1_600, hit)) == []
    assert told(*before, (1_100, hit), (1_601, hit)) == [("SR-20", over.format(501), LOWER)]
    assert told(*before, (1_100, hit), (1_601, RISES)) == [("SR-20", over.format(501), LOWER)]
    assert told(*before, (1_100, {**hit, "took_ms": 1}), (1_601, hit)) == []
    assert told(*before, (1_100, {**RISES, "pressure_trip": True}), (1_601, RISES)) == [
        ("SR-20", over.format(501), LOWER)
    ]
    assert told(*before, (1_100, hit), (1_300, FALLS), (1_601, FALLS)) == []
    assert told(*before, (1_100, hit), (2_100, hit)) == []  # A whole warning fits in between.
    assert told(*before, (1_100, {**hit, "local_key": True}), (1_601, {**hit, "local_key": True})) == []


def test_sr_21_after_three_reversals_it_stays_down() -> None:
    tries = [{**RISES, "reversals": n} for n in (2, 3)]
    assert told((0, tries[0]), (100, tries[0])) == []
    assert told((0, tries[0]), (100, tries[1])) == []  # Bits and count are read one after the other.
    assert told((0, tries[1]), (100, tries[0])) == []
    assert told((0, {**WARNS, "reversals": 3}), (100, tries[1])) == [
        ("SR-21", "it reversed 3 times and rises again", LOWER)
    ]
    assert told((0, tries[1]), (100, {**tries[1], "local_key": True})) == []
    assert told(*((at_ms, {**RED, "state": 6, "reversals": 3}) for at_ms in (0, 100))) == []


@pytest.mark.parametrize(
    ("moves", "why", "response"),
    [
        (RISES, "it moves up for {} ms at least, longest 15000 ms", LOWER),
        (FALLS, "stuck: it moves down for {} ms at least, longest 15000 ms", LATCH),
    ],
)
def test_sr_22_a_travel_ends_in_the_commissioned_time(moves: dict[str, Any], why: str, response: Response) -> None:
    def moving(until_ms: int, took_ms: int = 0, step_ms: int = 999) -> list[tuple[str, str, Response]]:
        times = [*range(0, until_ms, step_ms), until_ms]
        return told(*((at_ms, {**moves, "took_ms": took_ms if at_ms == 0 else 0}) for at_ms in times))

    assert moving(15_000) == []
    assert moving(15_001) == [("SR-22", why.format(15_001), response)]
    assert moving(15_001, took_ms=1) == []
    assert moving(30_000, step_ms=1_000) == []  # It may have come to rest and warned in between.


def test_sr_22_a_bollard_that_is_stuck_is_told_at_once() -> None:
    assert told((0, {**FALLS, "state": 8})) == [("SR-22", "the PLC says that it is stuck on its way down", LATCH)]


@pytest.mark.parametrize("seen", [EFO, {**EFO, "state": 0}, {**EFO, "efo_active": None}], ids=str)
def test_sr_23_an_emergency_raise_is_always_an_alarm(seen: dict[str, Any]) -> None:
    assert told((0, seen)) == [("SR-23", "the emergency raise (EFO) is on", ALARM)]
    assert told((0, {**EFO, "efo_active": False})) == []  # The bit counts where there is one.


def test_sr_23_interlocks_persist_in_an_emergency_and_its_switch_alone_ends_it() -> None:
    said = told((0, {**EFO, **LOOP}), (100, {**EFO_RISES, **LOOP}), (700, {**EFO_RISES, **LOOP}))
    assert [(rule, response) for rule, _, response in said if response is not ALARM] == [
        ("SR-23", LATCH),
        ("SR-20", LATCH),
    ]


UNASKED = ("SR-19", "it rises and nobody asked for it since it was last up, lost mains or was first seen", LOWER)
RISE = ((5_000, WARNS), (6_000, RISES))


def test_sr_19_nothing_rises_on_our_restart_or_when_mains_return() -> None:
    assert told((0, DOWN), *RISE, asked=None) == [UNASKED]
    assert told((0, DOWN), *RISE, asked=True) == []
    assert told((0, DOWN), (1_000, {"mains_ok": False, "state": 11, "green_on": False}), *RISE) == [UNASKED]
    assert told((0, UP), (1_000, FALLS), (4_000, DOWN), *RISE) == [UNASKED]
    assert told((0, FALLS), (4_000, DOWN), *RISE) == [UNASKED]
    assert told((0, DOWN), (5_000, EFO), (6_000, EFO_RISES), asked=None)[-1][0] == "SR-23"
    assert told((0, UP), *RISE) == [UNASKED]  # Whatever happened in between, it was up.
    under_way = (WARNS, {"moving_up": True}, {"state": 2, **RED}, {"state": 5, **RED}, {"reversals": 1}, EFO)
    for first in under_way:  # Asked before we looked.
        assert UNASKED not in told((0, first), (1_000, DOWN), *RISE, asked=None)
    for last in (EFO_RISES, {**RISES, "reversals": 1}):  # The switch, or a second try of what was asked.
        assert "nobody asked" not in str(told((0, DOWN), (5_000, last), asked=None))
        assert UNASKED not in told((0, last), (2_000, DOWN), *RISE, asked=False)


def test_sr_19_a_command_is_remembered_before_it_is_sent() -> None:
    alone = replace(BOLLARD, rises_alone=True)
    for bollard, command, asked in ((BOLLARD, RAISE, True), (BOLLARD, LOWER_IT, False), (alone, LOWER_IT, True)):
        assert commanded(BollardMemory(asked=False), command, bollard).asked is asked


def test_sr_19_a_bollard_that_rises_alone_does_not_do_so_when_mains_return() -> None:
    alone = replace(BOLLARD, rises_alone=True)
    cut = (1_000, {"mains_ok": False, "state": 11, "green_on": False})
    assert told((0, DOWN), *RISE, asked=None, bollard=alone) == []
    assert told((0, UP), (1_000, FALLS), (4_000, DOWN), *RISE, bollard=alone) == []
    assert told((0, DOWN), cut, (2_000, DOWN), *RISE, bollard=alone) == [UNASKED]
    for passage in (LOOP, {"loop_b": True}):  # Somebody passed.
        assert told((0, DOWN), cut, (2_000, passage), *RISE, bollard=alone) == []
    assert told((0, DOWN), cut, (2_000, LOOP), *RISE) == [UNASKED]


def test_sr_19_a_moving_bollard_with_a_silent_heartbeat_is_a_sensor_fault() -> None:
    why = "sensor fault: it is said to move, and the PLC's heartbeat stands still since {} ms"
    still = {"heartbeat_at_ms": START_MS}
    assert told((3_000, {**RISES, **still})) == []
    assert told((3_001, {**RISES, **still})) == [("SR-19", why.format(3_001), LOWER)]
    assert told((3_001, {**FALLS, **still})) == [("SR-19", why.format(3_001), ALARM)]
    assert told((9_000, {**UP, **still})) == []
    assert told((9_000, {**RISES, "heartbeat_at_ms": None})) == []


def test_sr_19_the_plcs_report_follows_its_own_order() -> None:
    said = ("SR-19", "the PLC says rising right after down", ALARM)
    assert told((0, {**DOWN, **RED}), (999, {**RED, "state": 2})) == [said]
    assert told((0, {**DOWN, **RED}), (1_000, {**RED, "state": 2})) == []
    assert told((0, {**DOWN, **RED}), (999, {**RED, "state": 12})) == []
    assert told((0, {**RED, "state": 12}), (999, {**RED, "state": 2})) == []
    assert told((0, {**DOWN, **RED}), (999, {**RED, "state": 2, "local_key": True})) == []
    assert told((0, {**DOWN, **RED}), (500, {**RED, "state": 2, "took_ms": 499})) == [said]


RESUMED = "DOWN UP LOWERING HELD_DOWN FAULT_DOWN"
FOLLOWING = {
    "DOWN": "PREWARN HELD_DOWN FAULT_DOWN EFO",
    "PREWARN": "DOWN RISING HELD_DOWN FAULT_DOWN",
    "RISING": "UP LOWERING REVERSING FAULT_DOWN",
    "UP": "LOWERING",
    "LOWERING": "DOWN HELD_DOWN FAULT_DOWN FAULT_STUCK",
    "REVERSING": "DOWN LOWERING HELD_DOWN FAULT_DOWN FAULT_STUCK",
    "HELD_DOWN": "DOWN FAULT_DOWN",
    "FAULT_DOWN": "",
    "FAULT_STUCK": "LOWERING FAULT_DOWN",
    "EFO": "UP LOWERING REVERSING FAULT_DOWN",
    "LOCAL": RESUMED,
    "POWERFAIL": RESUMED,
}
NEVER_WITHIN_A_SECOND = {
    "DOWN": "RISING UP",
    "PREWARN": "UP",
    "RISING": "",
    "UP": "RISING",
    "LOWERING": "RISING UP",
    "REVERSING": "RISING UP",
    "HELD_DOWN": "RISING UP",
    "FAULT_DOWN": "DOWN PREWARN RISING UP LOWERING REVERSING HELD_DOWN FAULT_STUCK EFO",
    "FAULT_STUCK": "RISING UP",
    "EFO": "RISING",
    "LOCAL": "RISING",
    "POWERFAIL": "RISING",
}


def test_the_table_of_states_is_what_the_plcs_specification_says() -> None:
    assert {before.name: {after.name for after in follows} for before, follows in FOLLOWS.items()} == {
        name: {*after.split(), "LOCAL", "POWERFAIL"} for name, after in FOLLOWING.items()
    }
    assert {name: {each.name for each in set(BollardState) - SOON_AFTER[BollardState[name]]} for name in FOLLOWING} == {
        name: set(never.split()) for name, never in NEVER_WITHIN_A_SECOND.items()
    }
