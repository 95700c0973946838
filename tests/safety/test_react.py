"""What follows a trip: release, latch, and flash once per latch."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agent.model.command import LOCAL_PLAN, LowerBollard, ReleaseJunction, RequestFlash
from agent.model.equipment import Kind
from agent.safety.latch import Latch
from agent.safety.mode import Mode, ModeEntry
from agent.safety.observer import Reaction, Response, Trip, react
from agent.safety.standing import Standing
from agent.safety.verdict import Approved
from tests.safety.facts import LATCH, NOW_MS, UNIX_MS, B, J

ALARM = Trip("SR-19", J, "odd", (), Response.ALARM)
FIRST = Trip("SR-02", J, "1 and 2", (), Response.RELEASE_AND_LATCH)
CONFIRMED = Trip("SR-02", J, "1 and 2 again", (), Response.FLASH)
RISES = Trip("SR-20", B, "it rises under a vehicle", (), Response.LOWER, Kind.BOLLARD)
BOLLARDS = Trip("SR-24", B, "green while up", (), Response.RELEASE_AND_LATCH, Kind.BOLLARD)


def answer(*trips: Trip, latch: Latch | None = None) -> Reaction:
    return react(trips, Standing(latch=latch), NOW_MS, UNIX_MS)


def test_no_trip_no_reaction() -> None:
    assert answer() == Reaction(None, None, None, False)


def test_an_alarm_moves_nothing() -> None:
    assert answer(ALARM) == Reaction(alarm=True)
    assert answer(ALARM, latch=LATCH) == Reaction(alarm=True)


def test_sr_02_the_first_sample_releases_and_latches() -> None:
    reaction = answer(FIRST)
    assert reaction.release is not None
    assert reaction.release.command == ReleaseJunction(J, LOCAL_PLAN)
    assert reaction.release.at_ms == NOW_MS
    assert reaction.latch == Latch(J, "SR-02", "1 and 2", UNIX_MS, flash_requested=False)
    assert reaction.flash is None
    assert reaction.alarm


def test_sr_02_the_second_sample_asks_for_flash_once() -> None:
    latch = Latch(J, "SR-05", "the first cause", UNIX_MS - 1, flash_requested=False)
    reaction = answer(CONFIRMED, latch=latch)
    assert reaction.flash is not None
    assert reaction.flash.command == RequestFlash(J, LOCAL_PLAN, 3_600_000)
    assert reaction.flash.at_ms == NOW_MS
    assert reaction.latch == replace(latch, flash_requested=True)
    assert reaction.release is None
    again = answer(CONFIRMED, latch=reaction.latch)
    assert again == Reaction(alarm=True)


def test_sr_02_a_confirmed_conflict_out_of_nothing_does_all_at_once() -> None:
    reaction = answer(ALARM, FIRST, CONFIRMED)
    assert reaction.release is not None
    assert reaction.flash is not None
    assert reaction.latch == Latch(J, "SR-02", "1 and 2 again", UNIX_MS, flash_requested=True)


def test_sr_30_facts_nobody_signed_ask_for_no_flash() -> None:
    unsigned = Standing(ModeEntry(Mode.HELD, "site not commissioned", "signing", "SR-30"))
    for standing in (unsigned, replace(unsigned, latch=LATCH)):
        said = react((CONFIRMED,), standing, NOW_MS, UNIX_MS)
        assert (said.flash, said.alarm) == (None, True)
    first = react((CONFIRMED,), unsigned, NOW_MS, UNIX_MS)
    assert first.release is not None
    assert first.latch is not None
    assert not first.latch.flash_requested


def test_sr_13_a_later_trip_keeps_the_first_cause() -> None:
    assert answer(FIRST, latch=LATCH) == Reaction(alarm=True)


def test_sr_24_a_bollard_latches_and_has_nothing_to_release() -> None:
    reaction = answer(BOLLARDS)
    assert reaction == Reaction(None, Latch(B, "SR-24", "green while up", UNIX_MS, flash_requested=False), None, True)


def test_sr_20_a_bollard_that_rises_wrongly_latches_and_is_asked_to_lower_whatever_was_latched_before() -> None:
    first = answer(RISES)
    assert first.lower is not None
    assert (first.lower.command, first.lower.at_ms) == (LowerBollard(B, LOCAL_PLAN), NOW_MS)
    latch = Latch(B, "SR-20", "it rises under a vehicle", UNIX_MS, flash_requested=False)
    assert first == Reaction(None, latch, None, alarm=True, lower=first.lower)
    again = answer(RISES, latch=latch)
    assert again.lower is not None
    assert again.lower.command == LowerBollard(B, LOCAL_PLAN)
    assert again == Reaction(alarm=True, lower=again.lower)


@given(
    st.lists(st.lists(st.sampled_from([ALARM, FIRST, CONFIRMED]), max_size=3).map(tuple), max_size=12),
)
def test_flash_is_asked_once_and_control_given_back_once_for_any_run_of_trips(runs: list[tuple[Trip, ...]]) -> None:
    latch: Latch | None = None
    flashes, releases = [], []
    for trips in runs:
        reaction = react(trips, Standing(latch=latch), NOW_MS, UNIX_MS)
        flashes += [reaction.flash] if reaction.flash else []
        releases += [reaction.release] if reaction.release else []
        assert reaction.alarm is bool(trips)
        latch = reaction.latch or latch
    seen = {trip.response for trips in runs for trip in trips}
    assert len(flashes) == (Response.FLASH in seen)
    assert len(releases) == bool(seen - {Response.ALARM})
    assert (latch is not None) == bool(seen - {Response.ALARM})
    assert latch is None or latch.flash_requested == bool(flashes)
    assert all(isinstance(each, Approved) for each in [*flashes, *releases])
