"""Checkpoints as signed notes: nobody but who may speak for the fleet can say how long its log is."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.model.identity import CityId
from agent.wire.checkpoint import (
    Checkpoint,
    CheckpointError,
    CheckpointTrustError,
    open_checkpoint,
    parse_note,
    seal_checkpoint,
)
from agent.wire.errors import TrustError, WireError
from agent.wire.fleetlog import LogProofError, read_proof
from agent.wire.keyfile import Signer
from agent.wire.trust import load_key_list
from tests.wire.party import CITY, ROOTS, entries, entry, ring, sealed_list, signer

DIRECTOR = signer("director/1")
POINT = Checkpoint(CityId(CITY), "control-room", 4711, sha256(b"root").digest())
NOTE = seal_checkpoint(DIRECTOR, POINT)
KEYS = ring()


def test_a_note_is_three_lines_and_a_signature_line_byte_for_byte() -> None:
    wanted = [
        "armoire/1/dijon/control-room/log",
        "4711",
        "SBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=",
        "",
        "\u2014 director/1 ospazyLDoUp1UokNNw2Bz8r/yroSZJNWnNAq/5RJVlZYqSLmKpCOWu8lRto9KdxpciIc+a3yResZFv4kseSfrmlMGgk=",
        "",
    ]
    assert NOTE.split("\n") == wanted
    assert open_checkpoint(KEYS, NOTE) == POINT
    assert parse_note(NOTE).checkpoint == POINT


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_note_with_one_changed_character_is_not_believed(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(NOTE) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda each: each != NOTE[place]))
    with pytest.raises((CheckpointError, CheckpointTrustError)):
        open_checkpoint(KEYS, NOTE[:place] + other + NOTE[place + 1 :])


@pytest.mark.parametrize("kid", ["alice/1", "gw-darcy/agent/1"])
def test_nobody_but_the_director_speaks_for_the_fleet(kid: str) -> None:
    with pytest.raises(CheckpointTrustError, match="may not speak for the fleet"):
        open_checkpoint(KEYS, seal_checkpoint(signer(kid), POINT))


def test_a_signature_by_a_stranger_is_ignored_beside_a_good_one_and_is_nothing_alone() -> None:
    strange = seal_checkpoint(signer("stranger/1"), POINT)
    with pytest.raises(CheckpointTrustError, match="no signature by a key"):
        open_checkpoint(KEYS, strange)
    assert open_checkpoint(KEYS, NOTE + strange.rsplit("\n", 2)[1] + "\n") == POINT


def test_a_key_of_a_secure_element_signs_checkpoints_too() -> None:
    element = Signer("director/2", generate_private_key(SECP256R1()))
    listed = entry("director/2", "director", ("ack", "state"), key=element)
    keys = load_key_list(sealed_list([*entries(), listed]), ROOTS)
    assert open_checkpoint(keys, seal_checkpoint(element, POINT)) == POINT


def test_another_citys_checkpoint_is_not_ours() -> None:
    with pytest.raises(CheckpointError, match="a checkpoint of lyon"):
        open_checkpoint(KEYS, seal_checkpoint(DIRECTOR, Checkpoint(CityId("lyon"), "room", 1, bytes(32))))


@given(st.text(max_size=1_200))
@settings(max_examples=300)
def test_no_text_is_more_than_malformed(text: str) -> None:
    for read in (lambda: open_checkpoint(KEYS, text), lambda: read_proof(text)):
        with pytest.raises((WireError, TrustError)):
            read()


@given(st.lists(st.sampled_from(["armoire log proof 1", "armoire log consistency 1", "index 1", "hash " + "A" * 43 + "=",
                                 "entry AA==", "", NOTE, "x", "index -1", "index 99999999999999999999"]), max_size=9))  # fmt: skip
def test_no_arrangement_of_good_lines_raises_anything_else(lines: list[str]) -> None:
    text = "\n".join(lines)
    try:
        read = read_proof(text).text
    except (LogProofError, CheckpointError):
        return
    assert read == text
