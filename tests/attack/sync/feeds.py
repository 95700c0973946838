"""What feeds each parser of bytes from outside, and what must hold for whatever it takes (``targets.py`` has the table)."""

import io
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from agent.model.observation import ClockQuality
from agent.model.site_file import read_cabinet
from agent.wire import envelope, fleetlog, sealing, topics
from agent.wire.checkpoint import Checkpoint, open_checkpoint, seal_checkpoint
from agent.wire.enrolment import Papers, kid_of, make_statement, open_statement, read_code, words
from agent.wire.errors import KeyListError, MessageError, TrustError, WireError
from agent.wire.fleetlog import GrowthProof, RecordProof, read_proof, verify_growth, verify_record
from agent.wire.gate import Admitted, CommandGate, Nonces
from agent.wire.keyfile import Signer
from agent.wire.leadership import Leadership
from agent.wire.local import (
    Request,
    decode_reply,
    decode_request,
    frame,
)
from agent.wire.messages import (
    Ack,
    Batch,
    CommandMessage,
    Death,
    FleetState,
    Outcome,
    StreamHead,
    decode,
    decode_birth,
    encode,
)
from agent.wire.roots import key_list_topic, read_bundle, read_roots
from agent.wire.streams import Outbound
from agent.wire.topics import Topic, down, fleet_state
from agent.wire.trust import KeyList, KeyRing, load_key_list
from agent.wire.verification import verify
from drivers.errors import DriverError
from drivers.modbus.codec import plan
from drivers.modbus.profile import parse_profile
from drivers.modbus.reply import Reply, judge_reply
from drivers.ntcip.message import Dialect
from fleet.answers import ApprovalRequest, CommandRequest
from fleet.pki import read_request
from tests.wire import test_blackbox as boxes
from tests.wire import vectors
from tests.wire.card import CARD
from tests.wire.party import CITY, GATEWAY, OFFICERS, ROOTS, T0_MS, entries, entry, sealed_list, signer

CONFIGS = Path(__file__).parents[3] / "configs"
Feed = Callable[[bytes], bool]
Fresh = Callable[[ExitStack], Feed]
"""Makes a feed with a memory of its own, which ends with the stack."""
UNBELIEVED = (WireError, TrustError)


@cache
def ring() -> KeyRing:
    """The city's keys and one of each algorithm for the gateway."""
    card = entry(CARD.kid.decode(), "agent", ("up",), (GATEWAY,), GATEWAY, key=CARD)
    return load_key_list(sealed_list([*entries(), card]), ROOTS)


@cache
def worked() -> dict[str, dict[str, str]]:
    """The envelopes of the worked bytes, by name."""
    return {each["name"]: each for each in vectors.make()["envelopes"]}


def sealed(names: Iterable[str]) -> tuple[tuple[Topic, bytes], ...]:
    """Envelopes as they were signed, with their topics; those of the agent with its second key too."""
    rows = [
        (topics.parse(each["topic"]), bytes.fromhex(each["envelope"])) for each in (worked()[name] for name in names)
    ]
    payloads = [(topic, envelope.parse(data)) for topic, data in rows]
    rows += [(topic, CARD.seal(each.payload, topic)) for topic, each in payloads if each.kid.endswith(b"/agent/1")]
    return tuple(rows)


def _canonical(data: bytes) -> None:
    """Whatever is taken for an envelope can be written in one way only."""
    parsed = envelope.parse(data)

    class Replay:
        kid, algorithm = parsed.kid, parsed.algorithm

        def sign(self, message: bytes) -> bytes:
            return parsed.signature

    assert envelope.seal(Replay(), parsed.payload, b"") == data, "two spellings of one envelope"


def feed_envelope(data: bytes) -> bool:
    """A set or an envelope, nobody's key asked."""
    try:
        parts = envelope.split_set(data)
    except WireError:
        _canonical(data)
        return True
    assert envelope.join_set(parts) == data
    for part in parts:
        _canonical(part)
    return True


def envelopes_of(names: tuple[str, ...]) -> Fresh:
    """Envelopes on their topics: what is believed is what was signed, byte for byte."""
    rows = sealed(names)
    signed = {data for _, data in rows}

    def feed(data: bytes) -> bool:
        problem: Exception = MessageError("no topic")
        for topic in {topic for topic, _ in rows}:
            try:
                ring().open(
                    data,
                    topic,
                    "state" if topic.direction == "fleet" else "ack" if topic.direction == "down" else "up",
                    T0_MS,
                )
            except UNBELIEVED as error:
                problem = error
            else:
                assert data in signed, "believed, and nobody signed it"
                return True
        raise problem

    return lambda _stack: feed


