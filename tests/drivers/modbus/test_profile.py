"""Register maps: usable, or refused with the place and the reason."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import ProfileError
from drivers.modbus.profile import PointType, WordOrder, load_profile, parse_profile

PROFILES = Path(__file__).parents[3] / "configs" / "profiles"
GOOD = '[[point]]\nname = "level"\nfc = 3\naddress = 10\ntype = "u16"\n'


def test_every_shipped_profile_is_usable() -> None:
    names = {path.stem for path in PROFILES.glob("*.toml")}
    assert names >= {"cabinet-ref", "sdm630", "bollard-ref"}
    for name in names:
        assert load_profile(PROFILES, name).points


def test_a_point_carries_all_that_its_table_says() -> None:
    profile = parse_profile(
        'gap_max = 3\nregisters_max = 40\n[[point]]\nname = "level"\nfc = 3\naddress = 0x0A\ntype = "s32"\n'
        'word_order = "little"\nscale = 0.1\nunit = "%"\nno_value = [0x7FFFFFFF, -1]\nrepeat = 4\nstride = 3\n'
        "min = -5\nmax = 100.5\nwritable = true\nread_back = false\n",
        "lamp",
        "lamp.toml",
    )
    point = profile.points["level"]
    assert (profile.name, profile.gap_max, profile.registers_max) == ("lamp", 3, 40)
    assert (point.fc, point.address, point.type, point.word_order) == (3, 10, PointType.S32, WordOrder.LITTLE)
    assert (point.scale, point.unit, point.no_value) == (Fraction(1, 10), "%", frozenset({0x7FFFFFFF, -1}))
    assert (point.repeat, point.stride, point.low, point.high) == (4, 3, Fraction(-5), Fraction(201, 2))
    assert (point.writable, point.read_back) == (True, False)
    assert (point.key(3), point.address_of(3)) == ("level.3", 19)


def test_what_is_left_out_has_a_plain_default() -> None:
    profile = parse_profile(GOOD, "lamp", "lamp.toml")
    point = profile.points["level"]
    assert (profile.gap_max, profile.registers_max) == (0, 125)
    assert point.scale == 1
    assert (point.repeat, point.stride, point.writable, point.read_back) == (1, 1, False, True)
    assert point.key() == "level"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda text: text.replace("fc = 3", "fc = 5"), "lamp.toml: point level: fc: expected a whole number 1..4"),
        (lambda text: text.replace("fc = 3", ""), "point level: fc: expected a whole number 1..4, found nothing"),
        (lambda text: text.replace('"u16"', '"u8"'), "point level: type: expected one of bool, u16"),
        (lambda text: text.replace('"u16"', '"bool"'), "type: expected bool with fc 1 and 2"),
        (lambda text: text.replace("fc = 3", "fc = 1"), "type: expected bool with fc 1 and 2"),
        (lambda text: text.replace("10", '"ten"'), "address: expected a whole number 0..65535, found 'ten'"),
        (lambda text: text.replace("10", "true"), "address: expected a whole number 0..65535, found True"),
        (lambda text: text.replace("10", "65536"), "address: expected a whole number 0..65535"),
        (lambda text: text + "repeat = 65527\n", "repeat: expected a whole number 1..1000"),
        (lambda text: text.replace("10", "65530") + "repeat = 7\n", "address: expected the last of 7 within"),
        (lambda text: text + "stride = 0\n", "stride: expected a whole number 1..65536, found 0"),
        (lambda text: text + "adress = 4\n", "point level: 'adress': not a key here; known: name, fc, address"),
        (lambda text: "gap = 4\n" + text, "lamp.toml: 'gap': not a key here"),
        (lambda text: text + "writable = 1\n", "writable: expected true or false, found 1"),
        (lambda text: text.replace("fc = 3", "fc = 4") + "writable = true\n", "writable: expected false with fc 2"),
        (lambda text: text + "scale = 0\n", "scale: expected a number other than 0"),
        (lambda text: text + "scale = nan\n", "scale: expected a finite number"),
        (lambda text: text + "scale = 1e999999\n", "scale: expected a finite number"),
        (lambda text: text + "min = 5\nmax = 4\n", "min: expected at most max, 4, found 5"),
        (lambda text: text + 'word_order = "middle"\n', "word_order: expected one of big, little, found 'middle'"),
        (lambda text: text + "no_value = 1.5\n", "no_value: expected a whole number, raw"),
        (lambda text: text + "unit = 3\n", "unit: expected text, found 3"),
        (lambda text: text.replace('"level"', '"Level 1"'), "point 1: name: expected a-z, 0-9 and _, found 'Level 1'"),
        (lambda text: text + text, "lamp.toml: point level: named twice"),
        (lambda text: text.replace("[[point]]", "[point]"), "lamp.toml: point: expected 1..2000 tables"),
        (lambda _: "point = [3]", "lamp.toml: point 1: expected a table"),
        (lambda _: "", "lamp.toml: point: expected 1..2000 tables"),
        (lambda _: "point = ", "lamp.toml: not TOML"),
        (lambda _: "x = " + "[" * 5000, "lamp.toml: not TOML"),
    ],
)
def test_a_fault_is_told_with_file_point_and_what_was_expected(change: Callable[[str], str], complaint: str) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(change(GOOD), "lamp", "lamp.toml")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("name", ["../secret", "a/b", "", "UPPER", "-x", "none-such"])
def test_a_name_that_is_no_profile_is_refused(name: str) -> None:
    with pytest.raises(ProfileError):
        load_profile(PROFILES, name)


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lamp.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match=r"profile lamp: .*lamp\.toml: expected UTF-8 text"):
        load_profile(tmp_path, "lamp")


def test_a_driver_is_told_which_point_it_lacks() -> None:
    profile = parse_profile(GOOD, "lamp", "lamp.toml")
    assert profile.point("level", fc=3).address == 10
    with pytest.raises(ProfileError, match="lamp: point glow: not in this profile"):
        profile.point("glow")
    with pytest.raises(ProfileError, match="channel 1 of 1"):
        profile.point("level", channel=1)
    with pytest.raises(ProfileError, match="channel -1 of 1"):
        profile.point("level", channel=-1)
    with pytest.raises(ProfileError, match="fc 3, and the driver needs 4"):
        profile.point("level", fc=4)
    with pytest.raises(ProfileError, match="not writable"):
        profile.point("level", writable=True)


KEYS = ("name", "fc", "address", "type", "word_order", "scale", "unit", "no_value", "repeat", "stride", "min", "max")
LITERALS = st.sampled_from(
    [
        '"level"',
        '"bool"',
        '"f32"',
        '"u16"',
        "1",
        "3",
        "4",
        "-1",
        "0.1",
        "1e30",
        "inf",
        "true",
        "[1]",
        "{}",
        '""',
        "99999",
    ]
)


@given(
    st.text()
    | st.dictionaries(st.sampled_from(KEYS), LITERALS).map(
        lambda table: "[[point]]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())
    )
)
def test_no_text_does_more_than_be_refused(text: str) -> None:
    complaint = "lamp.toml: "
    try:
        parse_profile(text, "lamp", "lamp.toml")
    except ProfileError as error:
        complaint = str(error)
    assert complaint.startswith("lamp.toml: ")
