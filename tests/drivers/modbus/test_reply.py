"""Which bytes may answer a request."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.reply import Reply, judge_reply


def frame(pdu: bytes, transaction: int = 7, unit: int = 1, protocol: int = 0) -> bytes:
    return struct.pack(">HHHB", transaction, protocol, len(pdu) + 1, unit) + pdu


READ_REGISTERS = frame(bytes.fromhex("03000a0002"))
READ_BITS = frame(bytes.fromhex("010000000a"))
WRITE_COIL = frame(bytes.fromhex("050001ff00"))
WRITE_REGISTER = frame(bytes.fromhex("06000a0064"))
WRITE_REGISTERS = frame(bytes.fromhex("10000a00020400010002"))
ANSWERS = [
    (READ_REGISTERS, bytes.fromhex("030400010002")),
    (READ_REGISTERS, bytes.fromhex("8302")),
    (READ_BITS, bytes.fromhex("0102ff03")),
    (WRITE_COIL, bytes.fromhex("050001ff00")),
    (WRITE_COIL, bytes.fromhex("8504")),
    (WRITE_REGISTER, bytes.fromhex("06000a0064")),
    (WRITE_REGISTERS, bytes.fromhex("10000a0002")),
]


@pytest.mark.parametrize(("request_", "pdu"), ANSWERS)
def test_an_answer_is_one_only_when_it_is_whole(request_: bytes, pdu: bytes) -> None:
    answer = frame(pdu)
    assert judge_reply(request_, answer) == (Reply.ANSWER, 0)
    for cut in range(len(answer)):
        assert judge_reply(request_, answer[:cut]) == (Reply.WAIT, 0)


@pytest.mark.parametrize(("request_", "pdu"), ANSWERS)
def test_a_late_answer_to_an_earlier_request_is_passed_over(request_: bytes, pdu: bytes) -> None:
    late = frame(bytes.fromhex("030400090009"), transaction=6)
    assert judge_reply(request_, late) == (Reply.WAIT, len(late))
    assert judge_reply(request_, late + late + frame(pdu)) == (Reply.ANSWER, 2 * len(late))


@pytest.mark.parametrize(
    "received",
    [
        frame(bytes.fromhex("030400010002"), transaction=0),
        frame(bytes.fromhex("030400010002"), unit=2),
        frame(bytes.fromhex("030400010002"), protocol=1),
        frame(bytes.fromhex("040400010002")),
        frame(bytes.fromhex("84 02")),
        frame(bytes.fromhex("83 00")),
        frame(bytes.fromhex("83 02 00")),
        frame(bytes.fromhex("03020001")),
        frame(bytes.fromhex("0306000100020003")),
        frame(bytes.fromhex("0304000100020003")),
        frame(bytes.fromhex("030500010002")),
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\x00" * 8,
        struct.pack(">HHHB", 7, 0, 255, 1) + b"\x03",
        struct.pack(">HHHB", 7, 0, 2, 1) + b"\x03",
    ],
)
def test_what_cannot_follow_from_the_request_is_nonsense(received: bytes) -> None:
    assert judge_reply(READ_REGISTERS, received)[0] is Reply.NONSENSE


@pytest.mark.parametrize(
    ("request_", "pdu"),
    [
        (WRITE_COIL, "0500010000"),
        (WRITE_COIL, "050002ff00"),
        (WRITE_REGISTER, "06000a0065"),
        (WRITE_REGISTER, "06000b0064"),
        (WRITE_REGISTERS, "10000a0001"),
        (WRITE_REGISTERS, "10000b0002"),
        (READ_BITS, "0101ff"),
    ],
)
def test_a_confirmation_of_something_else_is_nonsense(request_: bytes, pdu: str) -> None:
    assert judge_reply(request_, frame(bytes.fromhex(pdu)))[0] is Reply.NONSENSE


@given(st.sampled_from([request_ for request_, _ in ANSWERS]), st.binary(max_size=600))
def test_no_bytes_upset_it(request_: bytes, received: bytes) -> None:
    reply, late_bytes = judge_reply(request_, received)
    assert reply in Reply
    assert 0 <= late_bytes <= len(received)


@given(st.sampled_from(ANSWERS), st.integers(0, 40), st.integers(1, 255))
def test_a_flipped_byte_never_makes_an_answer_of_another_length(
    pair: tuple[bytes, bytes], position: int, flip: int
) -> None:
    request_, pdu = pair
    answer = bytearray(frame(pdu))
    answer[position % len(answer)] ^= flip
    reply, _ = judge_reply(request_, bytes(answer))
    if reply is Reply.ANSWER:  # only what the protocol cannot protect: the data, or a refusal's reason
        assert bytes(answer[:7]) == frame(pdu)[:7]
        assert answer[7] & 0x7F == pdu[0] & 0x7F
