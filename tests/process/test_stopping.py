"""Stopping: a task ends, also one whose first cancellation is swallowed by what it waits for."""

import asyncio

from agent.process.stopping import stop_all


async def test_a_task_that_swallows_its_first_cancellation_is_stopped_all_the_same() -> None:
    swallowed = 0

    async def deaf() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    async with asyncio.timeout(10):
        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)
        await stop_all([task])
    assert swallowed == 2
    assert task.cancelled()


async def test_tasks_that_have_ended_need_no_stopping() -> None:
    async def fail() -> None:
        raise OSError("its own")

    async def end() -> None:
        return

    tasks = [asyncio.create_task(fail()), asyncio.create_task(end())]
    await asyncio.wait(tasks)
    await stop_all(tasks)
    await stop_all([])
    assert isinstance(tasks[0].exception(), OSError)
