"""The observer: an auditor of what the signals show, and what it does when a rule is broken. Pure.

One sample is one moment of the controller's truth, so every claim is made for the *most favourable* history that fits
the samples: an aspect may have begun right after the last sample without it and ended right before the first sample
without it. A violation is reported only if even that history breaks the rule; polling can miss one, never invent one.
It is an auditor, not a conflict monitor. Source: docs/safety.md SR-02 to 07, 12, 16, 26.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum

from agent.model.command import LOCAL_PLAN, LowerBollard, ReleaseJunction, RequestFlash
from agent.model.equipment import Junction, Kind, SignalGroup
from agent.model.identity import EquipmentId, SignalGroupNumber
from agent.model.observation import JunctionObserved
from agent.safety.junction import JUNCTION_LEASE_MS_MAX, configuration_words
from agent.safety.latch import Latch
from agent.safety.matrix import FLASH_NONE, Matrix, channel_numbers, listed
from agent.safety.spell import NO_SPELL, Moments, Spell
from agent.safety.standing import Standing
from agent.safety.verdict import _SEAL, Approved

CONFIRM_MS_MAX = 200
"""A second contradicting sample within this time confirms the first (SR-02)."""
GAP_MS_MAX = 2_500
"""After this long without a sample the controller may have restarted or flashed: nothing from before counts.

Shorter than any yellow, and than any flash with its start-up, so that none can hide between two samples.
"""
START_UP_MS_MIN = 3_000
"""Leaving flash shows yellow first, at least as long as the least yellow (SR-12)."""
FLASHING = frozenset({3, 4, 5, 6, 8})
"""unitFlashStatus in which the lamps surely flash; 7 (start-up) may already be the sequence out of it, 1 is anything."""


DARK_MS_MAX = 800
"""A channel that shows nothing for that long has lost its red: what makers' monitors call red fail (SR-03)."""
RED_YELLOW_MS_MAX = 300
"""Relays and lamps overlap for less; monitors allow two colours at once for 300 ms at least (SR-26)."""
LIT_MS_MIN = 300
"""A monitor forgets a dark spell after that long a light: samples further apart may hide one (SR-03, SR-26)."""
GREEN_MS_MIN = 1_000
"""No site file allows a shorter green: samples further apart may hide one (SR-07)."""
CALLS_AGE_MS_MAX = 25_000
"""Calls are asked for every 10 s; older ones are nobody's (SR-07)."""


class Response(IntEnum):
    """How a trip is answered; further down includes what is above."""

    ALARM = 0
    """Record it and tell people."""
    RELEASE_AND_LATCH = 1
    """Give control back, latch, observe only until a reset on site."""
    FLASH = 2
    """Also ask the controller for flash, once per latch."""
    LOWER = 3
    """Of a bollard: release and latch, and ask its PLC once to lower."""


@dataclass(frozen=True, slots=True)
class Trip:
    """The observer saw a rule broken.

    Args:
        reason: what was seen.
        groups: the signal groups involved; empty for a bollard.
    """

    rule: str
    equipment: EquipmentId
    reason: str
    groups: tuple[SignalGroupNumber, ...]
    response: Response
    kind: Kind = Kind.JUNCTION

    @property
    def confirmed(self) -> bool:
        """Whether a second sample showed it too."""
        return self.response is Response.FLASH


@dataclass(frozen=True, slots=True)
class JunctionMemory:
    """What must be remembered between samples. Start with ``JunctionMemory()``.

    Args:
        green_from, yellow_from: the last moment the group surely did not show it, before it began to.
        green_until: the last moment the group surely was green, before it ended.
        flash_until_ms: the last moment the controller surely flashed.
        conflict_at_ms: when the newest contradicting sample arrived; ``confirmed`` if it was not the first.
        dark, mixed, waiting: groups that show nothing, red with yellow, or red although somebody asks for them.
        configuration: the controller's fingerprint as last seen, in a tuple; None before the first sample.
    """

    matrix: Matrix | None = None
    last: JunctionObserved | None = None
    green_from: Moments = ()
    yellow_from: Moments = ()
    green_until: Moments = ()
    flash_until_ms: int | None = None
    conflict_at_ms: int | None = None
    confirmed: bool = False
    dark: Spell = NO_SPELL
    mixed: Spell = NO_SPELL
    waiting: Spell = NO_SPELL
    configuration: tuple[int | None] | None = None

    @property
    def fault_at_ms(self) -> int | None:
        """When a fault was last there that may last, however seldom it is told."""
        lasts = self.last is not None and self.dark.told | self.mixed.told
        return self.last.at_ms if self.last is not None and lasts else self.conflict_at_ms

    def anew(self) -> "JunctionMemory":
        """Without the faults that were told: one that is still there is told again. All else stays."""
        return replace(self, conflict_at_ms=None, confirmed=False, dark=NO_SPELL, mixed=NO_SPELL)


