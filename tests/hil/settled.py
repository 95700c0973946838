"""The end of a simulator in a test."""

import asyncio


async def wait_settled(before: set[asyncio.Task[object]]) -> None:
    """Wait until the simulator has noticed that we hung up, so that no task of it outlives the test."""
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:  # noqa: ASYNC110 - tasks that end tell nobody
            await asyncio.sleep(0.001)
