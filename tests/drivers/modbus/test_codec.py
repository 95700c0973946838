"""Registers to values and back."""

import math
import struct
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.observation import Scalar
from drivers.errors import ProfileError
from drivers.modbus.codec import encode, plan, single
from drivers.modbus.profile import Point, PointType, Profile, WordOrder

NUMBERS = [kind for kind in PointType if kind is not PointType.BOOL]
RANGES = {
    PointType.U16: (0, 0xFFFF),
    PointType.S16: (-0x8000, 0x7FFF),
    PointType.U32: (0, 0xFFFFFFFF),
    PointType.S32: (-0x80000000, 0x7FFFFFFF),
    PointType.U64: (0, 2**64 - 1),
    PointType.S64: (-(2**63), 2**63 - 1),
}


def decode(point: Point, words: list[int]) -> Scalar:
    values: dict[str, Scalar] = {}
    bad: set[str] = set()
    single(point).decode(words, values, bad)
    value = values[point.key()]
    assert bad == ({point.key()} if value is None else set())
    return value


def raws(kind: PointType) -> st.SearchStrategy[int | float]:
    if kind.is_float:
        return st.floats(allow_nan=False, allow_infinity=False, width=32 if kind is PointType.F32 else 64)
    return st.integers(*RANGES[kind])


@given(st.data(), st.sampled_from(NUMBERS), st.sampled_from(list(WordOrder)))
def test_what_is_written_is_what_is_read(data: st.DataObject, kind: PointType, order: WordOrder) -> None:
    point = Point("p", 3, 0, kind, order)
    raw = data.draw(raws(kind))
    assert decode(point, list(encode(point, raw))) == raw


@given(
    st.sampled_from([PointType.U16, PointType.S16, PointType.U32, PointType.S32]),
    st.sampled_from([Fraction(1, 10), Fraction(1, 100), Fraction(1, 1000), Fraction(10), Fraction(1, 3)]),
    st.data(),
)
def test_a_scaled_value_written_reads_as_itself(kind: PointType, scale: Fraction, data: st.DataObject) -> None:
    point = Point("p", 3, 0, kind, scale=scale)
    words = list(encode(point, float(data.draw(st.integers(*RANGES[kind])) * scale)))
    value = decode(point, words)
    assert list(encode(point, value)) == words


@given(st.booleans())
def test_a_bit_is_true_or_false(bit: bool) -> None:
    point = Point("p", 1, 0, PointType.BOOL)
    assert decode(point, list(encode(point, bit))) is bit


# Worked examples of the makers' tables, cross-checked in two public sources each.
@pytest.mark.parametrize(
    ("words", "kind", "order", "scale", "value"),
    [
        ([0x4366, 0x8000], PointType.F32, WordOrder.BIG, "1", 230.5),  # SDM630, V
        ([0x0901, 0x0000], PointType.S32, WordOrder.LITTLE, "1/10", 230.5),  # EM340, V
        ([0xFB2E, 0xFFFF], PointType.S32, WordOrder.LITTLE, "1/10", -123.4),  # EM340, W
        ([0, 0, 1, 0xE240], PointType.U64, WordOrder.BIG, "1/100", 1234.56),  # ABB, kWh
        ([0, 0, 0x12, 0xD680], PointType.S64, WordOrder.BIG, "1", 1_234_560),  # iEM3000, Wh
        ([0x40A8, 0x0000], PointType.F32, WordOrder.BIG, "1", 5.25),  # iEM3000, kW
    ],
)
def test_real_meters_are_read_to_the_last_digit(
    words: list[int], kind: PointType, order: WordOrder, scale: str, value: float
) -> None:
    point = Point("p", 4, 0, kind, order, Fraction(scale))
    assert decode(point, words) == value
    assert list(encode(point, value)) == words


