"""Values, ages and times as a person says them. Pure, but for the local time zone.

Whatever comes from a socket or a file is cleaned before it reaches a terminal: an equipment's name must not move the
cursor or hide a line.
"""

import math
import re
import unicodedata
from datetime import UTC, datetime

from agent.cli.ending import UsageError
from agent.model.observation import FIRST_DATE_MS, Quality
from agent.wire.local import LogEntry, PointView
from agent.wire.messages import Value

LEASE_S_MAX = 7 * 24 * 3600
"""Far above any lease the rules allow: only to catch a slip of the keyboard."""

_LEASE = re.compile(r"(?:(\d{1,4})h)?(?:(\d{1,5})m(?:in)?)?(?:(\d{1,6})s)?")


def clean(text: str) -> str:
    """Make control, direction and half characters visible instead of effective."""
    if text.isprintable():
        return text
    return "".join(each if _harmless(each) else ascii(each)[1:-1] for each in text)


def _harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"  # French writes no-break spaces


def sentence(text: str) -> str:
    """Clean a text and end it with a stop; empty stays empty."""
    text = clean(text).strip()
    return text if not text or text[-1] in ".!?" else f"{text}."


def sentences(*texts: str) -> str:
    """Join texts as sentences: each after the first starts with a capital."""
    whole = [sentence(text) for text in texts if text.strip()]
    return " ".join([*whole[:1], *(each[0].upper() + each[1:] for each in whole[1:])])


def duration(milliseconds: int) -> str:
    """Two units at most: ``42 s``, ``12 min``, ``3 h 05 min``, ``2 d 4 h``."""
    seconds = milliseconds // 1000
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min"
    if seconds < 86_400:
        return f"{seconds // 3600} h {seconds // 60 % 60:02d} min"
    return f"{seconds // 86_400} d {seconds // 3600 % 24} h"


def lease_s(text: str) -> int:
    """Read a lease such as ``30m``, ``2h``, ``1h30m`` or ``90s``.

    Raises:
        UsageError: no unit, nothing, or beyond LEASE_S_MAX.
    """
    match = _LEASE.fullmatch(text.strip().lower())
    hours, minutes, seconds = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 0 < total <= LEASE_S_MAX:
        raise UsageError(f"{clean(text)!r} is not a duration", advice="write it as 90s, 30m, 2h or 1h30m, up to 168h")
    return total


def quality(number: int) -> str:
    """The word for a quality; the decoder has let only 0..3 pass."""
    return Quality(number).name.lower()


def scalar(value: Value) -> str:
    """A value without its quality; only for fields of an event, never for a point."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case str():
            return clean(value)
    return str(value)


def reading(point: PointView) -> str:
    """A point's value, never without its quality and age; a bad value is not shown as one."""
    shown = "?" if point.quality == Quality.BAD else scalar(point.value)
    return f"{shown} ({quality(point.quality)} {duration(point.age_ms)})"


def who(event: LogEntry) -> str:
    """Who asked for it, all who signed; empty for what the guard did by itself."""
    detail = event.detail
    return next((name for name in map(detail.get, ("signed by", "issuer")) if isinstance(name, str)), "")


def moment(unix_ms: int, now_ms: int) -> str:
    """Local time of day, with the date unless it is today's; of somebody who did not know the time, since the start."""
    if 0 <= unix_ms < FIRST_DATE_MS:
        return f"start + {duration(unix_ms)}"
    try:
        then = datetime.fromtimestamp(unix_ms / 1000, UTC).astimezone()
        today = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone()
    except (OverflowError, ValueError, OSError):
        return "no such time"  # a clock gone mad is worth seeing, not worth falling over
    return f"{then:%H:%M:%S}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}"


def finite(value: Value) -> Value:
    """JSON knows no NaN and no infinity: they become words."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
