"""Wait for what happens elsewhere; never for a time."""

import asyncio
from collections.abc import Callable

PAUSE_S = 0.01


async def wait_until(condition: Callable[[], bool], seconds_max: float = 20.0) -> None:
    """Return as soon as the condition holds; fail if it does not in time."""
    async with asyncio.timeout(seconds_max):
        while not condition():  # noqa: ASYNC110 - what is waited for is outside this process or has no event
            await asyncio.sleep(PAUSE_S)