@pytest.mark.parametrize("raw", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("low", [None, Fraction(-10)])
@pytest.mark.parametrize("kind", [PointType.F32, PointType.F64])
def test_not_a_number_is_no_value(raw: float, low: Fraction | None, kind: PointType) -> None:
    packed = struct.pack(">" + kind.struct_code, raw)
    words = list(struct.unpack(f">{len(packed) // 2}H", packed))
    assert decode(Point("p", 4, 0, kind, low=low), words) is None


def test_what_a_unit_says_for_no_value_is_none() -> None:
    point = Point("p", 4, 0, PointType.S32, no_value=frozenset({0x7FFFFFFF}))
    assert decode(point, [0x7FFF, 0xFFFF]) is None
    assert decode(point, [0x7FFF, 0xFFFE]) == 0x7FFFFFFE


def test_a_value_outside_its_range_is_none_and_one_on_the_edge_is_not() -> None:
    point = Point("p", 4, 0, PointType.S16, scale=Fraction(1, 10), low=Fraction(-40), high=Fraction(85))
    words = [word & 0xFFFF for word in (-401, -400, 850, 851)]
    assert [decode(point, [word]) for word in words] == [None, -40.0, 85.0, None]


def test_scaling_up_keeps_whole_numbers_whole() -> None:
    value = decode(Point("p", 4, 0, PointType.U16, scale=Fraction(10)), [7])
    assert value == 70
    assert isinstance(value, int)


@pytest.mark.parametrize("value", [-1, 65536, 101, "9", None, True, math.nan, math.inf, 1e300])
def test_a_value_that_does_not_fit_is_never_sent(value: Scalar) -> None:
    with pytest.raises(ValueError):
        encode(Point("p", 3, 0, PointType.U16, high=Fraction(100)), value)


@pytest.mark.parametrize("value", [1, 0, None, "on"])
def test_a_coil_takes_nothing_but_true_and_false(value: Scalar) -> None:
    with pytest.raises(ValueError):
        encode(Point("p", 1, 0, PointType.BOOL), value)


def test_a_float_too_big_for_its_registers_is_never_sent() -> None:
    with pytest.raises(ValueError):
        encode(Point("p", 3, 0, PointType.F32), 1e300)


def points(*rows: tuple[str, int, int, PointType, int]) -> dict[str, Point]:
    return {name: Point(name, fc, at, kind, repeat=n, stride=kind.width) for name, fc, at, kind, n in rows}


def test_neighbours_are_read_together_and_tables_apart() -> None:
    profile = Profile(
        "p",
        points(
            ("coil", 1, 0, PointType.BOOL, 8),
            ("a", 3, 0, PointType.U16, 2),
            ("b", 3, 2, PointType.F32, 1),
            ("far", 3, 6, PointType.U16, 1),
            ("input", 4, 0, PointType.U16, 1),
        ),
    )
    assert [(block.fc, block.address, block.count) for block in plan(profile)] == [
        (1, 0, 8),
        (3, 0, 4),
        (3, 6, 1),
        (4, 0, 1),
    ]
    bridged = plan(replace(profile, gap_max=2))
    assert [(block.fc, block.address, block.count) for block in bridged] == [(1, 0, 8), (3, 0, 7), (4, 0, 1)]


def test_a_gap_one_longer_than_allowed_is_not_bridged() -> None:
    profile = Profile("p", points(("a", 3, 0, PointType.U16, 1), ("b", 3, 4, PointType.U16, 1)), gap_max=2)
    assert len(plan(profile)) == 2
    assert len(plan(replace(profile, gap_max=3))) == 1


def test_only_the_points_asked_for_are_read() -> None:
    profile = Profile("p", points(("a", 3, 0, PointType.U16, 1), ("b", 4, 0, PointType.U16, 1)))
    assert [block.keys for block in plan(profile, ["b"])] == [("b",)]
    with pytest.raises(ProfileError, match="point c"):
        plan(profile, ["c"])


def test_gaps_and_little_words_decode_in_one_block() -> None:
    profile = Profile(
        "p",
        {
            "a": Point("a", 3, 10, PointType.U32, WordOrder.LITTLE),
            "b": Point("b", 3, 13, PointType.S16),
            "c": Point("c", 3, 10, PointType.U16),
        },
        gap_max=1,
    )
    (block,) = plan(profile)
    values: dict[str, Scalar] = {}
    block.decode([0x0001, 0x0002, 0xDEAD, 0xFFFE], values, set())
    assert values == {"a": 0x00020001, "b": -2, "c": 1}


FIELDS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(0, 300), st.sampled_from(NUMBERS), st.integers(1, 40)),
    min_size=1,
    max_size=12,
)


@given(FIELDS, st.integers(0, 20), st.integers(4, 125))
def test_a_plan_reads_every_point_once_within_its_limits(
    rows: list[tuple[int, int, PointType, int]], gap_max: int, registers_max: int
) -> None:
    kinds = {1: PointType.BOOL, 2: PointType.BOOL}
    table = points(*((f"p{i}", fc, at, kinds.get(fc, kind), n) for i, (fc, at, kind, n) in enumerate(rows)))
    profile = Profile("p", table, gap_max, registers_max)
    blocks = plan(profile)
    keys = [key for block in blocks for key in block.keys]
    assert sorted(keys) == sorted(point.key(channel) for point in table.values() for channel in range(point.repeat))
    wanted = {
        (point.fc, point.address_of(channel) + word)
        for point in table.values()
        for channel in range(point.repeat)
        for word in range(point.type.width)
    }
    read = [(block.fc, address) for block in blocks for address in range(block.address, block.address + block.count)]
    assert wanted <= set(read)
    if gap_max == 0:
        assert set(read) == wanted
    assert all(block.count <= (2000 if block.fc <= 2 else registers_max) for block in blocks)


@given(st.data(), FIELDS)
def test_a_plan_decodes_what_was_encoded(data: st.DataObject, rows: list[tuple[int, int, PointType, int]]) -> None:
    image: dict[tuple[int, int], int] = {}
    table: dict[str, Point] = {}
    expected: dict[str, Scalar] = {}
    for index, (fc, at, kind, _) in enumerate(rows):
        point = Point(f"p{index}", max(fc, 3), at, kind, data.draw(st.sampled_from(list(WordOrder))))
        cells = [(point.fc, at + word) for word in range(kind.width)]
        if not any(cell in image for cell in cells):
            raw = data.draw(raws(kind))
            image |= dict(zip(cells, encode(point, raw), strict=True))
            table[point.name], expected[point.name] = point, raw
    values: dict[str, Scalar] = {}
    bad: set[str] = set()
    for block in plan(Profile("p", table, gap_max=5)):
        block.decode([image.get((block.fc, block.address + word), 0xAAAA) for word in range(block.count)], values, bad)
    assert values == expected
    assert not bad
