"""Messages and topics: whatever arrives, it is the message or a WireError."""

import random
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire import local, messages, sealing, topics
from agent.wire.errors import MessageError, SignatureError, TopicError, WireError
from agent.wire.messages import SCHEMA, Ack, Batch, Birth, Death, Event, Heartbeat, StreamHead, decode, encode
from agent.wire.topics import Topic, down, parse, up
from tests.wire.party import CITY, GATEWAY, T0_MS, ring, signer

AGENT, DIRECTOR = signer(f"{GATEWAY}/agent/1"), signer("director/1")
STATE = up(CITY, GATEWAY, "state")  # type: ignore[arg-type]
HEAD = StreamHead("state", 1, 5, bytes(32))


def batch(**fields: Any) -> Batch:
    given = Batch(
        SCHEMA, GATEWAY, "state", 1, 1, bytes(32), T0_MS, 5, 2, ["a/x", "b/y"], [0, 1], [0, -5], [(1, 2)], [1, None], []
    )
    return msgspec.structs.replace(given, **fields)


def test_a_batch_comes_back_as_it_was_sealed() -> None:
    opened = sealing.open_batch(ring(), AGENT.seal(encode(batch()), STATE), STATE, T0_MS)
    assert opened.batch == batch()
    assert opened.kid == f"{GATEWAY}/agent/1"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"gateway": "gw-monge"}, "gw-monge"),
        ({"stream": "tele"}, "a link of tele"),
        ({"dt_ms": [0]}, "1 times"),
        ({"values": [0, 1, 2]}, "3 values"),
        ({"points": [0, 2]}, "point 2 of 2"),
        ({"points": [0, -1]}, "points|not a Batch"),
        ({"quality": [(2, 1)]}, "not there"),
        ({"quality": [(-1, 1)]}, "not there"),
        ({"quality": [(0, 4)]}, "not a Batch"),
        ({"points": [], "dt_ms": [], "quality": [], "values": []}, "empty"),
        ({"schema": 2}, "not a Batch"),
        ({"seq": 0}, "not a Batch"),
        ({"epoch": 2**32}, "not a Batch"),
        ({"prev": bytes(31)}, "not a Batch"),
        ({"clock": 4}, "not a Batch"),
        ({"names": ["x" * 121, "b"]}, "not a Batch"),
        ({"values": ["x" * 501, 1]}, "not a Batch"),
        ({"events": [Event(0, "", "", "", "", {})]}, "not a Batch"),
    ],
)
def test_a_batch_that_does_not_fit_together_is_a_message_error(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(MessageError, match=reason):
        sealing.open_batch(ring(), AGENT.seal(encode(batch(**fields)), STATE), STATE, T0_MS)


def test_every_message_opens_on_its_own_topic_only() -> None:
    ack = Ack(SCHEMA, GATEWAY, 3, [HEAD], rebirth=True)
    topic = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
    assert sealing.open_ack(ring(), sealing.seal_message(DIRECTOR, topic, ack), topic, T0_MS) == ack
    death = Death(SCHEMA, GATEWAY, 7)
    topic = up(CITY, GATEWAY, "death")  # type: ignore[arg-type]
    assert sealing.open_death(ring(), sealing.seal_message(AGENT, topic, death), topic, T0_MS) == death
    birth = up(CITY, GATEWAY, "birth")  # type: ignore[arg-type]
    with pytest.raises(SignatureError):
        sealing.open_death(ring(), sealing.seal_message(AGENT, birth, death), topic, T0_MS)


def test_birth_and_heartbeat_are_told_apart_by_their_schema_number() -> None:
    topic = up(CITY, GATEWAY, "birth")  # type: ignore[arg-type]
    birth = Birth(GATEWAY, 1, "Darcy", T0_MS, 2, {"agent": bytes(16)}, [], [HEAD], [], "0.1", [HEAD])
    beat = Heartbeat(GATEWAY, 1, 2, T0_MS, 2, {"agent": bytes(16)}, {"j1": "held"}, [], 3)
    for message in (birth, beat):
        sealed = sealing.seal_message(AGENT, topic, message)
        assert sealing.open_birth(ring(), sealed, topic, T0_MS) == message
    assert [msgspec.msgpack.decode(encode(message))[0] for message in (birth, beat)] == [1, 2]


def test_births_and_heartbeats_of_before_their_last_fields_are_still_read() -> None:
    birth = Birth(GATEWAY, 1, "Darcy", T0_MS, 2, {}, [], [], [], "0.1")
    beat = Heartbeat(GATEWAY, 1, 2, T0_MS, 2, {}, {}, [], 3)
    for message, added in ((birth, 3), (beat, 2)):
        fields = msgspec.msgpack.decode(encode(message))
        assert messages.decode_birth(msgspec.msgpack.encode(fields[:-added])) == message


KINDS = [Batch, Ack, Death, messages.FleetState, messages.CommandMessage, messages.Outcome]


@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_no_bytes_raise_anything_but_message_errors(kind: Any, data: bytes) -> None:
    for read in (lambda: decode(data, kind), lambda: messages.decode_birth(data)):
        try:
            read()
        except MessageError:
            continue


def test_no_mutation_of_a_message_raises_anything_but_message_errors() -> None:
    dice = random.Random(3)
    base = encode(batch())
    for _ in range(5000):
        data = bytearray(base)
        for _ in range(dice.randint(1, 4)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            sealing.check_columns(decode(bytes(data), Batch))
        except MessageError:
            continue


def test_deeply_nested_garbage_is_a_message_error() -> None:
    for bomb in (b"\x91" * 5000, b"\x81" * 5000, b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"):
        with pytest.raises(MessageError):
            decode(bomb, Batch)


@given(st.binary(max_size=200))
def test_no_local_frame_raises_anything_but_message_errors(data: bytes) -> None:
    for read in (local.decode_request, local.decode_reply):
        try:
            read(data)
        except MessageError:
            continue


def test_every_topic_is_read_as_it_is_written() -> None:
    all_topics: list[Topic] = [topics.fleet_state(CITY)]  # type: ignore[arg-type]
    all_topics += [up(CITY, GATEWAY, name) for name in topics.UP]  # type: ignore[arg-type]
    all_topics += [down(CITY, GATEWAY, name) for name in topics.DOWN]  # type: ignore[arg-type]
    assert all(parse(str(topic)) == topic for topic in all_topics)
    assert len({topic.aad for topic in all_topics}) == len(all_topics)


@given(st.text(max_size=80) | st.from_regex(r"armoire/1/[a-z/#+-]{0,30}/up/state", fullmatch=True))
def test_no_text_is_a_topic_unless_it_is_one(text: str) -> None:
    try:
        topic = parse(text)
    except TopicError:
        return
    assert str(topic) == text


@given(st.binary(max_size=300))
def test_whatever_is_opened_on_any_topic_raises_only_what_is_counted(data: bytes) -> None:
    topic = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
    with pytest.raises(WireError):
        sealing.open_ack(ring(), DIRECTOR.seal(data, topic), topic, None)
