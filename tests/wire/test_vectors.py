"""The worked bytes of ``docs/wire.md``: we make them, and we accept and refuse them as the document says."""

import json
from hashlib import sha256
from typing import Any

import pytest

from agent.model.observation import ClockQuality
from agent.wire import sealing
from agent.wire.checkpoint import open_checkpoint
from agent.wire.enrolment import open_statement, words
from agent.wire.envelope import ESP256, digest, parse, split_set, verify
from agent.wire.errors import MessageError, TrustError, WireError
from agent.wire.gate import CommandGate, Nonces
from agent.wire.keyfile import Signer
from agent.wire.messages import CommandMessage, decode
from agent.wire.roots import public_key, read_roots
from agent.wire.topics import Topic
from agent.wire.topics import parse as parse_topic
from agent.wire.trust import load_key_list
from tests.wire import vectors
from tests.wire.party import ROOTS, T0_MS, ring

FILE: dict[str, Any] = json.loads(vectors.FILE.read_text())


def test_the_file_is_what_we_make() -> None:
    assert vectors.FILE.read_text() == vectors.text(), "run: python -m tests.wire.vectors"


@pytest.mark.parametrize("key", FILE["keys"], ids=lambda key: key["kid"])
def test_the_keys_follow_from_their_seeds(key: dict[str, str]) -> None:
    signer = Signer.from_seed(key["kid"], bytes.fromhex(key["seed"]))
    assert signer.public_key.hex() == key["public_key"]


OPENERS = {
    "birth": sealing.open_birth,
    "heartbeat": sealing.open_birth,
    "death": sealing.open_death,
    "link-1-samples": sealing.open_batch,
    "link-2-event": sealing.open_batch,
    "link-7-gap": sealing.open_batch,
    "ack": sealing.open_ack,
    "desired": sealing.open_desired,
    "fleet-state": sealing.open_state,
    "fleet-state-with-checkpoint": sealing.open_state,
    "link-safety": sealing.open_batch,
    "result": sealing.open_result,
}


@pytest.mark.parametrize("vector", FILE["envelopes"], ids=lambda vector: vector["name"])
def test_every_envelope_is_reproduced_and_opened(vector: dict[str, Any]) -> None:
    topic: Topic = parse_topic(vector["topic"])
    assert topic.aad.decode() == vector["external_aad"]
    sealed = bytes.fromhex(vector["envelope"])
    seed = next(key["seed"] for key in FILE["keys"] if key["kid"] == vector["kid"])
    key = Signer.from_seed(vector["kid"], bytes.fromhex(seed))
    assert key.seal(bytes.fromhex(vector["payload"]), topic) == sealed
    assert digest(sealed).hex() == vector["sha256"]
    OPENERS[vector["name"]](ring(), sealed, topic, T0_MS)


def test_the_sets_are_opened() -> None:
    command, keys, _ = FILE["sets"]
    opened = ring().open_set(bytes.fromhex(command["set"]), parse_topic(command["topic"]), T0_MS)
    assert opened.subjects == ("alice", "bruno")
    assert decode(opened.payload, CommandMessage).verb == "flash"
    assert load_key_list(bytes.fromhex(keys["set"]), ROOTS).version == 1
    assert parse(split_set(bytes.fromhex(keys["set"]))[1]).payload.hex() == keys["payload"]


@pytest.mark.parametrize("vector", FILE["refused"], ids=lambda vector: vector["why"])
def test_what_must_be_refused_is(vector: dict[str, str]) -> None:
    with pytest.raises((WireError, TrustError)):
        ring().open(bytes.fromhex(vector["envelope"]), parse_topic(vector["topic"]), "up", T0_MS)


def test_a_command_by_one_is_a_set_too() -> None:
    lone = FILE["sets"][2]
    assert ring().open_set(bytes.fromhex(lone["set"]), parse_topic(lone["topic"]), T0_MS).subjects == ("alice",)


@pytest.mark.parametrize("vector", FILE["refused-sets"], ids=lambda vector: vector["why"])
def test_a_set_that_must_be_refused_is(vector: dict[str, str]) -> None:
    topic = parse_topic(vector["topic"])
    gate = CommandGate(ring(), Nonces(lambda _: vectors.NONCE, 0))
    with pytest.raises((WireError, TrustError)):
        gate.admit(bytes.fromhex(vector["set"]), topic, {}, 0, T0_MS, ClockQuality.NETWORK)


@pytest.mark.parametrize("vector", FILE["malformed"], ids=lambda vector: vector["why"])
def test_what_is_well_signed_and_no_message_is_malformed(vector: dict[str, str]) -> None:
    topic = parse_topic(vector["topic"])
    opener = OPENERS["link-1-samples" if topic.message_class == "state" else topic.message_class]
    with pytest.raises(MessageError):
        opener(ring(), bytes.fromhex(vector["envelope"]), topic, T0_MS)


def test_the_other_algorithm() -> None:
    row = FILE["esp256"]
    key, aad = public_key(ESP256, bytes.fromhex(row["public_key"])), parse_topic(row["topic"]).aad
    verify(parse(bytes.fromhex(row["envelope"])), aad, key)
    with pytest.raises(TrustError):
        verify(parse(bytes.fromhex(row["refused"])), aad, key)


def test_officers_who_have_changed_once() -> None:
    row = FILE["handover"]
    assert row["external_aad"] == "arm1|dijon|fleet|fleet|roots"
    assert load_key_list(bytes.fromhex(row["key_list"]), ROOTS).version == 2
    assert read_roots(FILE["roots"]).is_same(ROOTS)


def test_the_checkpoint_and_the_entry_behind_it() -> None:
    row = FILE["checkpoint"]
    opened = open_checkpoint(ring(), row["note"])
    assert (opened.size, opened.root) == (1, sha256(b"\0" + bytes.fromhex(row["entry"])).digest())


def test_the_enrolment_and_its_six_words() -> None:
    row = FILE["enrolment"]
    sealed, tls_key = bytes.fromhex(row["set"]), bytes.fromhex(row["tls_key"])
    assert [key.role for key in open_statement(sealed, "dijon", "gw-darcy", tls_key).keys] == ["agent", "guard"]
    assert words(sealed) == row["words"]
