"""Group objects to masks of signal groups."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DeviceNonsenseError
from drivers.ntcip.codec import Value, groups_of, join, whole


def test_bit_0_of_group_1_is_element_1_and_bit_7_of_group_2_is_element_16() -> None:
    assert join("greens", [(1, 0b1), (2, 0)]) == 1
    assert join("greens", [(1, 0), (2, 0b1000_0000)]) == 1 << 15


def test_an_octet_says_the_same_as_an_integer() -> None:
    assert join("greens", [(1, b"\x25"), (2, 0x0F)]) == join("greens", [(1, 0x25), (2, b"\x0f")]) == 0x0F25


@given(st.integers(0, 2**64 - 1))
def test_a_mask_is_what_its_octets_join_to(mask: int) -> None:
    octets = [(group, mask >> 8 * (group - 1) & 0xFF) for group in groups_of(mask)]
    assert join("greens", octets) == mask
    assert all(octet for _, octet in octets)


def test_only_groups_with_members_are_asked_for() -> None:
    assert groups_of(0x0FFF) == (1, 2)
    assert groups_of(0x0100) == (2,)
    assert groups_of(1 << 63) == (8,)
    assert groups_of(0) == ()


@pytest.mark.parametrize("value", [None, -1, 256, b"", b"\x00\x25", 0x7FFFFFFF])
def test_a_group_that_is_not_one_octet_is_nonsense(value: Value) -> None:
    with pytest.raises(DeviceNonsenseError, match=r"greens.1: expected 0..255"):
        join("greens", [(1, value)])


def test_a_number_may_come_as_one_or_two_octets() -> None:
    assert whole("unitBackupTime", b"\x3c", 0, 0xFFFF) == 60
    assert whole("unitBackupTime", b"\x01\x2c", 0, 0xFFFF) == 300
    with pytest.raises(DeviceNonsenseError):
        whole("unitBackupTime", b"\x00\x01\x2c", 0, 0xFFFF)


@given(st.none() | st.integers() | st.binary(max_size=9))
def test_no_value_does_more_than_be_refused(value: Value) -> None:
    try:
        assert 0 <= join("greens", [(1, value)]) <= 0xFF
    except DeviceNonsenseError:
        assert not (isinstance(value, int) and 0 <= value <= 0xFF)