@cache
def command_set() -> tuple[Topic, bytes]:
    row = vectors.make()["sets"][0]
    return topics.parse(row["topic"]), bytes.fromhex(row["set"])


def feed_set(data: bytes) -> bool:
    """A command set: whoever is left in it did sign."""
    topic, good = command_set()
    ring().open_set(data, topic, T0_MS)
    assert set(envelope.split_set(data)) <= set(envelope.split_set(good)), "believed, and nobody signed it"
    return True


def feed_key_list(data: bytes) -> bool:
    """A key list as it arrives: only with enough officers' signatures."""
    load_key_list(data, ROOTS)
    good = {read_bundle(each).key_list.payload for each in key_lists()}
    assert read_bundle(data).key_list.payload in good, "believed, and nobody signed it"
    return True


@cache
def key_lists() -> tuple[bytes, bytes]:
    """One as it always was, one whose officers have changed once."""
    return sealed_list(), bytes.fromhex(vectors.make()["handover"]["key_list"])


def feed_signed_list(payload: bytes) -> bool:
    """What two officers might have signed by mistake: refused, or good to verify with."""
    if len(payload) > envelope.ENVELOPE_BYTES_MAX // 3:
        raise KeyListError("no two officers can put that into one set")
    data = envelope.join_set([officer.seal(payload, key_list_topic(ROOTS.city)) for officer in OFFICERS[:2]])
    taken = load_key_list(data, ROOTS)
    topic, good = sealed(("ack",))[0]
    with suppress(*UNBELIEVED):
        taken.open(good, topic, "ack", T0_MS)
    return True


def feed_message(payload: bytes) -> bool:
    """Any verified payload as any message: what is read says the same when it is written and read again."""
    taken = False
    for kind in (Ack, Death, Outcome, Batch, FleetState, CommandMessage, KeyList, None):
        try:
            message: Any = decode_birth(payload) if kind is None else decode(payload, kind)
        except MessageError:
            continue
        again: Any = decode_birth(encode(message)) if kind is None else decode(encode(message), kind)
        assert encode(again) == encode(message)
        taken = True
    if not taken:
        raise MessageError("no message")
    return True


def feed_topic(data: bytes) -> bool:
    text = data.decode("utf-8", "replace")
    assert str(topics.parse(text)) == text
    return True


def feed_request(data: bytes) -> bool:
    """A frame's inside, as guard and agent read it."""
    message: Request = decode_request(data)
    assert decode_request(frame(message)[4:]) == message or b"\xcb" in data  # NaN is not equal to itself.
    return True


def feed_reply(data: bytes) -> bool:
    frame(decode_reply(data))
    return True


def gate(_: ExitStack) -> Feed:
    """A person's own signature over a mutated command: an outcome or a counted rejection, and never twice."""
    nonce = vectors.NONCE
    made = CommandGate(ring(), Nonces(lambda _: nonce, 0))
    counters: dict[str, int] = {}
    topic = down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]

    def feed(payload: bytes) -> bool:
        data = envelope.join_set([vectors.ALICE.seal(payload, topic), vectors.BRUNO.seal(payload, topic)])
        admitted = made.admit(data, topic, counters, 0, T0_MS, ClockQuality.NETWORK)
        if isinstance(admitted, Admitted):
            assert admitted.counter > counters.get(admitted.kid, 0)
            counters[admitted.kid] = min(admitted.counter, 1_000)
            admitted.command(lambda _name: None)
        return True

    return feed


def courier(_: ExitStack) -> Feed:
    """The director's own signature over mutated acks and states: nothing is trimmed that was not sent."""
    leadership = Leadership()
    topic_of = {"ack": down(CITY, GATEWAY, "ack"), "state": fleet_state(CITY)}  # type: ignore[arg-type]
    head = StreamHead("state", vectors.EPOCH, 9, bytes(range(32)))

    def feed(payload: bytes) -> bool:
        try:
            ack = sealing.open_ack(ring(), vectors.DIRECTOR.seal(payload, topic_of["ack"]), topic_of["ack"], T0_MS)
        except MessageError:
            state = sealing.open_state(
                ring(), vectors.DIRECTOR.seal(payload, topic_of["state"]), topic_of["state"], T0_MS
            )
            leadership.receive(state, 0, T0_MS)
            return True
        leadership.accepts(ack.term)
        outbound = Outbound(head, 3)
        for each in ack.heads:
            outbound.receive_ack(each, head.hash if each.seq == 9 else None, 0)
        assert outbound.acked_seq in (3, 9)
        return True

    return feed


