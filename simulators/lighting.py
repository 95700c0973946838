"""The electrical side of a lighting cabinet: contactors, segments of lamps, what they draw.

Lamps are LED with a dimming input: power is a standby part plus a part that follows the
level. Feeders are spread over the three phases in turn.
"""

from dataclasses import dataclass, field

SEGMENTS = 8
CONTACTOR_DELAY_S = 0.1  # coil pull-in plus auxiliary contact
STANDBY_FRACTION = 0.06  # driver losses at the lowest level
MAINS_V = 230.0
DEAD_LAMP_FRACTION = 1 / 3  # what the fault ``lamps_out`` takes away


@dataclass(slots=True)
class Contactor:
    """A power contactor: the feedback contact follows the command after CONTACTOR_DELAY_S."""

    closed: bool = False
    _wanted: bool = False
    _wanted_since_s: float = 0.0

    def step(self, now_s: float, wanted: bool, stuck: bool) -> None:
        """Follow ``wanted`` unless stuck."""
        if wanted != self._wanted:
            self._wanted, self._wanted_since_s = wanted, now_s
        if not stuck and self.closed != wanted and now_s - self._wanted_since_s >= CONTACTOR_DELAY_S:
            self.closed = wanted


@dataclass(slots=True)
class Segment:
    """One feeder ("départ") with its lamps.

    ``level`` is the dimming output, 0..100 %. ``nominal_w`` is what all lamps draw at 100 %.
    """

    nominal_w: float
    level: int = 100
    contactor: Contactor = field(default_factory=Contactor)
    breaker_tripped: bool = False
    override_on: bool = False
    lamps_out: bool = False

    def power_w(self, mains: bool) -> float:
        """Return what the segment draws now."""
        if not (mains and self.contactor.closed) or self.breaker_tripped:
            return 0.0
        alive = 1 - DEAD_LAMP_FRACTION if self.lamps_out else 1.0
        dimming = STANDBY_FRACTION + (1 - STANDBY_FRACTION) * self.level / 100 if self.level else STANDBY_FRACTION
        return self.nominal_w * alive * dimming


def current_a(power_w: float, voltage_v: float = MAINS_V, power_factor: float = 0.95) -> float:
    """Return the current of a single-phase load, in amperes."""
    return power_w / (voltage_v * power_factor)
