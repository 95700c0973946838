"""Sunset and sunrise, to about a minute. Pure.

Source: the NOAA Solar Calculator's formulas, after J. Meeus, Astronomical Algorithms; sun's centre 0.833° below the horizon.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

from agent.model.equipment import Position

DAY_MS = 86_400_000
MINUTE_MS = 60_000
J2000_UNIX_MS = 946_728_000_000  # 2000-01-01 12:00 UTC
CENTURY_MS = 36_525 * DAY_MS
HORIZON_DEG = 90.833  # refraction and the sun's radius


@dataclass(frozen=True, slots=True)
class Night:
    """From one sunset to the next sunrise, Unix milliseconds."""

    sunset_ms: int
    sunrise_ms: int


def night_around(unix_ms: int, position: Position) -> Night | None:
    """The night between the solar noon before ``unix_ms`` and the one after; None if the sun does not set or rise.

    Args:
        position: of the lamps; nights are counted from noon to noon there, so that none is cut at midnight.
    """
    noon_offset_ms = round(4 * position.longitude * MINUTE_MS)  # The mean sun: 4 minutes a degree.
    day = (unix_ms + noon_offset_ms - DAY_MS // 2) // DAY_MS
    return _night(day, position)


@lru_cache(maxsize=64)
def _night(day: int, position: Position) -> Night | None:
    noon_ms = day * DAY_MS + DAY_MS // 2 - round(4 * position.longitude * MINUTE_MS)
    sunset_ms, sunrise_ms = _event(noon_ms, position, 1), _event(noon_ms + DAY_MS, position, -1)
    return None if sunset_ms is None or sunrise_ms is None else Night(sunset_ms, sunrise_ms)


def _event(noon_ms: int, position: Position, sign: int) -> int | None:
    """Sunset (1) after a mean noon, or sunrise (-1) before it; computed twice, for the sun moves on meanwhile."""
    at_ms = noon_ms
    for _ in range(2):
        declination_rad, equation_min = _sun(at_ms)
        latitude_rad = math.radians(position.latitude)
        cosine = math.cos(math.radians(HORIZON_DEG)) / (math.cos(latitude_rad) * math.cos(declination_rad)) - math.tan(
            latitude_rad
        ) * math.tan(declination_rad)
        if not -1 <= cosine <= 1:
            return None
        minutes = sign * 4 * math.degrees(math.acos(cosine)) - equation_min
        at_ms = noon_ms + round(minutes * MINUTE_MS)
    return at_ms


def _sun(unix_ms: int) -> tuple[float, float]:
    """The sun's declination in radians and the equation of time in minutes."""
    t = (unix_ms - J2000_UNIX_MS) / CENTURY_MS
    mean_longitude = math.radians((280.46646 + t * (36000.76983 + 0.0003032 * t)) % 360)
    anomaly = math.radians(357.52911 + t * (35999.05029 - 0.0001537 * t))
    eccentricity = 0.016708634 - t * (0.000042037 + 0.0000001267 * t)
    centre_deg = (
        math.sin(anomaly) * (1.914602 - t * (0.004817 + 0.000014 * t))
        + math.sin(2 * anomaly) * (0.019993 - 0.000101 * t)
        + math.sin(3 * anomaly) * 0.000289
    )
    node = math.radians(125.04 - 1934.136 * t)
    longitude = mean_longitude + math.radians(centre_deg - 0.00569 - 0.00478 * math.sin(node))
    obliquity_deg = 23 + (26 + (21.448 - t * (46.815 + t * (0.00059 - 0.001813 * t))) / 60) / 60
    obliquity = math.radians(obliquity_deg + 0.00256 * math.cos(node))
    y = math.tan(obliquity / 2) ** 2
    equation = (
        y * math.sin(2 * mean_longitude)
        - 2 * eccentricity * math.sin(anomaly)
        + 4 * eccentricity * y * math.sin(anomaly) * math.cos(2 * mean_longitude)
        - 0.5 * y * y * math.sin(4 * mean_longitude)
        - 1.25 * eccentricity**2 * math.sin(2 * anomaly)
    )
    return math.asin(math.sin(obliquity) * math.sin(longitude)), 4 * math.degrees(equation)