def feed_site(data: bytes) -> bool:
    read_cabinet(data.decode("utf-8", "replace"), "site.toml")
    return True


def feed_profile(data: bytes) -> bool:
    plan(parse_profile(data.decode("utf-8", "replace"), "map", "map.toml"))
    return True


def feed_roots(data: bytes) -> bool:
    read_roots(data.decode("utf-8", "replace"))
    return True


def feed_snmp(data: bytes) -> bool:
    """A datagram from where the signal controller should be, read as both versions."""
    problem: DriverError | None = None
    for version in ("1", "2c"):
        try:
            response = _dialects()[version].decode(data)
        except DriverError as error:
            problem = error
        else:
            assert all(isinstance(value, int | bytes | None) for _, value in response.values)
            return True
    assert problem is not None
    raise problem


@cache
def _dialects() -> dict[str, Dialect]:
    return {version: Dialect(version, "public") for version in ("1", "2c")}


ASKED = bytes.fromhex("000100000006010300640002")


def feed_modbus(data: bytes) -> bool:
    """Bytes from where a PLC should be: an answer only if it fits the question."""
    reply, start = judge_reply(ASKED, data)
    assert 0 <= start <= len(data)
    if reply is Reply.ANSWER:
        assert data[start : start + 2] == ASKED[:2]
        assert data[start + 7] in (3, 0x83)
    return reply is Reply.ANSWER


def feed_export(data: bytes) -> bool:
    """A black box file: good only if nothing in it was changed."""
    examined = verify(io.BytesIO(data), boxes.ring())
    assert examined.finding is not None or data == boxes.whole()
    return examined.finding is None


@cache
def checkpoint() -> str:
    return seal_checkpoint(vectors.DIRECTOR, Checkpoint(CITY, "control-room", 1, sha256(b"\0" + log_entry()).digest()))  # type: ignore[arg-type]


@cache
def log_entry() -> bytes:
    row = worked()["link-1-samples"]
    return fleetlog.link_entry(GATEWAY, "state", vectors.EPOCH, 1, T0_MS, bytes.fromhex(row["sha256"]))


def feed_proof(data: bytes) -> bool:
    """A proof file or a checkpoint: believed only with the director's signature over the very text."""
    text = data.decode("utf-8", "replace")
    try:
        proof = read_proof(text)
    except WireError:
        assert open_checkpoint(ring(), text).text == checkpoint().partition("\n\n")[0] + "\n"
        return True
    if isinstance(proof, RecordProof):
        proven = verify_record(proof, ring())
        assert encode(proven.entry) == log_entry(), "another entry is proven"
    else:
        assert isinstance(proof, GrowthProof)
        verify_growth(proof, ring())
    return True


TLS_KEY = b"a public key"


@cache
def statement() -> bytes:
    keys = {"agent": signer("new"), "guard": signer("new too")}
    named = {role: Signer(kid_of(GATEWAY, role, each.public_key), each._key) for role, each in keys.items()}
    return make_statement(CITY, GATEWAY, TLS_KEY, named, T0_MS)


def feed_statement(data: bytes) -> bool:
    """What a gateway says of its own keys when it joins."""
    words(data)
    open_statement(data, CITY, GATEWAY, TLS_KEY)
    assert data == statement(), "believed, and nobody signed it"
    return True


@cache
def csr() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, GATEWAY)])
    key = CARD._key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    made = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return made.sign(key, hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def feed_csr(data: bytes) -> bool:
    """A certificate request; the authority looks at name and key only after its own signature was good."""
    read_request(data)
    return True


def feed_api(data: bytes) -> bool:
    """The bodies that the control room and joining gateways send."""
    problem: Exception | None = None
    for kind in (CommandRequest, ApprovalRequest, Papers):
        try:
            msgspec.json.decode(data, type=kind)
            return True
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            problem = error
    assert problem is not None
    raise problem


def feed_code(data: bytes) -> bool:
    assert len(read_code(data.decode("utf-8", "replace"))) == 16
    return True


def payloads(*names: str) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(worked()[name]["payload"]) for name in names)
