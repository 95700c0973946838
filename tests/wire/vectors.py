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
from agent.wire.checkpoint import Checkpoint, seal_checkpoint
from agent.wire.demotrust import roots_toml
from agent.wire.enrolment import kid_of, make_statement, words
from agent.wire.envelope import P256_ORDER, digest, join_set, parse, split_set
from agent.wire.fleetlog import link_entry
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
    Value,
    encode,
)
from agent.wire.roots import Anchor, Roots, key_list_topic, roots_topic
from agent.wire.streams import NO_HASH, Gap
from agent.wire.topics import Topic, down, fleet_state, up
from tests.wire.card import CARD
from tests.wire.party import CITY, GATEWAY, OFFICERS, ROOTS, T0_MS, sealed_list, signer
from tests.wire.succession import bundle, handed_over

FILE = Path(__file__).with_name("vectors.json")
AGENT, GUARD, DIRECTOR, ALICE, BRUNO = (
    signer(kid) for kid in (f"{GATEWAY}/agent/1", f"{GATEWAY}/guard/1", "director/1", "alice/1", "bruno/1")
)
NONCE = bytes(range(16))
TLS_KEY = b"SubjectPublicKeyInfo in DER"
EPOCH = 1_800_000_000
BOOT = bytes(range(8))


COMMAND = CommandMessage(
    SCHEMA, "c-1", "alice/1", GATEWAY, "junction-1", "flash", {"lease_s": 600}, NONCE, 17, T0_MS, T0_MS + 30_000,
    "junction-1/flash_status", 2,
)  # fmt: skip
CMD = down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]
ENTRY = link_entry(GATEWAY, "state", EPOCH, 1, T0_MS, bytes(range(32)))
CHECKPOINT = Checkpoint(CITY, "control-room", 1, sha256(b"\0" + ENTRY).digest())  # type: ignore[arg-type]


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


def _redating() -> dict[str, Any]:
    """A host boots in 1970, seals a link 60 s later, learns the time after ten minutes and seals a mark (§5.3)."""
    topic = up(CITY, GATEWAY, "audit")  # type: ignore[arg-type]
    undated_mono_ms, mark_mono_ms = 60_000, 600_000
    detail: dict[str, Value] = {
        "boot": BOOT.hex(), "mono_ms": mark_mono_ms, "unix_ms": T0_MS, "clock": 2, "within_ms": 40,
    }  # fmt: skip
    (first,) = of_events([Event(-250, "link.lost", "meter-1", "", "meter-1 does not answer", {})], undated_mono_ms)
    (second,) = of_events([Event(0, "clock.mark", "", "", "the network keeps the time", detail)], T0_MS)
    head = StreamHead("audit", 1, 0, NO_HASH)
    undated = AGENT.seal(payload_of(first, GATEWAY, head, Stamp(undated_mono_ms, 0, BOOT)), topic)
    head = StreamHead("audit", 1, 1, digest(undated))
    mark = AGENT.seal(payload_of(second, GATEWAY, head, Stamp(mark_mono_ms, 2, BOOT)), topic)
    return {
        "undated": _vector("undated", topic, undated, AGENT),
        "mark": _vector("mark", topic, mark, AGENT),
        "dated_t0_ms": T0_MS - 540_000,
        "dated_event_ms": T0_MS - 540_250,
        "within_ms": 40 + 54,
    }


def make() -> dict[str, Any]:
    """Everything in the file."""
    return {
        "keys": [
            {"kid": each.kid.decode(), "seed": sha256(each.kid).hexdigest(), "public_key": each.public_key.hex()}
            for each in (AGENT, GUARD, DIRECTOR, ALICE, BRUNO, *OFFICERS)
        ],
        "envelopes": _envelopes(),
        "sets": _sets(),
        "roots": roots_toml(CITY, 2, OFFICERS),
        "handover": _handover(),
        "esp256": _esp256(up(CITY, GATEWAY, "state")),  # type: ignore[arg-type]
        "checkpoint": {"note": seal_checkpoint(DIRECTOR, CHECKPOINT), "entry": ENTRY.hex()},
        "enrolment": _enrolment(),
        "redating": _redating(),
        "refused": _refused(AGENT, up(CITY, GATEWAY, "state")),  # type: ignore[arg-type]
        "refused-sets": _refused_sets(COMMAND, CMD),
        "malformed": _malformed(),
    }  # fmt: skip


