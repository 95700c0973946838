"""Modbus TCP frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.cabinet import LightingCabinet
from simulators.modbus_frame import Deframer, Frame, FrameError, ModbusRefusal, Read, Table, Write, decode_request

FRAMES = st.builds(Frame, st.integers(0, 0xFFFF), st.integers(0, 255), st.binary(min_size=1, max_size=253))


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(1, 40), min_size=1))
def test_frames_survive_any_split_of_the_stream(frames: list[Frame], sizes: list[int]) -> None:
    stream = b"".join(frame.encode() for frame in frames)
    deframer, received, at, turn = Deframer(), [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        received += deframer.receive(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert received == frames


@given(st.binary(max_size=300))
def test_noise_is_frames_or_a_frame_error(noise: bytes) -> None:
    try:
        for frame in Deframer().receive(noise):
            assert 1 <= len(frame.pdu) <= 253
    except FrameError:
        pass


@given(st.binary(min_size=1, max_size=253))
def test_any_request_gets_an_answer_of_its_own_function(pdu: bytes) -> None:
    cabinet = LightingCabinet(epoch_s=0)
    cabinet.step(0)
    answer = cabinet.execute(pdu)
    assert answer[0] & 0x7F == pdu[0] & 0x7F
    assert 2 <= len(answer) <= 253


def test_worked_examples_of_the_standard_decode() -> None:
    assert decode_request(bytes.fromhex("0100130013")) == Read(Table.COILS, 19, 19)
    assert decode_request(bytes.fromhex("03006b0003")) == Read(Table.HOLDINGS, 107, 3)
    assert decode_request(bytes.fromhex("0500acff00")) == Write(Table.COILS, 172, (1,), bytes.fromhex("00acff00"))
    coils = decode_request(bytes.fromhex("0f0013000a02cd01"))
    assert coils == Write(Table.COILS, 19, (1, 0, 1, 1, 0, 0, 1, 1, 1, 0), bytes.fromhex("0013000a"))
    registers = decode_request(bytes.fromhex("100001000204000a0102"))
    assert registers == Write(Table.HOLDINGS, 1, (10, 258), bytes.fromhex("00010002"))


@pytest.mark.parametrize(
    ("pdu", "code"),
    [
        ("2b0e0100", 1),
        ("0300000000", 3),
        ("030000007e", 3),
        ("01000007d1", 3),
        ("0500000001", 3),
        ("0f0013000a01cd", 3),
        ("1000010002030a0102", 3),
        ("03", 3),
    ],
)
def test_what_a_server_must_refuse_is_refused_by_the_right_code(pdu: str, code: int) -> None:
    with pytest.raises(ModbusRefusal) as refusal:
        decode_request(bytes.fromhex(pdu))
    assert refusal.value.code == code
