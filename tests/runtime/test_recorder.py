"""The recorder: a disk that stalls or refuses costs time and, beyond a bound, the oldest records; never the order."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ledger.errors import LedgerError, UnsealableError
from agent.model.observation import PointValue, Quality
from agent.process.clock import Clock
from agent.runtime.journal import Journal
from agent.runtime.recorder import AT_ONCE, GROUP_MAX, RETRY_S, Lane, Pace, Recorder
from simulators.background import alongside
from simulators.clock import VirtualTimeLoop
from tests.runtime.rig import samples_of
from tests.wire.party import CITY, GATEWAY, HandClock, signer

PACE = Pace(5.0, 100)


class Disk:
    """Takes what it is given, unless told otherwise; remembers when."""

    def __init__(self) -> None:
        self.stored: list[int] = []
        self.groups: list[tuple[float, int]] = []
        self.refusals = 0
        self.poison: set[int] = set()

    async def write(self, group: list[int]) -> None:
        assert 0 < len(group) <= GROUP_MAX
        await asyncio.sleep(0.01)
        if self.refusals > 0:
            self.refusals -= 1
            raise LedgerError("disk full")
        if self.poison & set(group):
            raise UnsealableError("not a link")
        self.stored += group
        self.groups.append((asyncio.get_running_loop().time(), len(group)))


def virtually(story: Callable[[], Awaitable[None]]) -> None:
    """Run a story in virtual time."""

    async def whole() -> None:
        await story()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(whole())


def test_a_change_waits_for_company_and_no_longer_than_its_pace() -> None:
    disk = Disk()

    async def story() -> None:
        lane = Lane(PACE, 1_000, disk.write)
        async with alongside(lane.run()):
            lane.take([1])
            await asyncio.sleep(3)
            lane.take([2])
            await asyncio.sleep(1.9)
            assert disk.stored == []
            await asyncio.sleep(0.2)
            assert disk.stored == [1, 2]

    virtually(story)
    assert disk.groups == [(pytest.approx(5.01), 2)]


def test_what_is_left_of_a_burst_does_not_wait_for_the_next_one() -> None:
    disk = Disk()

    async def story() -> None:
        lane = Lane(PACE, 20_000, disk.write)
        async with alongside(lane.run()):
            lane.take(range(10 * GROUP_MAX))
            await asyncio.sleep(1.0)
        assert len(disk.stored) == 10 * GROUP_MAX

    virtually(story)


def test_enough_company_or_bad_news_leave_at_once() -> None:
    disk = Disk()

    async def story() -> None:
        lane = Lane(PACE, 1_000, disk.write)
        async with alongside(lane.run()):
            lane.take(list(range(99)))
            await asyncio.sleep(0.1)
            assert disk.stored == []
            lane.take([99])
            await asyncio.sleep(0.1)
            assert len(disk.stored) == 100
            lane.take([100], urgent=True)
            await asyncio.sleep(0.1)
            assert disk.stored[-1] == 100

    virtually(story)


@given(st.lists(st.tuples(st.integers(1, 40), st.floats(0, 3)), max_size=30), st.integers(0, 20))
def test_a_disk_that_refuses_for_a_while_loses_nothing_and_keeps_the_order(
    steps: list[tuple[int, float]], refusals: int
) -> None:
    disk, taken = Disk(), 0
    disk.refusals = refusals

    async def story() -> None:
        nonlocal taken
        lane = Lane(Pace(0.25, 10), 100_000, disk.write)
        async with alongside(lane.run()):
            for count, pause_s in steps:
                lane.take(list(range(taken, taken + count)))
                taken += count
                await asyncio.sleep(pause_s)
            await asyncio.sleep((refusals + 2) * (RETRY_S + 1) + taken / GROUP_MAX)
        assert (lane.dropped, lane.held) == (0, 0)
        assert lane.failures == (refusals - disk.refusals)
        assert not lane.is_failing

    virtually(story)
    assert disk.stored == list(range(taken))


@given(st.integers(1, 50), st.lists(st.integers(1, 30), min_size=1, max_size=20))
def test_what_a_refusing_disk_leaves_no_room_for_is_the_oldest_and_is_counted(bound: int, steps: list[int]) -> None:
    disk, taken = Disk(), 0
    disk.refusals = 10**9

    async def story() -> None:
        nonlocal taken
        lane = Lane(Pace(0.0, 1), bound, disk.write)
        async with alongside(lane.run()):
            for count in steps:
                lane.take(list(range(taken, taken + count)))
                taken += count
                await asyncio.sleep(0.4)
                assert lane.held <= bound
            await asyncio.sleep(2)
            assert lane.is_failing
            assert (lane.held, lane.dropped) == (min(bound, taken), max(0, taken - bound))
            disk.refusals = 0
            await asyncio.sleep(5)

    virtually(story)
    assert disk.stored == list(range(taken))[-bound:]


@given(st.sets(st.integers(0, 299), max_size=20))
def test_what_can_never_be_sealed_is_dropped_alone(poison: set[int]) -> None:
    disk = Disk()
    disk.poison = poison

    async def story() -> None:
        lane = Lane(AT_ONCE, 1_000, disk.write)
        lane.take(list(range(300)))
        async with alongside(lane.run()):
            await asyncio.sleep(60)
        assert (lane.dropped, lane.held) == (len(poison), 0)

    virtually(story)
    assert disk.stored == [n for n in range(300) if n not in poison]


def test_a_lane_that_is_stopped_stores_all_it_holds_and_gives_up_on_a_disk_that_refuses() -> None:
    disk = Disk()

    async def story() -> None:
        lane = Lane(PACE, 10_000, disk.write)
        lane.take(list(range(1_234)))
        lane.stop()
        await lane.run()
        assert disk.stored == list(range(1_234))
        disk.refusals = 10**9
        lane.take([1])
        await lane.run()
        assert lane.held == 1

    virtually(story)


def test_while_a_disk_hangs_the_memory_stays_bounded() -> None:
    async def story() -> None:
        async def hang(_group: list[int]) -> None:
            await asyncio.sleep(10**9)

        lane = Lane(AT_ONCE, 100, hang)
        async with alongside(lane.run()):
            for n in range(5_000):
                lane.take([n])
                await asyncio.sleep(0.01)
        assert lane.held == 100

    virtually(story)


def journal_at(path: Path) -> Journal:
    return Journal(path, signer(f"{GATEWAY}/agent/1"), CITY, GATEWAY, HandClock())


async def test_events_of_a_full_disk_are_sealed_later_in_order_and_with_the_time_at_which_they_happened(
    tmp_path: Path,
) -> None:
    hand = HandClock()
    clock = Clock(hand.now_ms, hand.unix_ms)
    async with Journal(tmp_path / "a.db", signer(f"{GATEWAY}/agent/1"), CITY, GATEWAY, hand) as journal:
        recorder = Recorder(journal, clock)
        append, refused = journal.append_events, asyncio.Event()

        async def refuse(*_: object) -> None:
            refused.set()
            raise LedgerError("database or disk is full")

        journal.append_events = refuse  # type: ignore[assignment, method-assign]
        happened_ms = hand.unix_ms()
        async with alongside(recorder.run()):
            recorder.event("alarm", "link.lost", "meter-1", "", "silent")
            recorder.event("alarm", "link.back", "meter-1", "", "answers")
            await refused.wait()
            with pytest.raises(LedgerError):
                await recorder.durable_event("audit", "command.done", "seg-1", "", "set", {})
            assert recorder.is_failing
            assert recorder.unsealed > 0
            hand.advance(40_000)
            journal.append_events = append  # type: ignore[method-assign]
            await recorder.durable_event("alarm", "mark", "", "", "", {})
            await recorder.durable_event("audit", "mark", "", "", "", {})
            entries = await journal.log("", 50)
        kinds = {entry.kind: entry.t_ms for entry in entries}
        assert [entry.kind for entry in entries if entry.stream == "alarm"] == ["link.lost", "link.back", "mark"]
        assert kinds["link.lost"] == kinds["link.back"] == kinds["command.done"] == happened_ms
        assert kinds["mark"] == happened_ms + 40_000
        assert not recorder.is_failing
        assert recorder.failures >= 2


async def test_what_a_disk_refuses_or_does_not_answer_is_unsealed_what_waits_for_company_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.recorder.DURABLE_TIMEOUT_S", 0.05)
    sample = PointValue("meter-1/p", 1, Quality.GOOD, 1_000)
    async with journal_at(tmp_path / "a.db") as journal:
        recorder = Recorder(journal, Clock())
        append, hung = journal.append_samples, asyncio.Event()

        async def hang(*given: object) -> object:
            await hung.wait()
            return await append(*given)  # type: ignore[arg-type]

        journal.append_samples = hang  # type: ignore[assignment, method-assign]
        async with alongside(recorder.run()):
            recorder.changes("tele", [sample] * 3)
            assert (recorder.held, recorder.unsealed) == (3, 0)
            recorder.changes("tele", [sample] * 97)
            async with asyncio.timeout(10):
                while recorder.unsealed != 100:  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.01)
            hung.set()
            async with asyncio.timeout(10):
                while recorder.unsealed:  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.01)


async def test_samples_of_a_disk_that_is_really_full_arrive_when_there_is_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.recorder.RETRY_S", 0.02)
    monkeypatch.setitem(__import__("agent.runtime.recorder", fromlist=["PACES"]).PACES, "state", Pace(0.0, 1))
    async with journal_at(tmp_path / "a.db") as journal:
        recorder = Recorder(journal, Clock())
        database = journal._ledger._database
        await journal._ask(lambda _: database.execute("PRAGMA max_page_count=1").fetchall())
        count = 4_000
        async with alongside(recorder.run()):
            for n in range(0, count, 100):
                recorder.changes(
                    "state", [PointValue(f"meter-1/p{m % 7}", m, Quality.GOOD, 1_000 + m) for m in range(n, n + 100)]
                )
                await asyncio.sleep(0.005)
            async with asyncio.timeout(10):
                while not recorder.failures:  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.01)
            assert recorder.held > 0
            await journal._ask(lambda _: database.execute("PRAGMA max_page_count=100000").fetchall())
            async with asyncio.timeout(20):
                while recorder.held or recorder.is_failing:  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.01)
        head = journal.heads["state"]
        links = await journal.sealed_after("state", head.epoch, 0, 10_000)
        values = [value for link in links for _, value, _ in samples_of(link.sealed)]
        assert values == list(range(count))
        assert recorder.dropped == 0