def _envelopes() -> list[dict[str, Any]]:
    """One of each message that travels in one envelope."""
    birth, death, result = (up(CITY, GATEWAY, name) for name in ("birth", "death", "result"))  # type: ignore[arg-type]
    ack, desired = (down(CITY, GATEWAY, name) for name in ("ack", "desired"))  # type: ignore[arg-type]
    state = fleet_state(CITY)  # type: ignore[arg-type]
    head, floor = StreamHead("state", EPOCH, 9, bytes(range(32))), StreamHead("state", EPOCH, 2, NO_HASH)
    card = EquipmentCard(
        "segment-1", "segment", "Rue de la Liberté", 47.3225, 5.0384, "agent", ["set-level", "release-level"], ""
    )
    setting = SettingReport("segment-1", "night_level_percent", "applied", "", "")
    report = DesiredReport(7, bytes(range(32)), [setting])
    outcome = Outcome(
        SCHEMA, "c-1", GATEWAY, "junction-1", "flash", "alice/1", "done", "", "yellow flash observed", "in flash", T0_MS
    )
    return [
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
        _one("fleet-state-with-checkpoint", state, FleetState(
            SCHEMA, "control-room", 3, "127.0.0.1", T0_MS, 13, 1, seal_checkpoint(DIRECTOR, CHECKPOINT)
        ), DIRECTOR),
        _one("result", result, outcome, GUARD),
        _guards_link(),
    ]  # fmt: skip


def _sets() -> list[dict[str, Any]]:
    """Commands and key lists."""
    cmd, keys = CMD, key_list_topic(CITY)  # type: ignore[arg-type]
    payload = encode(COMMAND)
    lone = encode(
        msgspec.structs.replace(
            COMMAND, verb="select-plan", args={"plan": 2, "lease_s": 600}, expect_point=None, expect_value=None
        )
    )
    two = join_set([ALICE.seal(payload, cmd), BRUNO.seal(payload, cmd)])
    key_list = sealed_list()
    return [
            {"name": "command-by-two", "topic": str(cmd), "external_aad": cmd.aad.decode(), "payload": payload.hex(),
             "fields": _shown(msgspec.msgpack.decode(payload)), "set": two.hex()},
            {"name": "key-list", "topic": "", "external_aad": keys.aad.decode(), "payload": parse(split_set(key_list)[0]).payload.hex(),
             "fields": _shown(msgspec.msgpack.decode(parse(split_set(key_list)[0]).payload)), "set": key_list.hex()},
            {"name": "command-by-one", "topic": str(cmd), "external_aad": cmd.aad.decode(), "payload": lone.hex(),
             "fields": _shown(msgspec.msgpack.decode(lone)), "set": join_set([ALICE.seal(lone, cmd)]).hex()},
    ]  # fmt: skip


def _guards_link() -> dict[str, Any]:
    topic = up(CITY, GATEWAY, "safety")  # type: ignore[arg-type]
    trip = Event(-20, "trip", "junction-1", "SR-11", "conflicting greens seen", {"first": 2, "second": 6})
    (content,) = of_events([trip], T0_MS)
    before = StreamHead("safety", EPOCH, 0, NO_HASH)
    return _vector(
        "link-safety", topic, GUARD.seal(payload_of(content, GATEWAY, before, Stamp(5_000, 2, BOOT)), topic), GUARD
    )


def _handover() -> dict[str, Any]:
    """Officers who have changed once: the first three hand over to three others, of whom two stayed."""
    fourth = signer("root/4")
    anchor = Anchor(fourth.kid, fourth.algorithm, fourth.public_key, "officer-4")
    handed = handed_over(Roots(ROOTS.city, 2, (*ROOTS.anchors[1:], anchor), 2), *OFFICERS[:2], fourth)
    return {
        "new_kid": fourth.kid.decode(), "new_public_key": fourth.public_key.hex(),
        "external_aad": roots_topic(CITY).aad.decode(),  # type: ignore[arg-type]
        "payload": handed.payload.hex(), "fields": _shown(msgspec.msgpack.decode(handed.payload)),
        "key_list": bundle(2, [OFFICERS[2], fourth], handed).hex(),
    }  # fmt: skip


