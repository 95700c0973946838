"""The numbers of connections, whatever becomes of the disk and the time."""

import asyncio
from dataclasses import dataclass

from agent.ledger.errors import LedgerError
from agent.process.clock import Clock, Sync
from agent.runtime.connections import PLACE_BITS, ConnectionNumbers
from simulators.clock import VirtualTimeLoop

NOON_S = 1_800_000_000


@dataclass
class Disk:
    """Counts, unless it fails or hangs."""

    count: int = 0
    is_failing: bool = False
    is_hanging: bool = False

    @property
    def connections_before(self) -> int:
        return self.count

    async def next_number(self, name: str) -> int:
        if self.is_hanging:
            await asyncio.Event().wait()
        if self.is_failing:
            raise LedgerError("the disk is full")
        self.count += 1
        return self.count


def clock_at(unix_s: float, *, is_kept: bool = True) -> Clock:
    return Clock(lambda: 5_000, lambda: int(unix_s * 1000), lambda: Sync(is_kept, 0))


async def numbers(disk: Disk, clock: Clock, count: int) -> list[int]:
    """Of one process."""
    source = ConnectionNumbers(disk, clock)
    return [await source.next() for _ in range(count)]


async def test_each_process_counts_from_its_own_start() -> None:
    disk = Disk()
    assert await numbers(disk, clock_at(NOON_S), 2) == [1 << PLACE_BITS, (1 << PLACE_BITS) + 1]
    assert await numbers(disk, clock_at(NOON_S), 1) == [2 << PLACE_BITS]


async def test_no_number_comes_twice_or_goes_back_while_the_disk_fails_now_and_then() -> None:
    disk, taken = Disk(), list[int]()
    for life, is_failing in enumerate((False, True, True, False, False, True, False)):
        disk.is_failing = is_failing
        taken += await numbers(disk, clock_at(NOON_S + 60 * life), 3)
    assert taken == sorted(set(taken))


async def test_a_disk_that_recovers_counts_from_the_next_connection_on() -> None:
    disk = Disk(count=7, is_failing=True)
    source = ConnectionNumbers(disk, clock_at(NOON_S))
    before = [await source.next(), await source.next()]
    disk.is_failing = False
    assert before == [(7 << PLACE_BITS) + NOON_S, (7 << PLACE_BITS) + NOON_S + 1]
    assert [await source.next(), await source.next()] == [8 << PLACE_BITS, (8 << PLACE_BITS) + 1]


async def test_without_disk_and_without_time_numbers_go_on_above_those_that_were_counted() -> None:
    disk = Disk()
    (counted,) = await numbers(disk, clock_at(NOON_S), 1)
    disk.is_failing = True
    unknown = await numbers(disk, clock_at(12.0, is_kept=False), 3)
    assert [counted, *unknown] == sorted({counted, *unknown})


def test_a_disk_that_hangs_holds_a_connection_up_for_two_seconds() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await numbers(Disk(is_hanging=True), clock_at(NOON_S), 1)
        return loop.time() - began_s

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert 1.9 < runner.run(wait()) < 2.5
