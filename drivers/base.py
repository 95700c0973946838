"""What every driver needs, whatever its protocol."""

from collections.abc import Callable

NowMs = Callable[[], int]
"""The shell's one monotonic clock, in milliseconds; tests pass a clock of their own."""
