"""Vehicles and pedestrians that arrive by chance, from a seed."""

import random

TENTHS_PER_HOUR = 36_000


class Traffic:
    """Arrivals by phase.

    Args:
        seed: the same seed brings the same traffic.
        per_hour: vehicles an hour by phase number.
        pedestrians_per_hour: pedestrians an hour on each of phases 2, 4, 6, 8.
    """

    def __init__(
        self, seed: int = 1, per_hour: dict[int, float] | None = None, pedestrians_per_hour: float = 40.0
    ) -> None:
        self._random = random.Random(seed)
        rates = {1: 90, 2: 600, 3: 60, 4: 200, 5: 90, 6: 600, 7: 60, 8: 200} if per_hour is None else per_hour
        self._rates = [(1 << (phase - 1), rate / TENTHS_PER_HOUR) for phase, rate in sorted(rates.items())]
        self._pedestrian_rate = pedestrians_per_hour / TENTHS_PER_HOUR

    def arrivals(self) -> tuple[int, int]:
        """Draw one tenth of a second: masks of vehicle and pedestrian arrivals."""
        vehicles = pedestrians = 0
        for mask, rate in self._rates:
            if self._random.random() < rate:
                vehicles |= mask
        for phase in (2, 4, 6, 8):
            if self._random.random() < self._pedestrian_rate:
                pedestrians |= 1 << (phase - 1)
        return vehicles, pedestrians
