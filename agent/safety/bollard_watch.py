"""The observer of bollards: what their PLC's own report reveals, sample after sample. Pure.

As for junctions, every claim is made for the most favourable history that fits: a reading was true at some moment from
its ``at_ms`` on for ``took_ms``, and between two readings anything may have happened that takes no longer. What takes
long is the warning: whoever began to rise stood down, in order and under a red light for all of ``prewarn_ms_min``
before. Under the local key somebody stands there, and nothing is claimed of motion. Source: docs/safety.md SR-19..24.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from agent.model.command import Command, RaiseBollard
from agent.model.equipment import Bollard, Kind
from agent.model.observation import BollardObserved
from agent.safety.bollard import (
    HEARTBEAT_AGE_MS_MAX,
    REVERSALS_MAX,
    SOON_AFTER,
    BollardState,
    green_is_wrong,
    is_emergency,
)
from agent.safety.observer import Response, Trip
from agent.safety.words import word_of

Said = tuple[str, str, Response]
"""Rule, what was seen, response."""
ALARM, LATCH, LOWER = Response.ALARM, Response.RELEASE_AND_LATCH, Response.LOWER
SOON_MS_MAX = 1_000
"""The least warning anywhere: between samples nearer than that no new rise fits, nor a turn of the key."""
RISING_STATES = frozenset({BollardState.PREWARN, BollardState.RISING, BollardState.REVERSING})


@dataclass(frozen=True, slots=True)
class BollardMemory:
    """What must be remembered between samples. Start with ``BollardMemory()``.

    Args:
        asked: a rise may come: we asked, or its PLC may by itself.
        unready: earliest moment, rule and reason of the newest sample that was no part of a warning.
        up_from_ms, down_from_ms: since when it surely moves that way. hit_at_ms: since when a rise surely is obstructed.
    """

    last: BollardObserved | None = None
    asked: bool | None = None
    unready: tuple[int, str, str] | None = None
    up_from_ms: int | None = None
    down_from_ms: int | None = None
    hit_at_ms: int | None = None


def watch_bollard(
    memory: BollardMemory, seen: BollardObserved, bollard: Bollard
) -> tuple[BollardMemory, tuple[Trip, ...]]:
    """Take in one sample; return what to remember, and every rule it shows broken."""
    assert seen.equipment == bollard.id
    last, latest_ms = memory.last, seen.at_ms + seen.took_ms
    is_soon = last is not None and latest_ms - last.at_ms < SOON_MS_MAX
    asked = _asked(memory, seen, bollard)
    goes_up, goes_down = (moving and not seen.local_key for moving in (seen.moving_up, seen.moving_down))
    up_from_ms = (memory.up_from_ms if is_soon else None) or latest_ms
    hit_at_ms = (memory.hit_at_ms if is_soon else None) or (latest_ms if _obstruction(seen) else None)
    now = replace(
        memory,
        last=seen,
        asked=asked,
        up_from_ms=up_from_ms if goes_up else None,
        down_from_ms=((memory.down_from_ms if is_soon else None) or latest_ms) if goes_down else None,
        hit_at_ms=hit_at_ms if goes_up else None,
        unready=_unready(seen) or memory.unready,
    )
    said = [*_shown(seen), *_lasting(now, seen, bollard)]
    if last is not None and not (seen.local_key or last.local_key):
        if goes_up and not last.moving_up:
            said += _begun(memory, seen, bollard, latest_ms)
        if goes_up and min(last.reversals, seen.reversals) >= REVERSALS_MAX:
            said.append(("SR-21", f"it reversed {seen.reversals} times and rises again", LOWER))
        if is_soon and last.state in SOON_AFTER and seen.state in SOON_AFTER:
            before, after = BollardState(last.state), BollardState(seen.state)
            if after not in SOON_AFTER[before]:
                words = (word_of(BollardState, each) for each in (after, before))
                said.append(("SR-19", f"the PLC says {' right after '.join(words)}", ALARM))
    most = LATCH if is_emergency(seen) else LOWER
    return now, tuple(Trip(rule, bollard.id, why, (), min(how, most), Kind.BOLLARD) for rule, why, how in said)


def commanded(memory: BollardMemory, command: Command, bollard: Bollard) -> BollardMemory:
    """Remember a command before it is sent: its PLC may be quicker than our next look."""
    return replace(memory, asked=True) if isinstance(command, RaiseBollard) or bollard.rises_alone else memory


def _asked(memory: BollardMemory, seen: BollardObserved, bollard: Bollard) -> bool:
    """Whether a rise may come after this sample. A rise under way, or tried again, was asked before we looked."""
    if not seen.mains_ok:
        return False
    if seen.reversals > 0 or is_emergency(seen):
        return True
    if memory.asked is None:
        return bollard.rises_alone or seen.moving_up or seen.state in RISING_STATES
    if seen.at_top or seen.state == BollardState.LOWERING:
        return bollard.rises_alone
    return memory.asked or (bollard.rises_alone and (seen.loop_a or seen.loop_b))


def _obstruction(seen: BollardObserved) -> str:
    for name, hit in (("a loop", seen.loop_a or seen.loop_b), ("the pressure edge", seen.pressure_trip)):
        if hit:
            return f"{name} was hit"
    return "a loop was faulty" if seen.loop_fault else ""


def _unready(seen: BollardObserved) -> tuple[int, str, str] | None:
    """Why a sample is no part of a warning before a rise."""
    if obstruction := _obstruction(seen):
        return seen.at_ms, "SR-23" if is_emergency(seen) else "SR-19", obstruction
    if not seen.mains_ok:
        return seen.at_ms, "SR-19", "mains had failed"
    if seen.moving_down or seen.at_top or not seen.at_bottom:
        return seen.at_ms, "SR-19", "it was not down and at rest"
    return None if seen.red_on else (seen.at_ms, "SR-20", "the red lamp was off")


def _begun(memory: BollardMemory, seen: BollardObserved, bollard: Bollard, latest_ms: int) -> Iterator[Said]:
    """SR-19, SR-20, SR-23: how a rise began that was not there in the sample before."""
    if not (memory.asked or is_emergency(seen) or seen.reversals):
        yield "SR-19", "it rises and nobody asked for it since it was last up, lost mains or was first seen", LOWER
    if memory.unready is None:
        return
    at_ms, rule, why = memory.unready
    if (ms := latest_ms - at_ms) < bollard.prewarn_ms_min:
        yield rule, f"it rises {ms} ms at most after {why}", LATCH if rule == "SR-20" else LOWER


def _lasting(memory: BollardMemory, seen: BollardObserved, bollard: Bollard) -> Iterator[Said]:
    """SR-20, SR-22: what lasts too long."""
    hit_ms, up_ms, down_ms = (
        0 if from_ms is None else seen.at_ms - from_ms
        for from_ms in (memory.hit_at_ms, memory.up_from_ms, memory.down_from_ms)
    )
    if hit_ms > bollard.reverse_ms_max:
        yield "SR-20", f"it goes on rising for {hit_ms} ms at least after a loop or the pressure edge was hit", LOWER
    if up_ms > bollard.travel_ms_max:
        yield "SR-22", f"it moves up for {up_ms} ms at least, longest {bollard.travel_ms_max} ms", LOWER
    if down_ms > bollard.travel_ms_max:
        yield "SR-22", f"stuck: it moves down for {down_ms} ms at least, longest {bollard.travel_ms_max} ms", LATCH


def _shown(seen: BollardObserved) -> Iterator[Said]:
    """What one sample may never show. Its bits come together; the state register does not."""
    if green_is_wrong(seen):
        where = "moving up" if seen.moving_up else "at the upper limit" if seen.at_top else "not at the lower limit"
        yield "SR-24", f"the green lamp is on and the bollard is {where}", LATCH
    if seen.at_top and seen.at_bottom:
        yield "SR-19", "position unknown: both limit switches are on", ALARM
    if seen.moving_up and not seen.red_on and not seen.local_key:
        yield "SR-20", "it moves up and the red lamp is off", LATCH
    if seen.state == BollardState.FAULT_STUCK:
        yield "SR-22", "the PLC says that it is stuck on its way down", LATCH
    if is_emergency(seen):
        yield "SR-23", "the emergency raise (EFO) is on", ALARM
    beat_at_ms, moves = seen.heartbeat_at_ms, seen.moving_up or seen.moving_down
    if moves and beat_at_ms is not None and (age_ms := seen.at_ms - beat_at_ms) > HEARTBEAT_AGE_MS_MAX:
        why = f"sensor fault: it is said to move, and the PLC's heartbeat stands still since {age_ms} ms"
        yield "SR-19", why, LOWER if seen.moving_up else ALARM
