"""Where the stamps of records come from."""

from typing import Protocol

from agent.model.observation import ClockQuality


class Clock(Protocol):
    """The time of this process; ``agent.process.clock.Clock`` is one."""

    @property
    def boot(self) -> bytes:
        """Names the boot that ``now_ms`` counts from."""

    def now_ms(self) -> int:
        """Monotonic milliseconds."""

    def unix_ms(self) -> int:
        """Unix milliseconds."""

    def quality(self) -> ClockQuality:
        """How far ``unix_ms`` may be believed."""
