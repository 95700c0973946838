"""Rules for retractable bollards. Pure: facts in, verdict out.

Raising is the dangerous verb; lowering is the safe direction. The PLC keeps its own interlocks; we refuse first.
Source: docs/safety.md SR-19, 21, 23, 24; makers' manuals forbid rising while a loop is occupied.
"""

from collections.abc import Mapping
from enum import IntEnum

from agent.model.command import LowerBollard, RaiseBollard
from agent.model.equipment import Bollard
from agent.model.observation import BollardObserved
from agent.safety.case import Case
from agent.safety.verdict import Refused
from agent.safety.words import word_of

Raise = Case[RaiseBollard, Bollard]

LOOPS_FREE_MS_MIN = 2_000
"""Least time both loops must be seen free, whatever the site says."""
RAISE_AGE_MS_MAX = 1_000
"""A car drives onto a loop in a second: raising needs a newer reading than other commands. Ours."""
HEARTBEAT_AGE_MS_MAX = 3_000
"""The PLC counts once a second; three missing counts mean its other registers cannot be believed. Ours."""
REVERSALS_MAX = 3


class BollardState(IntEnum):
    """Input register 0 of the bollard profile."""

    DOWN = 0
    PREWARN = 1
    RISING = 2
    UP = 3
    LOWERING = 4
    REVERSING = 5
    HELD_DOWN = 6
    FAULT_DOWN = 7
    FAULT_STUCK = 8
    EFO = 9
    LOCAL = 10
    POWERFAIL = 11


_S = BollardState
_RESUMED = frozenset({_S.DOWN, _S.HELD_DOWN, _S.UP, _S.LOWERING, _S.FAULT_DOWN})
FOLLOWS: Mapping[BollardState, frozenset[BollardState]] = {
    state: frozenset({*after, _S.LOCAL, _S.POWERFAIL})
    for state, after in {
        _S.DOWN: {_S.PREWARN, _S.HELD_DOWN, _S.EFO, _S.FAULT_DOWN},
        _S.PREWARN: {_S.RISING, _S.DOWN, _S.HELD_DOWN, _S.FAULT_DOWN},
        _S.RISING: {_S.UP, _S.REVERSING, _S.LOWERING, _S.FAULT_DOWN},
        _S.UP: {_S.LOWERING},
        _S.LOWERING: {_S.DOWN, _S.HELD_DOWN, _S.FAULT_DOWN, _S.FAULT_STUCK},
        _S.REVERSING: {_S.DOWN, _S.HELD_DOWN, _S.LOWERING, _S.FAULT_DOWN, _S.FAULT_STUCK},
        _S.HELD_DOWN: {_S.DOWN, _S.FAULT_DOWN},
        _S.FAULT_DOWN: set[BollardState](),
        _S.FAULT_STUCK: {_S.LOWERING, _S.FAULT_DOWN},
        _S.EFO: {_S.UP, _S.REVERSING, _S.LOWERING, _S.FAULT_DOWN},
        _S.LOCAL: _RESUMED,
        _S.POWERFAIL: _RESUMED,
    }.items()
}
"""Which state may follow which in the PLC's report. Key and mains take over in every state; neither ends in a rise."""
LASTING = frozenset({_S.PREWARN, _S.LOCAL, _S.POWERFAIL})
"""States that take a second: what follows them is not seen a second after what came before them."""


def _soon_after(state: BollardState) -> frozenset[BollardState]:
    found, fresh = {state}, set(FOLLOWS[state])
    while fresh:  # Bounded: each round finds a new state.
        found |= fresh
        fresh = {after for each in fresh - LASTING for after in FOLLOWS[each]} - found - {_S.UP}
    return frozenset(found)


SOON_AFTER: Mapping[BollardState, frozenset[BollardState]] = {state: _soon_after(state) for state in BollardState}
"""What may be seen within a second after a state, whatever was missed in between; no way up takes less."""


def reading_is_from_now(case: Raise, seen: BollardObserved) -> Refused | None:
    """SR-19: what is on the loops must be known as of now."""
    age_ms = case.now_ms - seen.at_ms
    if age_ms <= RAISE_AGE_MS_MAX:
        return None
    return Refused("SR-19", f"the bollard was last read {age_ms} ms ago; raising needs {RAISE_AGE_MS_MAX} ms at most")


