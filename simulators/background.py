"""One task that lives exactly as long as a block.

A TaskGroup would do, but it wraps every exception of the block, a test's own assertion
included, into a group. Here the block's exception passes untouched; a task that dies on
its own ends the block.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager


@asynccontextmanager
async def alongside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run ``work`` beside the block; cancel it at the end. Its own failure is raised when the block ends."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
