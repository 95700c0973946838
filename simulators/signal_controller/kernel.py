"""What decides the phases: the rings, or a recording."""

from typing import Protocol

from simulators.signal_controller.aspects import Picture
from simulators.signal_controller.demand import Demand
from simulators.signal_controller.program import Program


class Kernel(Protocol):
    """What decides the phases: the rings, or a recording."""

    program: Program
    ended: int

    @property
    def all_red(self) -> bool:
        """No phase shows anything but red."""
        ...

    def restart(self, tenth: int) -> None:
        """Begin again after start-up."""
        ...

    def go_dark(self) -> None:
        """The lamps are taken away."""
        ...

    def tick(self, tenth: int, demand: Demand) -> None:
        """Advance to ``tenth``."""
        ...

    def picture(self) -> Picture:
        """Return what the phases show."""
        ...