def plc_is_alive(case: Raise, seen: BollardObserved) -> Refused | None:
    """SR-19: a PLC that answers and does not count any more shows frozen inputs."""
    beat_at_ms = seen.heartbeat_at_ms
    if beat_at_ms is None:
        return Refused("SR-19", "the PLC's heartbeat has not been seen to change yet")
    age_ms = case.now_ms - beat_at_ms
    if 0 <= age_ms <= HEARTBEAT_AGE_MS_MAX:
        return None
    return Refused("SR-19", f"the PLC's heartbeat stands still since {age_ms} ms")


def position_is_down(_case: Raise, seen: BollardObserved) -> Refused | None:
    """SR-19: raising starts from fully down and at rest, and from nowhere else."""
    if seen.at_bottom and seen.at_top:
        return Refused("SR-19", "position unknown: both limit switches are on")
    if seen.moving_up or seen.moving_down:
        return Refused("SR-19", f"the bollard is moving {'up' if seen.moving_up else 'down'}")
    if not seen.at_bottom:
        return Refused("SR-19", "the bollard is up" if seen.at_top else "position unknown: neither limit switch is on")
    if seen.state != BollardState.DOWN:
        return Refused("SR-19", f"the PLC says {word_of(BollardState, seen.state)}, not down")
    return None


def nothing_is_wrong(_case: Raise, seen: BollardObserved) -> Refused | None:
    """SR-19: mains, loops, pressure edge and PLC must be in order."""
    if not seen.mains_ok:
        return Refused("SR-19", "mains has failed")
    if seen.fault_latched:
        return Refused("SR-19", "the PLC has latched a fault")
    if seen.pressure_trip:
        return Refused("SR-19", "the pressure switch is tripped")
    if seen.local_key:
        return Refused("SR-19", "the local key is turned at the bollard")
    if seen.reversals >= REVERSALS_MAX:
        return Refused("SR-21", f"it reversed {seen.reversals} times; lower it first")
    return None


def is_emergency(seen: BollardObserved) -> bool:
    """Whether the emergency raise (EFO) is on: by its own bit, or where there is none by the PLC's state."""
    return seen.state == BollardState.EFO if seen.efo_active is None else seen.efo_active


def no_emergency(_case: Case[RaiseBollard | LowerBollard, Bollard], seen: BollardObserved) -> Refused | None:
    """SR-23: whoever holds the emergency switch sees the street; no message ends or hastens what they do."""
    if is_emergency(seen) or seen.state == BollardState.EFO:
        return Refused("SR-23", "the emergency raise (EFO) is on: only its own switch at the bollard ends it")
    return None


def loops_are_free(case: Raise, seen: BollardObserved) -> Refused | None:
    """SR-19: both loops free, and for long enough."""
    for name, occupied in (("A", seen.loop_a), ("B", seen.loop_b)):
        if occupied:
            return Refused("SR-19", f"loop {name} is occupied")
    if seen.loop_fault:
        return Refused("SR-19", "a loop is faulty")
    if seen.loops_free_since_ms is None:
        return Refused("SR-19", "it is not known since when the loops are free")
    free_ms, least_ms = seen.at_ms - seen.loops_free_since_ms, max(case.equipment.loops_free_ms_min, LOOPS_FREE_MS_MIN)
    if free_ms < least_ms:
        return Refused("SR-19", f"the loops are free since {free_ms} ms; raising needs {least_ms} ms")
    return None


def key_is_not_local(_case: Case[LowerBollard, Bollard], seen: BollardObserved) -> Refused | None:
    """SR-29: under the local key only the key moves the bollard, not even down."""
    if seen.local_key or seen.state == BollardState.LOCAL:
        return Refused("SR-29", "the local key is turned at the bollard: only the key moves it")
    return None


def green_is_wrong(seen: BollardObserved) -> bool:
    """SR-24: the green lamp is on and the bollard is not fully down.

    Lamps, limits and motion come in one reading; the state register does not, so it is not consulted. Moving down
    onto the lower limit is not wrong: both bits may stand for one scan of the PLC.
    """
    return seen.green_on and (not seen.at_bottom or seen.at_top or seen.moving_up)
