"""The recorded junction, replayed."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from simulators.clock import ManualClock
from simulators.conflict_monitor import CARDS, Card, ConflictMonitor
from simulators.recording import Overlap, Recording, RecordingError, read_entries
from simulators.replay import Replay
from simulators.signal_controller import oids
from simulators.signal_controller.aspects import Lamps, bit, numbers
from tests.referee import Verdict, judged
from tests.simulators.junction import get, set_to

JUNCTION_1136 = CARDS / "junction_1136.toml"
LAPSES = {(8, 9), (8, 10), (6, 7), (6, 8), (2, 7), (2, 8), (5, 7), (5, 8)}


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording.load()


@asynccontextmanager
async def replaying(
    clock: ManualClock, recording: Recording | None = None, speed: float = 0.0, verdict: Verdict = "clear"
) -> AsyncIterator[Replay]:
    async with Replay.serve_recording(clock=clock, recording=recording, speed=speed) as replay:
        with judged(replay, verdict, JUNCTION_1136):
            yield replay


def test_the_log_is_the_one_described(recording: Recording) -> None:
    assert recording.phases == [2, 5, 6, 8]
    assert recording.end_s == pytest.approx(7198.5)
    assert recording.concurrent_pairs() == {(2, 5), (2, 6)}
    assert {(entry.parameter, entry.code) for entry in recording.repairs} == LAPSES


def stretches(recording: Recording) -> dict[tuple[int, str], list[float]]:
    """How long each phase showed each colour; the first and last stretch are cut and left out."""
    shown: dict[int, tuple[str, float | None]] = {}
    lasted: dict[tuple[int, str], list[float]] = defaultdict(list)
    for time_s in recording.event_times():
        picture = recording.at(time_s)
        for phase in recording.phases:
            mask = bit(phase)
            colours = [
                name
                for name, lit in (("green", picture.greens), ("yellow", picture.yellows), ("red", picture.reds))
                if lit & mask
            ]
            assert len(colours) == 1
            before = shown.get(phase)
            if before is not None and before[0] != colours[0]:
                if before[1] is not None:
                    lasted[phase, before[0]].append(round(time_s - before[1], 1))
                shown[phase] = (colours[0], time_s)
            elif before is None:
                shown[phase] = (colours[0], None)
    return lasted


def test_observed_minima_are_those_of_the_docstring(recording: Recording) -> None:
    lasted = stretches(recording)
    assert {phase: min(lasted[phase, "green"]) for phase in recording.phases} == {2: 13.9, 5: 5.5, 6: 10.1, 8: 6.0}
    assert all(set(lasted[phase, "yellow"]) == {4.0} for phase in recording.phases)


def test_conflicting_greens_keep_their_distance(recording: Recording) -> None:
    ended: dict[int, float] = {}
    least = 99.0
    for before_s, now_s in pairwise(recording.event_times()):
        before, now = recording.at(before_s).greens, recording.at(now_s).greens
        ended |= dict.fromkeys(numbers(before & ~now), now_s)
        for phase in numbers(now & ~before):
            against = {2: (8,), 5: (6, 8), 6: (5, 8), 8: (2, 5, 6)}[phase]
            least = min([least, *(now_s - ended[other] for other in against if other in ended)])
    assert least == pytest.approx(5.5)


def test_without_repair_the_log_shows_greens_that_turn_red() -> None:
    raw = Recording.load(repaired=False)
    turned = 0
    for before_s, now_s in pairwise(raw.event_times()):
        turned += len(numbers(raw.at(before_s).greens & raw.at(now_s).reds))
    assert turned == 3


def test_no_figure_of_the_monitor_is_reached_in_the_whole_log(recording: Recording) -> None:
    monitor = ConflictMonitor(Card.load(JUNCTION_1136))
    for time_s in recording.event_times():
        picture = recording.at(time_s)
        assert monitor.conflict(Lamps(picture.reds, picture.yellows, picture.greens, True)) is None


async def test_a_spliced_green_shows_on_the_wire_for_as_long_as_it_was_given() -> None:
    fresh = Recording.load()
    clock = ManualClock()
    async with replaying(clock, fresh, verdict="conflict") as replay:
        assert fresh.at(30).greens == bit(2) | bit(6)
        replay.splice(Overlap(30, 8, 0.6))
        seen = []
        for time_s in (29.9, 30.0, 30.5, 30.6):
            clock.advance(time_s - replay.kernel.position_s)
            replay.stand.step()
            replay.advance_to(time_s)
            seen.append(get(replay, (*oids.CHANNEL_STATUS, 4, 1)))
        clean, spliced = bit(2) | bit(6), bit(2) | bit(6) | bit(8)
        assert seen == [clean, spliced, spliced, clean]
        assert 30.6 in replay.event_times()
        with pytest.raises(ValueError, match="never runs back"):
            replay.advance_to(1)


async def test_a_recording_takes_no_order_but_flash() -> None:
    clock = ManualClock()
    async with replaying(clock) as replay:
        for value, flash in ((2, 2), (255, 3), (0, 7)):
            set_to(replay, oids.SYSTEM_PATTERN_CONTROL, value)
            clock.advance(0.5)
            replay.stand.step()
            assert get(replay, oids.UNIT_FLASH_STATUS) == flash
        assert replay.set_count("1.3.6.1.4.1.1206.4.2.1.4.14.0") == 3


async def test_recorded_time_runs_with_the_clock_times_its_speed() -> None:
    clock = ManualClock()
    async with replaying(clock, speed=5) as replay:
        clock.advance(10)
        replay.stand.step()
        assert replay.kernel.position_s == pytest.approx(50, abs=0.6)


@pytest.mark.parametrize("overlap", [Overlap(30, 2, 1), Overlap(30, 4, 1), Overlap(-1, 8, 1), Overlap(9000, 8, 1)])
def test_a_splice_that_makes_no_sense_is_refused(overlap: Overlap) -> None:
    with pytest.raises(RecordingError):
        Recording.load().splice(overlap)


def test_a_file_that_is_no_recording_is_refused_in_words(tmp_path: Path) -> None:
    for content in (b"", b"PAR1 not really"):
        path = tmp_path / "log.parquet"
        path.write_bytes(content)
        with pytest.raises(RecordingError, match=r"log\.parquet"):
            read_entries(path)
    with pytest.raises(RecordingError, match="nothing of device"):
        read_entries(device=7)


def test_the_longest_reds_are_those_of_the_docstring(recording: Recording) -> None:
    lasted = stretches(recording)
    assert {phase: max(lasted[phase, "red"]) for phase in recording.phases} == {2: 30.6, 5: 135.4, 6: 46.2, 8: 139.6}


def test_pedestrians_walk_within_the_green_of_their_phase(recording: Recording) -> None:
    for time_s in recording.event_times():
        picture = recording.at(time_s)
        assert not (picture.walks | picture.ped_clears) & ~picture.greens
