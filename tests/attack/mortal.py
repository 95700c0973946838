"""A guard that dies at a chosen point of a command: ``python -m tests.attack.mortal POINT SITE.toml``.

The guard itself, with one function wrapped; the process ends by SIGKILL, as by a power cut.
"""

import os
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from agent.guard.__main__ import main
from agent.guard.executor import GuardExecutor
from agent.guard.records import Records
from drivers.ntcip.controller import SignalController
from drivers.ntcip.session import SnmpSession

POINTS: dict[str, tuple[type, str, bool]] = {
    "before the counter is stored": (Records, "store_counter", False),
    "between the counter and the act": (Records, "store_counter", True),
    "before the write": (SnmpSession, "set", False),
    "between the write and its reading back": (SnmpSession, "set", True),
    "between the act and its record": (GuardExecutor, "record", False),
    "after the record": (GuardExecutor, "record", True),
    "before the first reading": (SignalController, "connect", False),
}
"""Point -> class, function, and whether it dies behind it."""


def die() -> None:
    """End at once: no handler, no release, no flush."""
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Callable[..., Awaitable[Any]], *, behind: bool) -> Callable[..., Awaitable[Any]]:
    """The same function, the last one this process calls."""

    async def call(*args: Any, **named: Any) -> Any:
        if not behind:
            die()
        result = await function(*args, **named)
        die()
        return result

    return call


if __name__ == "__main__":
    owner, name, is_behind = POINTS[sys.argv[1]]
    setattr(owner, name, deadly(getattr(owner, name), behind=is_behind))
    sys.exit(main(sys.argv[2:]))
