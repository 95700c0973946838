"""SNMP messages, judged by another implementation."""

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.errors import DeviceNonsenseError
from drivers.ntcip import oids
from drivers.ntcip.message import DATAGRAM_BYTES_MAX, ID_MAX, ID_MIN, Dialect, Question, request_id
from simulators import snmp_message
from simulators.snmp_message import INTEGER, NULL, RESPONSE, SET, Message, Value, integer, octets

ASKED = (oids.UNIT_CONTROL_STATUS, oids.channel_status_group_greens(2))
ARCS = tuple(tuple(int(arc) for arc in oid.split(".")) for oid in ASKED)
NUMBERS = st.integers(ID_MIN, ID_MAX)


def answer(number: int, *values: Value, version: int = 0, community: bytes = b"public") -> bytes:
    binds = tuple(zip(ARCS, values, strict=False))
    return snmp_message.encode(Message(version, community, RESPONSE, number, binds))


@given(NUMBERS, st.sampled_from([("1", 0), ("2c", 1)]))
def test_a_question_reads_as_the_same_request_under_any_number(number: int, version: tuple[str, int]) -> None:
    request = snmp_message.decode(Question(Dialect(version[0], "public"), ASKED).encode(number))
    assert (request.version, request.community, request.request_id) == (version[1], b"public", number)
    assert [(oid, value.tag) for oid, value in request.varbinds] == [(oid, NULL) for oid in ARCS]


def test_a_write_is_an_integer() -> None:
    request = snmp_message.decode(Dialect("1", "private").encode_set([(oids.SYSTEM_PATTERN_CONTROL, 255)], 7))
    assert (request.kind, request.request_id, request.community) == (SET, 7, b"private")
    ((oid, value),) = request.varbinds
    assert ".".join(map(str, oid)) == oids.SYSTEM_PATTERN_CONTROL
    assert (value.tag, value.as_int()) == (INTEGER, 255)


def test_a_captured_write_of_another_program_is_encoded_byte_for_byte() -> None:
    captured = bytes.fromhex(
        "303002010004067075626c6963a3230203451ee902010002010030163014060f2b060104018936040201020c010201020105"
    )
    oid = f"{oids.ASC}.2.12.1.2.1"
    assert Dialect("1", "public").encode_set([(oid, 5)], 0x451EE9) == captured


@pytest.mark.parametrize("version", ["1", "2c"])
def test_integers_and_octets_arrive_as_sent(version: str) -> None:
    wire = 0 if version == "1" else 1
    response = Dialect(version, "public").decode(answer(9, integer(37), octets(b"\x25"), version=wire))
    assert (response.request_id, response.error_status) == (9, 0)
    assert response.values == ((ASKED[0], 37), (ASKED[1], b"\x25"))


@pytest.mark.parametrize("tag", [0x80, 0x81])
def test_version_2c_says_object_by_object_what_is_missing(tag: int) -> None:
    response = Dialect("2c", "public").decode(answer(9, integer(1), Value(tag), version=1))
    assert response.values == ((ASKED[0], 1), (ASKED[1], None))


@pytest.mark.parametrize(
    "data",
    [
        answer(9, integer(1), version=1),
        answer(9, integer(1), community=b"private"),
        answer(9, integer(1)) + b"\x00",
        answer(9, integer(1))[:-1],
        answer(9, Value(0x06, b"\x2b\x06")),
        Question(Dialect("1", "public"), ASKED).encode(ID_MIN),
        snmp_message.encode(Message(0, b"public", RESPONSE, 9, (), 2, 3)),
        b"",
        b"\x30",
        b"\x30\x80" * 500,
        b"\x30\x84\xff\xff\xff\xff",
        b"x" * (DATAGRAM_BYTES_MAX + 1),
    ],
    ids=[
        "other version", "other community", "more after it", "cut", "an OID as value", "a request",
        "index of nothing", "empty", "one octet", "nested", "length too long", "too long",
    ],
)  # fmt: skip
def test_what_is_not_one_whole_answer_is_nonsense(data: bytes) -> None:
    with pytest.raises(DeviceNonsenseError):
        Dialect("1", "public").decode(data)


@given(st.sampled_from(["1", "2c"]), st.binary(max_size=200))
def test_no_datagram_does_more_than_be_refused(version: str, data: bytes) -> None:
    with contextlib.suppress(DeviceNonsenseError):
        Dialect(version, "public").decode(data)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 1))
def test_no_damaged_answer_does_more_than_be_refused(flips: list[tuple[int, int]], version: int) -> None:
    data = bytearray(answer(0x12345678, integer(37), octets(b"\x25"), version=version))
    for position, value in flips:
        data[position % len(data)] = value
    with contextlib.suppress(DeviceNonsenseError):
        Dialect("1" if version == 0 else "2c", "public").decode(bytes(data))


VALUES = st.integers(-(2**31), 2**31 - 1).map(integer) | st.binary(max_size=6).map(octets)


@given(st.lists(st.tuples(NUMBERS, VALUES, VALUES, st.integers(0, 1)), min_size=1, max_size=12))
def test_remembering_the_last_answer_changes_no_answer(rows: list[tuple[int, Value, Value, int]]) -> None:
    dialect = Dialect("1", "public")
    question = Question(dialect, ASKED)
    for number, first, second, stray in rows:
        data = answer((number - ID_MIN + stray) % (ID_MAX - ID_MIN) + ID_MIN, first, second)
        for _ in range(2):
            assert question.decode(data, number) == dialect.decode(data)


@given(NUMBERS, NUMBERS)
def test_a_number_hidden_in_a_value_does_not_pass_for_the_request_id(number: int, other: int) -> None:
    question = Question(Dialect("1", "public"), ASKED)
    inside = octets(number.to_bytes(4))
    question.decode(answer(number, inside, integer(1)), number)
    question.decode(answer(number, integer(1), integer(1)), number)
    replayed = answer(other, octets(number.to_bytes(4)), integer(1))
    assert question.decode(replayed, number).request_id == other


def test_an_error_points_at_its_object() -> None:
    request = snmp_message.decode(Question(Dialect("1", "public"), ASKED).encode(ID_MIN))
    response = Dialect("1", "public").decode(snmp_message.encode(replace(request, kind=RESPONSE, status=2, index=2)))
    assert (response.error_status, response.error_index) == (2, 2)


def test_numbers_always_take_four_octets_and_do_not_repeat() -> None:
    numbers = [request_id() for _ in range(1000)]
    assert all(ID_MIN <= number <= ID_MAX for number in numbers)
    assert len(set(numbers)) > 990


def test_version_3_is_not_pretended() -> None:
    with pytest.raises(ValueError, match="1 or 2c"):
        Dialect("3", "public")