@dataclass(frozen=True, slots=True)
class Reaction:
    """What to do about trips, in this order: release, latch, record, then flash or lower.

    Args:
        alarm: there is something to tell people.
    """

    release: Approved[ReleaseJunction] | None = None
    latch: Latch | None = None
    flash: Approved[RequestFlash] | None = None
    alarm: bool = False
    lower: Approved[LowerBollard] | None = None


def watch(
    memory: JunctionMemory, seen: JunctionObserved, junction: Junction
) -> tuple[JunctionMemory, tuple[Trip, ...]]:
    """Take the next sample; return the new memory and what it reveals, each thing once.

    Args:
        memory: from the previous sample of the same junction.
    """
    assert seen.equipment == junction.id
    matrix = memory.matrix
    if matrix is None or matrix.junction is not junction:
        matrix = Matrix.of(junction)
        memory = _fresh(matrix, memory)
    last = memory.last
    if last is not None and not 0 <= seen.at_ms - last.at_ms <= GAP_MS_MAX:
        memory, last = _fresh(matrix, memory), None
    trips: list[Trip] = []
    memory = _watch_contradictions(memory, matrix, seen, trips)
    memory = _watch_spells(memory, matrix, seen, trips)
    memory = _watch_configuration(memory, matrix, seen, trips)
    if last is not None and (
        seen.greens != last.greens or seen.yellows != last.yellows or seen.flash_status != last.flash_status
    ):
        memory = _watch_changes(memory, matrix, last, seen, trips)
    flash_until_ms = seen.at_ms - seen.delay_ms if seen.flash_status in FLASHING else memory.flash_until_ms
    return replace(memory, last=seen, flash_until_ms=flash_until_ms), tuple(trips)


def _fresh(matrix: Matrix, before: JunctionMemory) -> JunctionMemory:
    unknown: Moments = (None,) * len(matrix.junction.groups)
    return JunctionMemory(matrix, None, unknown, unknown, unknown, configuration=before.configuration)


def _watch_contradictions(
    memory: JunctionMemory, matrix: Matrix, seen: JunctionObserved, trips: list[Trip]
) -> JunctionMemory:
    """SR-02: what one sample may never show; a second sample soon after confirms a conflict.

    A conflict that lasts from sample to sample is told once, and once more when it is confirmed.
    """
    last_greens = 0 if memory.last is None else memory.last.greens
    if extra := matrix.uncommissioned(seen) & ~last_greens:
        reason = f"uncommissioned channel green: {listed(extra)}"
        trips.append(_trip("SR-02", matrix, reason, channel_numbers(extra)))
    found = matrix.conflicting(seen)
    if not found:
        return memory
    before_ms, confirmed = memory.conflict_at_ms, memory.confirmed
    lasts = memory.last is not None and before_ms == memory.last.at_ms
    is_soon = before_ms is not None and seen.at_ms - before_ms <= CONFIRM_MS_MAX
    if before_ms is None or not (is_soon or lasts):
        trips.append(_trip("SR-02", matrix, matrix.describe(found, seen), matrix.numbers(found)))
        confirmed = False
    elif is_soon and seen.at_ms > before_ms and not confirmed:
        reason = f"{matrix.describe(found, seen)}; seen again after {seen.at_ms - before_ms} ms"
        trips.append(_trip("SR-02", matrix, reason, matrix.numbers(found), Response.FLASH))
        confirmed = True
    return replace(memory, conflict_at_ms=seen.at_ms, confirmed=confirmed)


