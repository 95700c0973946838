"""Two hours of a real junction under guard: what its lamps showed, served over SNMP, raises no alarm; a fault does.

Guard and controller move in lockstep through the recorded time, so that nothing the log tells falls between two polls.
"""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.model.observation import JunctionObserved
from simulators.cabinet import Cabinet
from simulators.clock import ManualClock
from simulators.conflict_monitor import CARDS
from simulators.recording import Entry, Overlap, Recording, read_entries
from simulators.replay import Replay
from simulators.signal_controller.aspects import bit, numbers
from tests.guard.people import People
from tests.guard.rig import FLASH, START_S, JunctionRig, furnish, home_folder
from tests.referee import Verdict, judged

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("recorded-log")]

J = "j-1136"
GRID_S = 0.5  # between the log's moments; the guard itself looks five times as often, and is no faster in lockstep
SPEED_LEAST = 20  # times the wall clock
ALARMS = ("trip", "trip.flash", "latch.set", "link.lost", "lease.end")
CONFLICTS = {8: {2, 5, 6}, 5: {6, 8}, 6: {5, 8}}
PLAN_1 = {"plan": 1, "lease_s": 60}


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """Reading the log takes longer than most tests."""
    return read_entries()


@dataclass(slots=True)
class Tally:
    """What a run through the log saw."""

    polls: int = 0
    states: int = 0
    seconds: float = 0.0
    last: tuple[int, int, int] = (0, 0, 0)


class ReplayRig(JunctionRig):
    """The recorded junction under guard."""

    replay: Replay

    def __init__(self, site: Path, people: People, clock: ManualClock) -> None:
        super().__init__(site, people, clock)
        self.tally = Tally()

    async def look(self, log_s: float, tally: Tally) -> None:
        """Move everything to a moment of the log and observe."""
        if tally.polls:  # Wherever the run begins: nobody has waited for the time before.
            self.clock.advance(log_s - self.replay.kernel.position_s)
            self.replay.stand.step()  # Up to then its lamps show what they showed.
        self.replay.advance_to(log_s)
        await self[J].tick()
        seen = self[J].observed
        assert isinstance(seen, JunctionObserved)
        tally.polls += 1
        aspects = (seen.greens, seen.yellows, seen.reds)
        tally.states += aspects != tally.last
        tally.last = aspects

    async def follow(self, moments: list[float]) -> Tally:
        """Observe at every one of these moments."""
        tally, began_s = self.tally, time.perf_counter()
        for log_s in moments:
            await self.look(log_s, tally)
        tally.seconds += time.perf_counter() - began_s
        return tally


@asynccontextmanager
async def replay_rig(
    recording: Recording, change: tuple[str, str] | None = None, verdict: Verdict = "clear"
) -> AsyncIterator[ReplayRig]:
    """The recorded junction under guard, its site file changed in one place."""
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        replay = await stack.enter_async_context(Replay.serve_recording(clock=clock, recording=recording))
        stack.enter_context(judged(replay, verdict, CARDS / "junction_1136.toml"))
        cabinet = await stack.enter_async_context(Cabinet.serve(clock=clock))
        site, people = furnish(home, "gw-1136", {"signals": replay.port, "presence": cabinet.port})
        if change is not None:
            text = site.read_text()
            assert change[0] in text
            site.write_text(text.replace(*change))
        rig = ReplayRig(site, people, clock)
        rig.signals = rig.replay = replay
        rig.cabinet = cabinet
        await stack.enter_async_context(rig.guarding())
        yield rig


def moments(
    recording: Recording, begin_s: float = 0.0, end_s: float | None = None, grid_s: float = GRID_S
) -> list[float]:
    """The log's own moments and a grid between them."""
    end_s = recording.end_s if end_s is None else end_s
    grid = (begin_s + number * grid_s for number in range(int((end_s - begin_s) / grid_s) + 1))
    return sorted({round(log_s, 1) for log_s in (*recording.event_times(), *grid) if begin_s <= log_s <= end_s})


