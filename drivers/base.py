"""What every driver needs, whatever its protocol."""

from collections.abc import Callable

from agent.safety.verdict import Refused

NowMs = Callable[[], int]
"""The shell's one monotonic clock, in milliseconds; tests pass a clock of their own."""

Recheck = Callable[[], Refused | None]
"""Asked right before a write goes out, when its turn on the line has come: what is against it now, or None.

A line is shared, and a silent neighbour holds it for up to a time-out: a verdict may be old by then.
"""