def _watch_spells(memory: JunctionMemory, matrix: Matrix, seen: JunctionObserved, trips: list[Trip]) -> JunctionMemory:
    """SR-03, 07, 26: what may be seen for a moment, and not for long. Claimed of normal running only.

    One sample may fall into the moment a relay takes; what counts is the same in every sample, none so far from the next
    that anything else fits in between.
    """
    if seen.flash_status != FLASH_NONE:
        return replace(memory, dark=NO_SPELL, mixed=NO_SPELL, waiting=NO_SPELL)
    junction, last, calls = matrix.junction, memory.last, seen.calls
    certain_ms = seen.at_ms - seen.delay_ms
    apart_ms = GAP_MS_MAX if last is None else seen.at_ms - last.at_ms + last.delay_ms
    whole = apart_ms <= LIT_MS_MIN
    nothing = matrix.reds & ~(seen.greens | seen.yellows | seen.reds)
    dark, over = memory.dark.prolong(matrix, nothing, seen.at_ms, certain_ms, DARK_MS_MAX, whole=whole)
    if over:
        trips.append(_trip("SR-03", matrix, f"dark for {DARK_MS_MAX} ms: {listed(over)}", matrix.numbers(over)))
    both = 0 if junction.red_yellow_allowed else seen.reds & seen.yellows & matrix.commissioned
    mixed, over = memory.mixed.prolong(matrix, both, seen.at_ms, certain_ms, RED_YELLOW_MS_MAX, whole=whole)
    if over:
        reason = f"red with yellow for {RED_YELLOW_MS_MAX} ms: {listed(over)}"
        trips.append(_trip("SR-26", matrix, reason, matrix.numbers(over)))
    waits, asked_ms = 0, 0
    if calls is not None and seen.at_ms - calls.at_ms <= CALLS_AGE_MS_MAX:
        waits, asked_ms = seen.reds & ~(seen.greens | seen.yellows) & matrix.called(calls), calls.at_ms - calls.delay_ms
    whole = apart_ms < GREEN_MS_MIN
    waiting, over = memory.waiting.prolong(matrix, waits, seen.at_ms, asked_ms, junction.red_ms_max, whole=whole)
    if over:
        reason = f"red for {junction.red_ms_max // 1000} s although asked for, stuck: {listed(over)}"
        trips.append(_trip("SR-07", matrix, reason, matrix.numbers(over), Response.ALARM))
    return replace(memory, dark=dark, mixed=mixed, waiting=waiting)


def _watch_configuration(
    memory: JunctionMemory, matrix: Matrix, seen: JunctionObserved, trips: list[Trip]
) -> JunctionMemory:
    """SR-16: somebody changed the controller's stored configuration; against the site file, or else since first seen."""
    found, commissioned = seen.configuration_id, matrix.junction.configuration_id
    if memory.configuration == (found,) or (found is None and commissioned is None):
        return memory
    if commissioned is None and memory.configuration is not None:
        reason = f"{configuration_words(found)}, it was {memory.configuration[0]}, and nothing here changes it"
        trips.append(_trip("SR-16", matrix, reason, ()))
    elif commissioned not in (None, found):
        reason = f"{configuration_words(found)}; commissioned: {commissioned}"
        trips.append(_trip("SR-16", matrix, reason, (), Response.ALARM))
    return replace(memory, configuration=(found,))


def _watch_changes(
    memory: JunctionMemory, matrix: Matrix, last: JunctionObserved, seen: JunctionObserved, trips: list[Trip]
) -> JunctionMemory:
    """SR-04, 05, 06, 12: how long what ended can have lasted, and how soon what begins can have begun.

    Samples of a flashing or starting controller show no aspects: they end what was, and nothing is claimed about how.
    """
    was_normal, is_normal = last.flash_status == FLASH_NONE, seen.flash_status == FLASH_NONE
    greens_was, yellows_was = (last.greens, last.yellows) if was_normal else (0, 0)
    greens_is, yellows_is = (seen.greens, seen.yellows) if is_normal else (0, 0)
    earliest_ms, latest_ms = last.at_ms - last.delay_ms, seen.at_ms
    certain_ms = earliest_ms if was_normal else None
    green_from, yellow_from = list(memory.green_from), list(memory.yellow_from)
    green_until = list(memory.green_until)
    started: list[int] = []
    for place, group in enumerate(matrix.junction.groups):
        bit = group.bit
        if greens_was & bit and not greens_is & bit:
            if is_normal:
                trips += _short_green(matrix, group, green_from[place], latest_ms)
                if not (yellows_is | yellows_was) & bit:
                    trips += _short_yellow(matrix, group, earliest_ms, latest_ms)
            green_from[place], green_until[place] = None, earliest_ms
        elif greens_is & bit and not greens_was & bit:
            green_from[place] = certain_ms
            started.append(place)
        if yellows_was & bit and not yellows_is & bit:
            if is_normal:
                trips += _short_yellow(matrix, group, yellow_from[place], latest_ms)
            yellow_from[place] = None
        elif yellows_is & bit and not yellows_was & bit:
            yellow_from[place] = certain_ms
    for place in started:
        trips += _early_greens(matrix, place, green_until, greens_is, latest_ms)
    trips += _skipped_start_up(memory, matrix, started, latest_ms)
    return replace(memory, green_from=tuple(green_from), yellow_from=tuple(yellow_from), green_until=tuple(green_until))


