"""How a simulated bollard is built, and what the street and the technician do to it."""

from dataclasses import dataclass

TRAVEL_S_CEILING = 15.0
DEFECTS = ("ignore_loops", "no_warning", "no_timeout", "endless_reversals", "bounce", "rise_on_power")
"""Interlocks that can be taken away from the PLC; their meanings are in the menu of faults."""


@dataclass(frozen=True, slots=True)
class Build:
    """How a bollard is built and set. Times in seconds.

    ``spring_down``: lowers by itself without mains. ``retries``: tries again after a reversal.
    """

    raise_s: float = 4.0
    lower_s: float = 3.0
    prewarn_s: float = 3.0
    efo_prewarn_s: float = 1.0
    spring_down: bool = False
    retries: bool = True

    def travel_s_max(self, nominal_s: float) -> float:
        """Return the longest travel the PLC tolerates: twice nominal, 15 s at most."""
        return min(2 * nominal_s, TRAVEL_S_CEILING)


@dataclass(slots=True)
class Surroundings:
    """What the street and the technician do to the bollard."""

    loop_a: bool = False
    loop_b: bool = False
    loop_fault: bool = False
    pressure: bool = False
    mains: bool = True
    local_key: bool = False
    door_open: bool = False
    both_limits: bool = False
    stuck_drive: bool = False
    efo: bool = False  # the local hardware input, never the wire
    local_raise: bool = False
    local_lower: bool = False
    defects: frozenset[str] = frozenset()

    @property
    def loops_busy(self) -> bool:
        """A vehicle is there, or the loops cannot tell."""
        return self.loop_a or self.loop_b or self.loop_fault

    @property
    def obstructed(self) -> bool:
        """What must keep a bollard from rising, as far as the PLC heeds it."""
        return (self.loops_busy or self.pressure) and "ignore_loops" not in self.defects
