"""Time for simulators and tests: real, scaled, moved by hand, or virtual for a whole event loop.

Device models never read a clock. They are stepped with a number of seconds; whoever
hosts them chooses one of the clocks below. ``VirtualTimeLoop`` is for logic tests: no
timer ever waits. It is for in-memory links only, because bytes in flight on a real
socket look like nothing to do, and the loop would jump past them.
"""

import asyncio
import selectors
import time
from typing import Protocol


class Clock(Protocol):
    """Anything that knows the seconds elapsed since some fixed moment of its own."""

    def now_s(self) -> float:
        """Return seconds, never decreasing."""
        ...


class RealClock:
    """Seconds since this clock was made, at the speed of the world."""

    def __init__(self) -> None:
        self._started_s = time.monotonic()

    def now_s(self) -> float:
        """Return real seconds since the clock was made."""
        return time.monotonic() - self._started_s


class ScaledClock:
    """Real time multiplied.

    Args:
        speed: simulated seconds per real second, above 0.
    """

    def __init__(self, speed: float) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, got {speed}")
        self.speed = speed
        self._real = RealClock()

    def now_s(self) -> float:
        """Return simulated seconds since the clock was made."""
        return self._real.now_s() * self.speed


class ManualClock:
    """A clock that moves only when a test says so."""

    def __init__(self, now_s: float = 0.0) -> None:
        self._now_s = now_s

    def now_s(self) -> float:
        """Return the moment the test has reached."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward; a clock never runs back."""
        if seconds < 0:
            raise ValueError(f"a clock never runs back, got {seconds} s")
        self._now_s += seconds


class LoopClock:
    """The running event loop's own time: virtual when the loop is."""

    def now_s(self) -> float:
        """Return the running loop's time."""
        return asyncio.get_running_loop().time()


class LoopStalledError(RuntimeError):
    """Every task waits and no timer is set: the test would hang for ever."""


class _JumpingSelector(selectors.DefaultSelector):
    """Polls without waiting; when nothing is ready, the wait is added to the time instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise LoopStalledError("every task waits and no timer is set")
        self.now_s += max(timeout, 0.0)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers never wait: idle time is jumped over.

    pytest-asyncio takes it through the hook ``pytest_asyncio_loop_factories``.
    Threads (``run_in_executor``) look like idleness too: do not mix.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self._jumping.now_s
