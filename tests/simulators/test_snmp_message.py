"""The SNMP codec of the simulated controller."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.signal_controller.agent import Communities
from simulators.signal_controller.oids import ASC
from simulators.snmp_message import (
    GET,
    GET_BULK,
    GET_NEXT,
    RESPONSE,
    SET,
    V1,
    Message,
    MessageError,
    Value,
    decode,
    encode,
    integer,
    octets,
)
from tests.simulators.junction import unjudged_cabinet

# A third-party client's SET of vehicle detector group 1 to 5, captured on the wire.
GOLDEN = bytes.fromhex(
    "303002010004067075626c6963a3230203451ee902010002010030163014060f2b060104018936040201020c010201020105"
)

OIDS = st.lists(st.integers(0, 0xFFFFFFFF), max_size=20).map(lambda arcs: (1, 3, *arcs))
VALUES = st.one_of(
    st.integers(-(2**31), 2**31 - 1).map(integer), st.binary(max_size=300).map(octets), st.just(Value(0x05))
)
MESSAGES = st.builds(
    Message,
    st.sampled_from([0, 1]),
    st.binary(max_size=20),
    st.sampled_from([GET, GET_NEXT, SET, GET_BULK, RESPONSE]),
    st.integers(-(2**31), 2**31 - 1),
    st.lists(st.tuples(OIDS, VALUES), max_size=5).map(tuple),
    st.integers(0, 18),
    st.integers(0, 100),
)


@given(MESSAGES)
def test_what_is_encoded_is_decoded(message: Message) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=200))
def test_noise_is_a_message_or_a_message_error(noise: bytes) -> None:
    with contextlib.suppress(MessageError):
        decode(noise)


@given(st.integers(0, len(GOLDEN) - 1), st.integers(0, 255))
def test_a_damaged_request_never_breaks_the_agent(place: int, byte: int) -> None:
    damaged = GOLDEN[:place] + bytes([byte]) + GOLDEN[place + 1 :]
    unjudged_cabinet(communities=Communities("public", "public")).responder.answer(damaged)


@pytest.mark.parametrize("length", range(len(GOLDEN)))
def test_a_cut_request_is_a_message_error(length: int) -> None:
    with pytest.raises(MessageError):
        decode(GOLDEN[:length])


def test_the_captured_set_of_a_third_party_client_is_carried_out() -> None:
    message = decode(GOLDEN)
    assert (message.version, message.community, message.kind) == (V1, b"public", SET)
    assert message.varbinds == (((*ASC, 2, 12, 1, 2, 1), integer(5)),)
    assert encode(message) == GOLDEN
    cabinet = unjudged_cabinet(communities=Communities("public", "public"))
    answer = cabinet.responder.answer(GOLDEN)
    assert answer is not None
    assert decode(answer).status == 0
    assert cabinet.controller.vehicle_detectors[1] == 5
    assert cabinet.set_count("1.3.6.1.4.1.1206.4.2.1.2.12.1.2.1") == 1
