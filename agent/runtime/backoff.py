"""Pauses between connections."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between connections, full jitter: ``uniform(0, min(longest, first * 2^n))``.

    Longest 5 s: the first word after an outage should come within seconds, and a broker takes some 430 connections a
    second with TLS, so that a thousand gateways that try every 2.5 s on average are what it bears (sync.md 1.3).
    """

    first_s: float = 1.0
    longest_s: float = 5.0

    def pause_s(self, failures: int, dice: random.Random) -> float:
        """The pause after so many failures in a row."""
        return dice.uniform(0.0, min(self.longest_s, self.first_s * 2.0 ** min(failures, 30)))