def _short_green(matrix: Matrix, group: SignalGroup, from_ms: int | None, latest_ms: int) -> Iterator[Trip]:
    """SR-05: a green that cannot have reached its minimum."""
    if from_ms is not None and latest_ms - from_ms < group.green_ms_min:
        reason = f"group {group.number} was green for {latest_ms - from_ms} ms at most, least {group.green_ms_min} ms"
        yield _trip("SR-05", matrix, reason, (group.number,))


def _short_yellow(matrix: Matrix, group: SignalGroup, from_ms: int | None, latest_ms: int) -> Iterator[Trip]:
    """SR-04: a yellow that cannot have reached its floor, or was left out."""
    if from_ms is not None and latest_ms - from_ms < group.yellow_ms_min:
        reason = f"group {group.number} was yellow for {latest_ms - from_ms} ms at most, least {group.yellow_ms_min} ms"
        yield _trip("SR-04", matrix, reason, (group.number,))


def _early_greens(
    matrix: Matrix, starting: int, green_until: list[int | None], greens: int, latest_ms: int
) -> Iterator[Trip]:
    """SR-06: a green that cannot have kept the intergreen after another. Both still green is SR-02's."""
    groups = matrix.junction.groups
    for ending, least_ms in matrix.intergreens[starting]:
        until_ms = green_until[ending]
        if until_ms is None or greens & groups[ending].bit or latest_ms - until_ms >= least_ms:
            continue
        pair = (groups[ending].number, groups[starting].number)
        reason = f"group {pair[1]} green {latest_ms - until_ms} ms at most after group {pair[0]}, least {least_ms} ms"
        yield _trip("SR-06", matrix, reason, pair)


def _skipped_start_up(memory: JunctionMemory, matrix: Matrix, started: list[int], latest_ms: int) -> Iterator[Trip]:
    """SR-12: a green so soon after flash that no start-up fits in between."""
    until_ms = memory.flash_until_ms
    if not started or until_ms is None or latest_ms - until_ms >= START_UP_MS_MIN:
        return
    numbers = tuple(matrix.junction.groups[place].number for place in started)
    words = ", ".join(map(str, numbers))
    reason = f"group {words} green {latest_ms - until_ms} ms at most after flash, least {START_UP_MS_MIN} ms"
    yield _trip("SR-12", matrix, reason, numbers)


def _trip(
    rule: str,
    matrix: Matrix,
    reason: str,
    groups: tuple[SignalGroupNumber, ...],
    response: Response = Response.RELEASE_AND_LATCH,
) -> Trip:
    return Trip(rule, matrix.junction.id, reason, groups, response)


def react(trips: tuple[Trip, ...], standing: Standing, now_ms: int, unix_ms: int) -> Reaction:
    """Answer what the observer saw at one piece of equipment.

    The first cause is kept: a later trip changes a latch only by asking for flash. Flash is asked once per latch and
    not repeated: the controller's watchdog ends it, and its own conflict monitor has the last word.

    Args:
        standing: as it is before this reaction; its latch is the newest one.
        unix_ms: wall time, for the latch.
    """
    if not trips:
        return Reaction()
    worst = max(trips, key=lambda trip: trip.response)
    assert all(trip.equipment == worst.equipment for trip in trips)
    if worst.response is Response.ALARM:
        return Reaction(alarm=True)
    held = standing.latch
    flash: Approved[RequestFlash] | None = None
    lower: Approved[LowerBollard] | None = None
    if worst.response is Response.LOWER:
        lower = Approved(LowerBollard(worst.equipment, LOCAL_PLAN), now_ms, _SEAL)
    may_flash = standing.mode.rule != "SR-30" and not (held and held.flash_requested)
    if worst.response is Response.FLASH and may_flash:
        flash = Approved(RequestFlash(worst.equipment, LOCAL_PLAN, JUNCTION_LEASE_MS_MAX), now_ms, _SEAL)
    if held:
        return Reaction(
            latch=replace(held, flash_requested=True) if flash else None, flash=flash, alarm=True, lower=lower
        )
    release: Approved[ReleaseJunction] | None = None
    if worst.kind is Kind.JUNCTION:
        release = Approved(ReleaseJunction(worst.equipment, LOCAL_PLAN), now_ms, _SEAL)
    latch = Latch(worst.equipment, worst.rule, worst.reason, unix_ms, flash_requested=flash is not None)
    return Reaction(release, latch, flash, alarm=True, lower=lower)
