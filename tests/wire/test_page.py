"""The tables of ``docs/wire.md`` are those of the code: every field of every message in its order, every number."""

import re
from pathlib import Path

import msgspec
import pytest

from agent.wire import envelope, flight, gate, leadership, messages, rejections, roots, streams, trust
from agent.wire.errors import (
    CapabilityError,
    EnvelopeError,
    KeyListError,
    MessageError,
    SignatureError,
    TopicError,
    TrustError,
    UnknownKeyError,
    WireError,
)
from fleet import commands, registry, writer
from fleet.standing import POINTS_PER_GATEWAY_MAX
from tests.test_docs import tables

WIRE = Path("docs/wire.md")
ROWS = {cells[0]: cells[1:] for cells in tables(WIRE) if len(cells) == 2}
STRUCTS: dict[str, type[msgspec.Struct]] = {
    "birth": messages.Birth,
    "heartbeat": messages.Heartbeat,
    "death": messages.Death,
    "batch": messages.Batch,
    "ack": messages.Ack,
    "fleet state": messages.FleetState,
    "command": messages.CommandMessage,
    "outcome": messages.Outcome,
    "desired state": messages.Desired,
    "key list": trust.KeyList,
    "*head*": messages.StreamHead,
    "*card*": messages.EquipmentCard,
    "*event*": messages.Event,
    "*report*": messages.DesiredReport,
    "*key*": trust.KeyEntry,
}
CALLED = {"alg": "algorithm", "list": "settings"}


def parts(text: str) -> list[str]:
    """Split at commas that stand in no bracket."""
    depth, found = 0, [""]
    for letter in text:
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and not depth:
            found.append("")
        else:
            found[-1] += letter
    return [each.strip() for each in found]


def told(cell: str) -> list[tuple[str, bool]]:
    """The fields a cell names, and whether each may be missing."""
    fields = cell.partition("; each")[0].strip()
    names = [part.split()[0] for part in parts(fields[1:-1] if fields.startswith("[") else fields) if part[0].islower()]
    return [(CALLED.get(name.rstrip("?"), name.rstrip("?")), name.endswith("?")) for name in names]


@pytest.mark.parametrize("name", list(STRUCTS))
def test_the_page_has_every_field_in_its_order(name: str) -> None:
    struct = STRUCTS[name]
    fields = [(field.name, not field.required) for field in msgspec.structs.fields(struct)]
    if struct.__struct_config__.tag_field:
        fields.insert(0, ("schema", False))
    named = [each for each in told(ROWS[name][0]) if each[0] not in ("as", "none", "empty", "agent")]
    assert named == fields


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        ("envelope, set; key list; MQTT packet", [envelope.ENVELOPE_BYTES_MAX, roots.KEY_LIST_BYTES_MAX, envelope.PACKET_BYTES_MAX]),
        ("signatures on a set; on a handover", [envelope.SIGNATURES_PER_SET_MAX, 2 * envelope.SIGNATURES_PER_SET_MAX]),
        ("handovers in a key list; anchors of one version", [roots.HANDOVERS_MAX, roots.ANCHORS_MAX]),
        ("links ahead of an ack; links in one transaction of the manager", [streams.WINDOW_LINKS, writer.GROUP_MESSAGES_MAX, writer.GROUP_MS]),
        ("go back without progress; fleet has lost its store after", [streams.GO_BACK_MS_MIN // 1000, streams.GO_BACK_MS_MAX // 1000, streams.REGRESS_GO_BACKS]),
        ("the same after another manager began to lead", [streams.NEW_LEADER_GO_BACK_MS, 1]),
        ("heartbeat; gateway lost after", [int(messages.HEARTBEAT_S), registry.LINK_LOST_AFTER_MS // 1000]),
        ("fleet state; fleet silent after", [10, leadership.FLEET_STALE_MS // 1000]),
        ("command's life; manager's own use of it", [gate.LIFETIME_MS_MAX // 1000, commands.LIFETIME_MS // 1000]),
        ("keep-alive; a publish without an answer ends the connection after", [flight.KEEPALIVE_S_MIN, flight.ANSWER_MS // 1000]),
        ("rejections a topic has free; judged beyond; records of it", [rejections.JUDGED_AT_ONCE, rejections.JUDGED_PER_S]),
        ("points of a gateway that get a history; epochs ahead believed", [POINTS_PER_GATEWAY_MAX, 1_000]),
    ],
)  # fmt: skip
def test_the_page_has_the_numbers(row: str, numbers: list[int]) -> None:
    found_there = [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", ROWS[row][0])]
    assert found_there[: len(numbers)] == numbers  # Behind them a row may say more.


def test_the_page_names_every_reason() -> None:
    errors = (
        WireError,
        EnvelopeError,
        MessageError,
        TopicError,
        TrustError,
        UnknownKeyError,
        SignatureError,
        CapabilityError,
        KeyListError,
    )
    listed = {name for row in ROWS for name in re.findall(r"`([a-z-]+)`", row)}
    assert {error.reason for error in errors} | {rejections.THROTTLED} <= listed
