"""Register maps: what a unit says at which address, as TOML under ``configs/profiles``.

Addresses are those of the PDU, from 0; makers' manuals often count from 1. A profile is checked whole
before anything is sent: a typing error in a map must not become a wrong reading.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from pathlib import Path

from drivers.errors import ProfileError, TextFileError
from drivers.textfile import read_text

ADDRESSES = 0x10000
BITS_PER_READ_MAX = 2000  # MODBUS Application Protocol V1.1b3 §6.1
REGISTERS_PER_READ_MAX = 125  # §6.3
REPEAT_MAX = 1000
POINTS_MAX = 2000
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_PROFILE_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")

COILS, DISCRETES, HOLDINGS, INPUTS = 1, 2, 3, 4
BIT_FUNCTIONS = (COILS, DISCRETES)
WRITABLE_FUNCTIONS = (COILS, HOLDINGS)


class PointType(StrEnum):
    """How a point is laid out; numbers are big-endian within a register."""

    BOOL = "bool"
    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    F32 = "f32"
    F64 = "f64"

    @property
    def struct_code(self) -> str:
        """The letter ``struct`` knows it by; bits have none."""
        return _STRUCT_CODES[self]

    @property
    def width(self) -> int:
        """How many addresses it takes."""
        return 1 if self is PointType.BOOL else int(self.value[1:]) // 16

    @property
    def is_float(self) -> bool:
        """True for IEEE 754 numbers."""
        return self in (PointType.F32, PointType.F64)


_STRUCT_CODES = {
    PointType.BOOL: "",
    PointType.U16: "H",
    PointType.S16: "h",
    PointType.U32: "I",
    PointType.S32: "i",
    PointType.U64: "Q",
    PointType.S64: "q",
    PointType.F32: "f",
    PointType.F64: "d",
}


class WordOrder(StrEnum):
    """Which register of a long number comes first."""

    BIG = "big"
    LITTLE = "little"


@dataclass(frozen=True, slots=True)
class Point:
    """One name in a map, or a row of ``repeat`` equal ones (channels).

    Args:
        fc: function code that reads it: 1 coils, 2 discrete inputs, 3 holding, 4 input registers.
        scale: value = raw × scale, kept exact.
        no_value: raw numbers by which the unit says that it has none. Not-a-number always says so.
        stride: addresses from one channel to the next.
        low, high: the value is nonsense outside them; None is open.
        read_back: a write is believed only after reading the same value.
    """

    name: str
    fc: int
    address: int
    type: PointType
    word_order: WordOrder = WordOrder.BIG
    scale: Fraction = Fraction(1)
    unit: str = ""
    no_value: frozenset[int] = frozenset()
    repeat: int = 1
    stride: int = 1
    low: Fraction | None = None
    high: Fraction | None = None
    writable: bool = False
    read_back: bool = True

    def key(self, channel: int = 0) -> str:
        """The name of one value in a reading: ``level.3`` where there are channels, else ``level``."""
        return f"{self.name}.{channel}" if self.repeat > 1 else self.name

    def address_of(self, channel: int = 0) -> int:
        """The first address of one channel."""
        return self.address + channel * self.stride


@dataclass(frozen=True, slots=True)
class Profile:
    """A unit's register map.

    Args:
        gap_max: how many addresses without a point may be read along to save a request. 0 unless the unit is
            known to answer for holes: most refuse the whole read.
        registers_max: the longest read the unit answers, in registers.
    """

    name: str
    points: Mapping[str, Point]
    gap_max: int = 0
    registers_max: int = REGISTERS_PER_READ_MAX

    def point(self, name: str, *, channel: int = 0, fc: int | None = None, writable: bool = False) -> Point:
        """Return a point a driver needs.

        Args:
            fc: the function code the driver relies on, if it matters.

        Raises:
            ProfileError: there is none, or it is not what the driver needs.
        """
        point = self.points.get(name)
        if point is None:
            raise ProfileError(f"{self.name}: point {name}: not in this profile, and the driver needs it")
        if not 0 <= channel < point.repeat:
            raise ProfileError(f"{self.name}: point {name}: channel {channel} of {point.repeat} (they count from 0)")
        if fc is not None and point.fc != fc:
            raise ProfileError(f"{self.name}: point {name}: fc {point.fc}, and the driver needs {fc}")
        if writable and not point.writable:
            raise ProfileError(f"{self.name}: point {name}: not writable, and the driver writes it")
        return point


def load_profile(folder: Path, name: str) -> Profile:
    """Read ``<folder>/<name>.toml``.

    Raises:
        ProfileError: no such file, or not a usable map; says file, point, what was found and expected.
    """
    if not _PROFILE_NAME.fullmatch(name):
        raise ProfileError(f"profile {name!r}: expected a name of a-z, 0-9 and -")
    path = folder / f"{name}.toml"
    try:
        text = read_text(path)
    except TextFileError as error:
        raise ProfileError(f"profile {name}: {error}") from error
    return parse_profile(text, name, str(path))


def parse_profile(text: str, name: str, file: str) -> Profile:
    """Build a profile from TOML.

    Raises:
        ProfileError: says file, point, what was found and expected.
    """
    try:
        table = tomllib.loads(text, parse_float=Decimal)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ProfileError(f"{file}: not TOML: {error}") from error
    keys = _Keys(table, file)
    keys.only(("gap_max", "registers_max", "point"))
    gap_max = keys.whole("gap_max", 0, REGISTERS_PER_READ_MAX, 0)
    registers_max = keys.whole("registers_max", 4, REGISTERS_PER_READ_MAX, REGISTERS_PER_READ_MAX)
    rows = table.get("point")
    if not isinstance(rows, list) or not 1 <= len(rows) <= POINTS_MAX:
        raise ProfileError(f"{file}: point: expected 1..{POINTS_MAX} tables [[point]]")
    points: dict[str, Point] = {}
    for number, row in enumerate(rows, start=1):
        point = _point(row, f"{file}: point {number}")
        if point.name in points:
            raise ProfileError(f"{file}: point {point.name}: named twice")
        points[point.name] = point
    return Profile(name, points, gap_max, registers_max)


_POINT_KEYS = (
    "name", "fc", "address", "type", "word_order", "scale", "unit", "no_value", "repeat", "stride", "min", "max",
    "writable", "read_back",
)  # fmt: skip


def _point(row: object, where: str) -> Point:
    if not isinstance(row, dict):
        raise ProfileError(f"{where}: expected a table [[point]]")
    name = row.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ProfileError(f"{where}: name: expected a-z, 0-9 and _, found {_shown(name)}")
    keys = _Keys(row, f"{where.rpartition(':')[0]}: point {name}")
    keys.only(_POINT_KEYS)
    kind = PointType(keys.word("type", tuple(PointType)))
    fc = keys.whole("fc", 1, 4)
    if (fc in BIT_FUNCTIONS) != (kind is PointType.BOOL):
        raise keys.error("type", "bool with fc 1 and 2, a number with fc 3 and 4")
    writable = keys.truth("writable", default=False)
    if writable and fc not in WRITABLE_FUNCTIONS:
        raise keys.error("writable", "false with fc 2 and 4, which only read")
    repeat = keys.whole("repeat", 1, REPEAT_MAX, 1)
    stride = keys.whole("stride", kind.width, ADDRESSES, kind.width)
    address = keys.whole("address", 0, ADDRESSES - 1)
    if address + (repeat - 1) * stride + kind.width > ADDRESSES:
        raise keys.error("address", f"the last of {repeat} within 0..{ADDRESSES - 1}")
    low, high = keys.number("min"), keys.number("max")
    if low is not None and high is not None and low > high:
        raise keys.error("min", f"at most max, {high}")
    scale = Fraction(1) if (given := keys.number("scale")) is None else given
    if scale == 0 or (kind is PointType.BOOL and scale != 1):
        raise keys.error("scale", "a number other than 0, and none for bool")
    return Point(
        name=name,
        fc=fc,
        address=address,
        type=kind,
        word_order=WordOrder(keys.word("word_order", tuple(WordOrder), WordOrder.BIG)),
        scale=scale,
        unit=keys.text("unit"),
        no_value=keys.wholes("no_value"),
        repeat=repeat,
        stride=stride,
        low=low,
        high=high,
        writable=writable,
        read_back=keys.truth("read_back", default=True),
    )


class _Keys:
    """One table of the file, read key by key with precise complaints."""

    def __init__(self, table: Mapping[str, object], where: str) -> None:
        self._table = table
        self._where = where

    def error(self, key: str, expected: str) -> ProfileError:
        return ProfileError(f"{self._where}: {key}: expected {expected}, found {_shown(self._table.get(key))}")

    def only(self, known: tuple[str, ...]) -> None:
        for key in self._table:
            if key not in known:
                raise ProfileError(f"{self._where}: {_shown(key)}: not a key here; known: {', '.join(known)}")

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        value = self._table.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.error(key, f"a whole number {low}..{high}")
        return value

    def wholes(self, key: str) -> frozenset[int]:
        value = self._table.get(key, [])
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, int) and not isinstance(each, bool) for each in values):
            raise self.error(key, "a whole number, raw, or a list of them")
        return frozenset(values)

    def number(self, key: str) -> Fraction | None:
        value = self._table.get(key)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool):
            return Fraction(value)
        # The exponent is bounded because Fraction would write 1e999999999 out in full.
        if isinstance(value, Decimal) and value.is_finite() and -30 < value.adjusted() < 30:
            return Fraction(value)
        raise self.error(key, "a finite number")

    def word(self, key: str, words: tuple[str, ...], default: str | None = None) -> str:
        value = self._table.get(key, default)
        if not isinstance(value, str) or value not in words:
            raise self.error(key, f"one of {', '.join(words)}")
        return value

    def text(self, key: str) -> str:
        value = self._table.get(key, "")
        if not isinstance(value, str):
            raise self.error(key, "text")
        return value

    def truth(self, key: str, *, default: bool) -> bool:
        value = self._table.get(key, default)
        if not isinstance(value, bool):
            raise self.error(key, "true or false")
        return value


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return repr(str(value) if isinstance(value, Decimal) else value)[:80]
