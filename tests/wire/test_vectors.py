"""The worked bytes of ``docs/wire.md``: we make them, and we accept and refuse them as the document says."""

import json
from typing import Any

import pytest

from agent.wire import sealing
from agent.wire.envelope import digest, parse, split_set
from agent.wire.errors import TrustError, WireError
from agent.wire.keyfile import Signer
from agent.wire.messages import CommandMessage, decode
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
    command, keys = FILE["sets"]
    opened = ring().open_set(bytes.fromhex(command["set"]), parse_topic(command["topic"]), T0_MS)
    assert opened.subjects == ("alice", "bruno")
    assert decode(opened.payload, CommandMessage).verb == "flash"
    assert load_key_list(bytes.fromhex(keys["set"]), ROOTS).version == 1
    assert parse(split_set(bytes.fromhex(keys["set"]))[1]).payload.hex() == keys["payload"]


@pytest.mark.parametrize("vector", FILE["refused"], ids=lambda vector: vector["why"])
def test_what_must_be_refused_is(vector: dict[str, str]) -> None:
    with pytest.raises((WireError, TrustError)):
        ring().open(bytes.fromhex(vector["envelope"]), parse_topic(vector["topic"]), "up", T0_MS)
