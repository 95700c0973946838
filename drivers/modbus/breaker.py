"""When to leave a silent unit alone, so that it does not cost the others a time-out each round. Pure.

Closed: ask. After SILENCES_TO_OPEN time-outs in a row open: do not ask. Once the pause is over, one
request is let through as a probe; its answer closes the breaker, its silence doubles the pause.
"""

SILENCES_TO_OPEN = 2  # one lost answer is an accident
PAUSE_S_MIN, PAUSE_S_MAX = 1.0, 10.0  # a unit that came back is noticed within ten seconds


class Breaker:
    """One unit's breaker. Time is any monotonic clock in seconds."""

    __slots__ = ("_pause_s", "_silences", "probe_at_s")

    def __init__(self) -> None:
        self._silences = 0
        self._pause_s = PAUSE_S_MIN
        self.probe_at_s = 0.0  # the next probe, while open

    @property
    def is_open(self) -> bool:
        """True while the unit is believed dead."""
        return self._silences >= SILENCES_TO_OPEN

    def lets_through(self, now_s: float) -> bool:
        """True if the unit may be asked now."""
        return not self.is_open or now_s >= self.probe_at_s

    def record_answer(self) -> None:
        """The unit said something, if only no."""
        self._silences = 0
        self._pause_s = PAUSE_S_MIN

    def record_silence(self, now_s: float, jitter: float) -> None:
        """The unit did not answer in time.

        Args:
            jitter: 0..1; shortens the pause by up to half, so that units do not probe in step.
        """
        if self.is_open:
            self._pause_s = min(PAUSE_S_MAX, 2 * self._pause_s)
        self._silences += 1
        self.probe_at_s = now_s + self._pause_s * (1 - jitter / 2)
