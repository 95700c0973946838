"""The one clock of a process. The core never reads it; it is handed ``now_ms``."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.model.observation import ClockQuality

BUILD_FLOOR_MS = 1_767_225_600_000
"""2026-01-01: a clock before this has lost its battery."""


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Clock:
    """Monotonic time for decisions, Unix time for stamps.

    Args:
        now_ms: monotonic milliseconds. unix_ms: Unix milliseconds; believed as far as ``quality`` says.
    """

    now_ms: Callable[[], int] = _monotonic_ms
    unix_ms: Callable[[], int] = _unix_ms

    def quality(self) -> ClockQuality:
        """UNKNOWN before the build floor, else NETWORK: the host keeps time by NTP."""
        return ClockQuality.NETWORK if self.unix_ms() >= BUILD_FLOOR_MS else ClockQuality.UNKNOWN
