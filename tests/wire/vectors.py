"""Worked bytes for other implementations: ``python -m tests.wire.vectors`` writes ``vectors.json`` anew.

Everything is made with Ed25519 keys whose 32 secret bytes are the SHA-256 of their name, so it is the same every time.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from agent.ledger.linking import Stamp, of_events, of_samples, payload_of
from agent.model.observation import PointValue, Quality
from agent.wire.envelope import digest, join_set, parse, split_set
from agent.wire.keyfile import Signer
from agent.wire.messages import (
    SCHEMA,
    Ack,
    Birth,
    CommandMessage,
    Death,
    Desired,
    DesiredReport,
    DesiredSetting,
    EquipmentCard,
    Event,
    FleetState,
    Heartbeat,
    IssuerCounter,
    Outcome,
    SettingReport,
    StreamHead,
    encode,
)
from agent.wire.roots import key_list_topic
from agent.wire.streams import NO_HASH, Gap
from agent.wire.topics import Topic, down, fleet_state, up
from tests.wire.party import CITY, GATEWAY, OFFICERS, T0_MS, entries, sealed_list, signer

FILE = Path(__file__).with_name("vectors.json")
AGENT, GUARD, DIRECTOR, ALICE, BRUNO = (
    signer(kid) for kid in (f"{GATEWAY}/agent/1", f"{GATEWAY}/guard/1", "director/1", "alice/1", "bruno/1")
)
NONCE = bytes(range(16))
EPOCH = 1_800_000_000
BOOT = bytes(range(8))


def _vector(name: str, topic: Topic, sealed: bytes, by: Signer) -> dict[str, Any]:
    return {
        "name": name,
        "topic": str(topic),
        "external_aad": topic.aad.decode(),
        "kid": by.kid.decode(),
        "payload": parse(sealed).payload.hex(),
        "fields": _shown(msgspec.msgpack.decode(parse(sealed).payload)),
        "envelope": sealed.hex(),
        "sha256": digest(sealed).hex(),
    }


def _shown(value: Any) -> Any:
    match value:
        case bytes():
            return {"hex": value.hex()}
        case list():
            return [_shown(each) for each in value]
        case dict():
            return {key: _shown(each) for key, each in value.items()}
        case _:
            return value


def _one(name: str, topic: Topic, message: msgspec.Struct, by: Signer) -> dict[str, Any]:
    return _vector(name, topic, by.seal(encode(message), topic), by)


def _chain() -> list[dict[str, Any]]:
    """Two links and a gap record that stands for 3..7, so that link 8 would name its ``hash`` as ``prev``."""
    topic = up(CITY, GATEWAY, "state")  # type: ignore[arg-type]
    samples = [
        PointValue("segment-1/level_percent", 40, Quality.GOOD, T0_MS),
        PointValue("segment-1/contactor_on", True, Quality.GOOD, T0_MS - 250),
        PointValue("meter-1/active_power_w", None, Quality.STALE, T0_MS),
        PointValue("segment-1/level_percent", 41, Quality.UNCERTAIN, T0_MS + 1),
    ]
    event = Event(0, "link.lost", "junction-1", "", "junction-1 does not answer", {"timeout_s": 0.3})
    gap = Gap(3, 7, 1234, "the store for this stream was full and the fleet had not acknowledged", bytes(range(32)))
    contents = (*of_samples(samples, T0_MS), *of_events([event], T0_MS), *of_events([gap.event()], T0_MS))
    vectors, head = [], StreamHead("state", EPOCH, 0, NO_HASH)
    for name, content in zip(("link-1-samples", "link-2-event", "link-7-gap"), contents, strict=True):
        before = head if name != "link-7-gap" else StreamHead("state", EPOCH, gap.last - 1, head.hash)
        sealed = AGENT.seal(payload_of(content, GATEWAY, before, Stamp(5_000, 2, BOOT)), topic)
        vectors.append(_vector(name, topic, sealed, AGENT))
        head = StreamHead("state", EPOCH, before.seq + 1, digest(sealed))
    return vectors


def make() -> dict[str, Any]:
    """Everything in the file."""
    birth, death, result = (up(CITY, GATEWAY, name) for name in ("birth", "death", "result"))  # type: ignore[arg-type]
    ack, cmd, desired = (down(CITY, GATEWAY, name) for name in ("ack", "cmd", "desired"))  # type: ignore[arg-type]
    state, keys = fleet_state(CITY), key_list_topic(CITY)  # type: ignore[arg-type]
    head, floor = StreamHead("state", EPOCH, 9, bytes(range(32))), StreamHead("state", EPOCH, 2, NO_HASH)
    card = EquipmentCard(
        "segment-1", "segment", "Rue de la Liberté", 47.3225, 5.0384, "agent", ["set-level", "release-level"], ""
    )
    command = CommandMessage(
        SCHEMA, "c-1", "alice/1", GATEWAY, "junction-1", "flash", {"lease_s": 600}, NONCE, 17, T0_MS, T0_MS + 30_000,
        "junction-1/flash_status", 2,
    )  # fmt: skip
    setting = SettingReport("segment-1", "night_level_percent", "applied", "", "")
    report = DesiredReport(7, bytes(range(32)), [setting])
    outcome = Outcome(
        SCHEMA, "c-1", GATEWAY, "junction-1", "flash", "alice/1", "done", "", "yellow flash observed", "in flash", T0_MS
    )
    envelopes = [
        _one("birth", birth, Birth(
            GATEWAY, 42, "Place Darcy", T0_MS, 2, {"agent": NONCE}, [IssuerCounter("alice/1", 17)], [head], [card],
            "armoire 0.1.0", [floor],
        ), AGENT),
        _one("heartbeat", birth, Heartbeat(GATEWAY, 42, 1, T0_MS, 2, {"agent": NONCE}, {"segment-1": "supervised"}, [head], 0,
            desired=report), AGENT),
        _one("death", death, Death(SCHEMA, GATEWAY, 42), AGENT),
        *_chain(),
        _one("ack", ack, Ack(SCHEMA, GATEWAY, 3, [head], rebirth=False), DIRECTOR),
        _one("desired", desired, Desired(
            SCHEMA, GATEWAY, 7, T0_MS, [DesiredSetting("segment-1", "night_level_percent", 60)]
        ), DIRECTOR),
        _one("fleet-state", state, FleetState(SCHEMA, "control-room", 3, "127.0.0.1", T0_MS, 12, 1), DIRECTOR),
        _one("result", result, outcome, GUARD),
    ]  # fmt: skip
    payload = encode(command)
    two = join_set([ALICE.seal(payload, cmd), BRUNO.seal(payload, cmd)])
    key_list = sealed_list()
    return {
        "keys": [
            {"kid": each.kid.decode(), "seed": sha256(each.kid).hexdigest(), "public_key": each.public_key.hex()}
            for each in (AGENT, GUARD, DIRECTOR, ALICE, BRUNO, *OFFICERS)
        ],
        "envelopes": envelopes,
        "sets": [
            {"name": "command-by-two", "topic": str(cmd), "external_aad": cmd.aad.decode(), "payload": payload.hex(),
             "fields": _shown(msgspec.msgpack.decode(payload)), "set": two.hex()},
            {"name": "key-list", "topic": "", "external_aad": keys.aad.decode(), "payload": parse(split_set(key_list)[0]).payload.hex(),
             "fields": [SCHEMA, CITY, 1, T0_MS, "...", f"{len(entries())} keys"], "set": key_list.hex()},
        ],
        "refused": _refused(AGENT, up(CITY, GATEWAY, "state")),  # type: ignore[arg-type]
    }  # fmt: skip


def _refused(by: Signer, topic: Topic) -> list[dict[str, str]]:
    """Envelopes every receiver must refuse, for the topic given."""
    good = by.seal(b"\x90", topic)
    tele = up(CITY, GATEWAY, "tele")  # type: ignore[arg-type]
    short = good.replace(b"\xa0\x41\x90", b"\xa0\x58\x01\x90")
    bad = {
        "sealed for another topic": by.seal(b"\x90", tele),
        "a bit of the payload flipped": good.replace(b"\xa0\x41\x90", b"\xa0\x41\x91"),
        "a byte after the signature": good + b"\x00",
        "a length not in its shortest form": short,
        "an unprotected header": good.replace(b"\xa0\x41\x90", b"\xa1\x01\x26\x41\x90"),
        "algorithm -8 instead of -19": good.replace(b"\xa2\x01\x32", b"\xa2\x01\x27"),
        "no tag 18": good[1:],
        "cut short": good[:-1],
    }
    return [{"why": why, "topic": str(topic), "envelope": data.hex()} for why, data in bad.items()]


def text() -> str:
    """The file as it should be."""
    return json.dumps(make(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
