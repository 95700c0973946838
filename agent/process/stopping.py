"""Stop tasks for certain. One cancellation is not enough: a library may swallow it.

``asyncio.wait_for`` of Python 3.11 does when an answer arrives in the same instant, and both the Modbus and the MQTT
library wait by it. A loop whose cancellation was swallowed would go on for ever, and the process would never end.
"""

import asyncio
from collections.abc import Collection

AGAIN_S = 0.5


async def stop_all(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Cancel until every task has ended; what they raise is left to whoever owns them."""
    running = set(tasks)
    while running:  # Until they end: each round reaches them wherever they wait by then.
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=AGAIN_S)
