"""Which reads fetch a profile, and what their answers mean. Pure: no I/O, no clock.

Reads are coalesced once, when a unit is set up; decoding then is one gather, one ``struct`` call and a
conversion only where the profile asks for one.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import itemgetter
from struct import Struct
from struct import error as StructError  # noqa: N812 - the module spells its exception small

from agent.model.observation import Scalar
from drivers.modbus.profile import BIT_FUNCTIONS, BITS_PER_READ_MAX, Point, PointType, Profile, WordOrder

Raw = int | float | bool
Convert = Callable[[Raw], Scalar]
"""Raw to value; None when the unit has none to give."""


@dataclass(frozen=True, slots=True)
class _Field:
    """One channel of one point."""

    point: Point
    channel: int

    @property
    def start(self) -> int:
        return self.point.address_of(self.channel)

    @property
    def end(self) -> int:
        return self.start + self.point.type.width


class Block:
    """One read: ``count`` addresses from ``address`` by function code ``fc``."""

    __slots__ = ("_converts", "_gather", "_pack", "_unpack", "address", "count", "fc", "keys")

    def __init__(self, fields: Sequence[_Field]) -> None:
        self.fc = fields[0].point.fc
        self.address = fields[0].start
        self.count = max(field.end for field in fields) - self.address
        self.keys = tuple(field.point.key(field.channel) for field in fields)
        self._converts: tuple[Convert | None, ...] = tuple(_convert(field.point) for field in fields)
        order = tuple(word for field in fields for word in self._words_of(field))
        # itemgetter of one index returns the item itself, so one word is fetched twice and packed once.
        self._gather = itemgetter(*order) if len(order) > 1 else itemgetter(slice(order[0], order[0] + 1))
        self._pack = Struct(f">{len(order)}H").pack
        self._unpack = Struct(">" + "".join(field.point.type.struct_code for field in fields)).unpack

    def _words_of(self, field: _Field) -> Iterable[int]:
        words = range(field.start - self.address, field.end - self.address)
        return words if field.point.word_order is WordOrder.BIG else reversed(words)

    def decode(self, answer: Sequence[int], values: dict[str, Scalar], bad: set[str]) -> None:
        """Add the block's values; a value that is none goes in as None and its key into ``bad``.

        Args:
            answer: at least ``count`` registers 0..65535 or bits.
        """
        gathered = self._gather(answer)
        raws = gathered if self.fc in BIT_FUNCTIONS else self._unpack(self._pack(*gathered))
        for key, raw, convert in zip(self.keys, raws, self._converts, strict=True):
            value = raw if convert is None else convert(raw)
            values[key] = value
            if value is None:
                bad.add(key)


def plan(profile: Profile, names: Iterable[str] | None = None) -> tuple[Block, ...]:
    """Return the fewest reads for a profile within its limits on length and gaps, in order of address.

    Args:
        names: only these points; all if None.

    Raises:
        ProfileError: a name is not in the profile.
    """
    points = [profile.point(name) for name in (profile.points if names is None else names)]
    fields = [_Field(point, channel) for point in points for channel in range(point.repeat)]
    fields.sort(key=lambda field: (field.point.fc, field.start, field.end))
    return tuple(Block(run) for run in _runs(fields, profile))


def _runs(fields: Sequence[_Field], profile: Profile) -> Iterator[Sequence[_Field]]:
    """Cut sorted fields where a gap or the length forces another read."""
    first = 0
    end = 0
    for index, field in enumerate(fields):
        length_max = BITS_PER_READ_MAX if field.point.fc in BIT_FUNCTIONS else profile.registers_max
        start = fields[first]
        if index > first and (
            field.point.fc != start.point.fc
            or field.start > end + profile.gap_max
            or max(end, field.end) - start.start > length_max
        ):
            yield fields[first:index]
            first, end = index, 0
        end = max(end, field.end)
    if fields:
        yield fields[first:]


def _convert(point: Point) -> Convert | None:
    """Compile a point's way from raw to value; None where raw is the value."""
    if point.type is PointType.BOOL:
        return bool
    plain = point.scale == 1 and not point.no_value and point.low is None and point.high is None
    if plain:
        return _finite if point.type.is_float else None
    numerator, denominator = point.scale.numerator, point.scale.denominator
    no_value, low, high = point.no_value, point.low, point.high

    def convert(raw: Raw) -> Scalar:
        if raw in no_value:
            return None
        # Multiplied before divided: 2305 / 10 is 230.5, 2305 * 0.1 is not.
        value = raw * numerator if denominator == 1 else raw * numerator / denominator
        if not math.isfinite(value) or (low is not None and value < low) or (high is not None and value > high):
            return None
        return value

    return convert


def _finite(raw: Raw) -> Scalar:
    return raw if math.isfinite(raw) else None


def single(point: Point, channel: int = 0) -> Block:
    """Return the read that fetches one channel of one point."""
    return Block((_Field(point, channel),))


def encode(point: Point, value: Scalar) -> tuple[int, ...]:
    """Return the registers, or the one bit, that say ``value``.

    Raises:
        ValueError: the point cannot say it: out of range or no number.
    """
    if point.type is PointType.BOOL:
        if not isinstance(value, bool):
            raise ValueError(f"{point.name} is true or false, not {value!r}")
        return (int(value),)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{point.name} is a number, not {value!r}")
    if (point.low is not None and value < point.low) or (point.high is not None and value > point.high):
        raise ValueError(f"{point.name} is {point.low}..{point.high}, not {value!r}")
    raw = Fraction(value) / point.scale
    try:
        packed = Struct(">" + point.type.struct_code).pack(float(raw) if point.type.is_float else round(raw))
    except (StructError, OverflowError) as error:
        raise ValueError(f"{point.name} cannot hold {value!r}: {error}") from error
    words = Struct(f">{point.type.width}H").unpack(packed)
    return words if point.word_order is WordOrder.BIG else words[::-1]
