"""Where the sun stands, well enough for a lighting cabinet's own astronomical mode (about half a degree).

Source: J. Meeus, Astronomical Algorithms, low-precision solar position.
"""

import math

J2000_EPOCH_S = 946_728_000  # 2000-01-01 12:00 UTC
DAY_S = 86_400.0


def elevation_deg(epoch_s: float, latitude_deg: float, longitude_deg: float) -> float:
    """Return the sun's elevation above the horizon, in degrees; east and north are positive."""
    days = (epoch_s - J2000_EPOCH_S) / DAY_S
    anomaly = math.radians((357.529 + 0.98560028 * days) % 360)
    mean_longitude = 280.459 + 0.98564736 * days
    longitude = math.radians((mean_longitude + 1.915 * math.sin(anomaly) + 0.020 * math.sin(2 * anomaly)) % 360)
    obliquity = math.radians(23.439 - 0.00000036 * days)
    right_ascension = math.atan2(math.cos(obliquity) * math.sin(longitude), math.cos(longitude))
    declination = math.asin(math.sin(obliquity) * math.sin(longitude))
    sidereal = math.radians((280.46062 + 360.98564737 * days + longitude_deg) % 360)
    hour_angle = sidereal - right_ascension
    latitude = math.radians(latitude_deg)
    sine = math.sin(latitude) * math.sin(declination) + math.cos(latitude) * math.cos(declination) * math.cos(
        hour_angle
    )
    return math.degrees(math.asin(max(-1.0, min(1.0, sine))))
