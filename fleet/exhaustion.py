"""What the machine has no more of: told once a minute, not for every connection that has to wait.

Without a free file descriptor asyncio cannot accept. It tries again after a second, as often as connections may wait, and
tells a traceback each time. Whoever is connected is served meanwhile, and the others once a descriptor is free.
"""

import asyncio
import errno
import time
from typing import Any

import structlog

TOLD_EVERY_S = 60.0
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def is_exhausted(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is that the machine has no more of something."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in EXHAUSTED:
            return True
        error = error.__cause__
    return False


class Exhaustion:
    """An exception handler for an event loop; leaves everything else to the loop's own."""

    def __init__(self) -> None:
        self._told_s: float | None = None
        self._times = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Take what nobody caught."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and is_exhausted(error)):
            loop.default_exception_handler(context)
            return
        self._times += 1
        now_s = time.monotonic()
        if self._told_s is None or now_s - self._told_s >= TOLD_EVERY_S:
            self._told_s = now_s
            reason = f"{error.strerror}: new connections wait"
            structlog.get_logger("fleet").error("resources.exhausted", reason=reason, times=self._times)
