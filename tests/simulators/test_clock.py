"""Time that does not wait."""

import asyncio
import time

import pytest

from simulators.clock import LoopClock, LoopStalledError, ManualClock, ScaledClock, VirtualTimeLoop


def test_a_virtual_hour_passes_at_once() -> None:
    async def wait_an_hour() -> tuple[float, float]:
        clock = LoopClock()
        before = clock.now_s()
        await asyncio.sleep(3600)
        return before, clock.now_s()

    started = time.monotonic()
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        before, after = runner.run(wait_an_hour())
    assert after - before == pytest.approx(3600)
    assert time.monotonic() - started < 1


def test_virtual_timers_fire_in_order() -> None:
    async def three_sleepers() -> list[int]:
        woken: list[int] = []

        async def sleeper(seconds: int) -> None:
            await asyncio.sleep(seconds)
            woken.append(seconds)

        async with asyncio.TaskGroup() as group:
            for seconds in (30, 1, 7):
                group.create_task(sleeper(seconds))
        return woken

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(three_sleepers()) == [1, 7, 30]


def test_a_virtual_loop_where_nothing_can_happen_is_an_error_not_a_hang() -> None:
    loop = VirtualTimeLoop()
    stuck = loop.create_future()
    try:
        with pytest.raises(LoopStalledError):
            loop.run_until_complete(stuck)
    finally:
        loop.close()


def test_a_manual_clock_moves_only_when_told_and_never_back() -> None:
    clock = ManualClock()
    clock.advance(2.5)
    assert clock.now_s() == 2.5
    with pytest.raises(ValueError):
        clock.advance(-1)


def test_a_scaled_clock_needs_a_speed_above_nothing() -> None:
    with pytest.raises(ValueError):
        ScaledClock(0)
