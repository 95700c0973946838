"""Pauses between connections."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between connections, full jitter: ``uniform(0, min(longest, first * 2^n))``."""

    first_s: float = 1.0
    longest_s: float = 60.0

    def pause_s(self, failures: int, dice: random.Random) -> float:
        """The pause after so many failures in a row."""
        return dice.uniform(0.0, min(self.longest_s, self.first_s * 2.0 ** min(failures, 30)))