async def test_two_hours_of_a_real_junction_raise_no_alarm(entries: list[Entry]) -> None:
    recording = Recording(entries)
    async with replay_rig(recording) as rig:
        tally = await rig.follow(moments(recording))
        speed = recording.end_s / tally.seconds
        print(
            f"\n{recording.end_s:.0f} s of log in {tally.seconds:.1f} s: {speed:.0f} times real time, "
            f"{tally.polls} polls, {tally.states} changes of aspects"
        )
        assert recording.end_s > 7_000
        assert tally.polls > 14_000
        assert tally.states > 700
        assert speed > SPEED_LEAST
        assert await rig.log(*ALARMS) == []
        assert len(await rig.log("link.back")) == 1
        assert rig.patterns == []
        assert rig[J].latch is None


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (("[5, 6], [5, 8]", "[2, 6], [5, 6], [5, 8]"), "SR-02"),
        (("yellow_min_s = 4 ", "yellow_min_s = 4.3 "), "SR-04"),
        (("green_min_s = 6,", "green_min_s = 6.3,"), "SR-05"),
        (("intergreen_default_s = 5.5", "intergreen_default_s = 5.8"), "SR-06"),
    ],
    ids=["a conflict more", "yellow", "green", "intergreen"],
)
async def test_floors_a_little_above_what_the_junction_shows_are_found_broken(
    entries: list[Entry], change: tuple[str, str], rule: str
) -> None:
    """That there was no alarm is not for want of looking."""
    recording = Recording(entries)
    just_before = [round(log_s - 0.1, 1) for log_s in recording.event_times()]
    async with replay_rig(recording, change) as rig:
        for log_s in sorted({*moments(recording, grid_s=2.0), *just_before[1:]}):
            await rig.look(log_s, rig.tally)
            if rig[J].latch is not None:
                break
        latch = rig[J].latch
        assert latch is not None
        assert latch.rule == rule


async def test_sr_02_one_overlapping_green_in_the_recorded_log_trips_latches_and_asks_for_flash_once(
    entries: list[Entry],
) -> None:
    recording = Recording(entries)
    begin_s = next(
        log_s
        for log_s in recording.event_times()
        if log_s > 600 and recording.at(log_s).greens & 0b10 and recording.at(log_s + 8).greens & 0b10
    )
    overlap = Overlap(begin_s + 3.0, 8, 3.0)  # Phase 8 lights while 2 is green.
    recording.splice(overlap)
    async with replay_rig(recording, verdict="brief") as rig:
        await rig.follow(moments(recording, begin_s - 60, overlap.at_s - 0.1, 0.1))
        assert await rig.log(*ALARMS) == []
        await rig.follow([overlap.at_s])
        assert rig.patterns == [0]
        latch = rig[J].latch
        assert latch is not None
        assert latch.rule == "SR-02"
        assert "8 green" in latch.reason
        await rig.follow([round(overlap.at_s + 0.1, 1)])
        assert rig.patterns == [0, FLASH]
        await rig.follow(moments(recording, overlap.at_s + 0.2, overlap.at_s + 300, 0.2))
        assert rig.patterns == [0, FLASH]
        assert rig.other_sets == []
        assert [entry.rule for entry in await rig.log("latch.set")] == ["SR-02"]
        assert len(await rig.log("trip.flash")) == 1
        people = rig.people
        for verb, args, signers in (
            ("select-plan", PLAN_1, (people.technician,)),
            ("flash", {"lease_s": 60}, (people.alice, people.bruno)),
            ("reset", None, (people.technician,)),
        ):
            outcome = await rig.ask_at_once(signers[0], J, verb, args, *signers[1:])
            assert (outcome.ended, outcome.rule) == ("refused", "SR-13")
        rig.stand_at_the_cabinet()
        assert rig.guard.presence is not None
        await rig.guard.presence.read()
        assert (await rig.ask_at_once(people.technician, J, "reset")).ended == "done"
        assert rig.patterns == [0, FLASH]
        assert (await rig.ask_at_once(people.technician, J, "select-plan", PLAN_1)).ended == "done"


def phase_in_conflict(recording: Recording, log_s: float) -> int | None:
    """A phase that is red at a moment and conflicts with what is lit."""
    picture = recording.at(log_s)
    lit = {*numbers(picture.greens | picture.yellows)}
    return next((phase for phase, against in CONFLICTS.items() if against & lit and picture.reds & bit(phase)), None)


async def test_sr_02_a_second_of_conflicting_green_is_seen_wherever_it_lies(entries: list[Entry]) -> None:
    """At a dozen places of the log, seen by the guard's own beat of 100 ms."""
    whole = Recording(entries)
    places = [log_s + 1.0 for log_s in whole.event_times() if log_s > 300]
    tried = 0
    for place in places[:: len(places) // 12]:
        phase = phase_in_conflict(whole, place)
        if phase is None:
            continue  # All red.
        tried += 1
        recording = Recording(entries)
        recording.splice(Overlap(place, phase, 1.0))
        async with replay_rig(recording, verdict="brief") as rig:  # Flash was asked for within 300 ms.
            await rig.follow([round(place - 0.5 + tenth / 10, 1) for tenth in range(20)])
            assert rig[J].latch is not None, (place, phase)
            assert rig.patterns == [0, FLASH]
    assert tried > 6