def _esp256(topic: Topic) -> dict[str, str]:
    """A P-256 key, one envelope by it, and the same with the other ``s``, which must be refused."""
    sealed = CARD.seal(b"\x90", topic)
    s = P256_ORDER - int.from_bytes(sealed[-32:], "big")
    return {
        "kid": CARD.kid.decode(), "secret": f"{CARD.secret:064x}", "public_key": CARD.public_key.hex(), "topic": str(topic),
        "envelope": sealed.hex(), "refused": (sealed[:-32] + s.to_bytes(32, "big")).hex(),
    }  # fmt: skip


def _enrolment() -> dict[str, str]:
    """A statement of two keys, and the six words both ends show."""
    keys = {role: signer(f"new {role}") for role in ("agent", "guard")}
    named = {role: Signer(kid_of(GATEWAY, role, key.public_key), key._key) for role, key in keys.items()}
    sealed = make_statement(CITY, GATEWAY, TLS_KEY, named, T0_MS)
    payload = parse(split_set(sealed)[0]).payload
    return {"tls_key": TLS_KEY.hex(), "payload": payload.hex(), "set": sealed.hex(), "words": words(sealed)}


def _refused_sets(command: CommandMessage, cmd: Topic) -> list[dict[str, str]]:
    """What is no set of ours, each a command on its topic."""
    one, other = encode(command), encode(msgspec.structs.replace(command, counter=18))
    alice, bruno = ALICE.seal(one, cmd), BRUNO.seal(one, cmd)
    bad = {
        "two payloads": b"\x82" + alice + BRUNO.seal(other, cmd),
        "one key twice": b"\x82" + alice + alice,
        "four envelopes": b"\x84" + alice + bruno + alice + bruno,
        "none": b"\x80",
        "fewer than it says": b"\x82" + alice,
        "more than it says": b"\x81" + alice + bruno,
        "an envelope and no set": alice,
        "the issuer has not signed": b"\x81" + bruno,
        "an agent's signature": b"\x82" + alice + AGENT.seal(one, cmd),
    }
    return [{"why": why, "topic": str(cmd), "set": data.hex()} for why, data in bad.items()]


def _malformed() -> list[dict[str, str]]:
    """Well signed by the gateway's agent, and no message: counted under ``message``."""
    topics = {name: up(CITY, GATEWAY, name) for name in ("birth", "state", "death")}  # type: ignore[arg-type]
    link = [SCHEMA, GATEWAY, "state", EPOCH, 1, NO_HASH, T0_MS, 0, 2, ["a/b"], [0], [0], [], [1], []]

    def changed(place: int, value: object) -> bytes:
        return msgspec.msgpack.encode([*link[:place], value, *link[place + 1 :]])

    bad = {
        ("state", "a schema nobody knows"): changed(0, 99),
        ("state", "another gateway's name inside"): changed(1, "gw-monge"),
        ("state", "another stream's name inside"): changed(2, "tele"),
        ("state", "an epoch above 32 bits"): changed(3, 2**32),
        ("state", "number 0"): changed(4, 0),
        ("state", "a hash of 31 bytes"): changed(5, bytes(31)),
        ("state", "a number where a list belongs"): changed(9, 1),
        ("state", "a point that has no name"): changed(10, [1]),
        ("state", "more values than points"): changed(13, [1, 2]),
        ("state", "a quality for no sample"): changed(12, [[1, 2]]),
        ("state", "a value that is a list"): changed(13, [[]]),
        ("state", "neither samples nor events"): msgspec.msgpack.encode([*link[:9], [], [], [], [], [], []]),
        ("state", "a byte behind the message"): msgspec.msgpack.encode(link) + b"\x00",
        ("state", "cut short"): msgspec.msgpack.encode(link)[:-1],
        ("state", "no array"): b"\x80",
        ("death", "a connection below zero"): msgspec.msgpack.encode([SCHEMA, GATEWAY, -1]),
        ("birth", "too few fields"): msgspec.msgpack.encode([SCHEMA, GATEWAY, 1]),
    }
    return [
        {
            "why": why,
            "topic": str(topics[name]),
            "payload": data.hex(),
            "envelope": AGENT.seal(data, topics[name]).hex(),
        }
        for (name, why), data in bad.items()
    ]


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
