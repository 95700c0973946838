"""The envelope: one shape, one encoding, and no mutation of it is ever accepted."""

import os
import random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import example, given
from hypothesis import strategies as st

from agent.wire import envelope
from agent.wire.envelope import ENVELOPE_BYTES_MAX, ENVELOPE_OVERHEAD_BYTES, ESP256, P256_ORDER
from agent.wire.errors import EnvelopeError, SignatureError
from agent.wire.keyfile import Signer
from agent.wire.roots import public_key
from agent.wire.topics import down, up
from tests.wire.party import CITY, GATEWAY, signer

MUTATIONS = int(os.environ.get("ENVELOPE_MUTATIONS", "20000"))
"""The nightly run takes 1,000,000."""
TOPIC = up(CITY, GATEWAY, "state")  # type: ignore[arg-type]
ED = signer(f"{GATEWAY}/agent/1")
P256 = Signer("gw-darcy/agent/2", ec.derive_private_key(20_260_101, ec.SECP256R1()))
BOTH = pytest.mark.parametrize("key", [ED, P256], ids=["Ed25519", "ESP256"])


def check(data: bytes, key: Signer, aad: bytes = TOPIC.aad) -> bytes:
    parsed = envelope.parse(data)
    if (parsed.kid, parsed.algorithm) != (key.kid, key.algorithm):
        raise SignatureError("another key")
    envelope.verify(parsed, aad, public_key(key.algorithm, key.public_key))
    return parsed.payload


@BOTH
@pytest.mark.parametrize("size", [0, 1, 23, 24, 255, 256, 65_535, 65_536, 200_000])
def test_every_length_round_trips(key: Signer, size: int) -> None:
    payload = random.Random(size).randbytes(size)
    sealed = key.seal(payload, TOPIC)
    assert check(sealed, key) == payload
    assert len(sealed) <= size + ENVELOPE_OVERHEAD_BYTES


def test_the_bytes_are_those_of_rfc_9052() -> None:
    sealed = Signer.from_seed("k", bytes(32)).seal(b"hi", TOPIC)
    assert sealed[:15].hex() == "d28446a20132044" + "16b" + "a0" + "426869" + "5840"
    assert len(sealed) == 15 + 64


@BOTH
def test_a_message_copied_to_another_topic_fails(key: Signer) -> None:
    sealed = key.seal(b"payload", TOPIC)
    for other in (
        up(CITY, GATEWAY, "tele"),  # type: ignore[arg-type]
        up(CITY, "gw-other", "state"),  # type: ignore[arg-type]
        up("beaune", GATEWAY, "state"),  # type: ignore[arg-type]
        down(CITY, GATEWAY, "ack"),  # type: ignore[arg-type]
    ):
        with pytest.raises(SignatureError):
            check(sealed, key, other.aad)


@BOTH
def test_no_mutation_is_accepted(key: Signer) -> None:
    dice = random.Random(5)
    base = key.seal(b"hello world" * 9, TOPIC)
    accepted = 0
    for _ in range(MUTATIONS // 2):
        data = bytearray(base)
        for _ in range(dice.randint(1, 3)):
            match dice.randrange(5):
                case 0 | 1 | 2:
                    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
                case 3:
                    del data[dice.randrange(len(data))]
                case _:
                    data.insert(dice.randrange(len(data) + 1), dice.randrange(256))
        if bytes(data) == base:
            continue
        try:
            check(bytes(data), key)
            accepted += 1
        except (EnvelopeError, SignatureError):
            pass
    assert accepted == 0


def test_the_other_ecdsa_signature_over_the_same_bytes_is_refused() -> None:
    for n in range(20):
        sealed = P256.seal(bytes([n]), TOPIC)
        s = int.from_bytes(sealed[-32:], "big")
        assert s <= P256_ORDER // 2
        twin = sealed[:-32] + (P256_ORDER - s).to_bytes(32, "big")
        with pytest.raises(SignatureError, match="lower form"):
            check(twin, P256)


@pytest.mark.parametrize("signature", [bytes(64), b"\xff" * 64, bytes(63) + b"\x01", b"\x01" + bytes(63)])
@BOTH
def test_degenerate_signatures_are_refused(key: Signer, signature: bytes) -> None:
    sealed = key.seal(b"x", TOPIC)
    with pytest.raises(SignatureError):
        check(sealed[:-64] + signature, key)


@given(st.binary(max_size=400))
@example(b"")
@example(b"\xd2\x84")
@example(b"\xd2\x84\x5b" + bytes(8))
@example(b"\xd2\x84\x5a\xff\xff\xff\xff")
@example(b"\xd2\x84\x5f")
def test_no_bytes_raise_anything_but_envelope_errors(data: bytes) -> None:
    for parse in (envelope.parse, envelope.split_set):
        try:
            parse(data)
        except EnvelopeError:
            continue


@pytest.mark.parametrize(
    ("mutate", "reason"),
    [
        (lambda data: data + b"\x00", "after the signature"),
        (lambda data: b"\xd8\x12" + data[1:], "not a COSE_Sign1"),
        (lambda data: data.replace(b"\xa0\x42hi", b"\xa0\x58\x02hi"), "shortest form"),
        (lambda data: data.replace(b"\xa0\x42hi", b"\xa0\x59\x00\x02hi"), "shortest form"),
        (lambda data: data.replace(b"\xa0\x42hi", b"\xa1\x42hi"), "unprotected"),
        (lambda data: data.replace(b"\xa0\x42hi", b"\xa0\x62hi"), "byte string was expected"),
        (lambda data: data.replace(b"\x01\x32", b"\x01\x26"), "neither Ed25519 nor ESP256"),
        (lambda data: data.replace(b"\x01\x32", b"\x02\x32"), "protected header"),
        (lambda data: data[:-65] + b"\x3f" + data[-64:-1], "wrong form|of 63|expected"),
        (lambda data: data[:-1], "cut short"),
        (lambda data: bytes(ENVELOPE_BYTES_MAX + 1), "at most"),
    ],
)
def test_each_departure_from_the_shape_is_named(mutate: object, reason: str) -> None:
    sealed = Signer.from_seed("k", bytes(32)).seal(b"hi", TOPIC)
    with pytest.raises(EnvelopeError, match=reason):
        envelope.parse(mutate(sealed))  # type: ignore[operator]


def test_a_payload_that_does_not_fit_is_our_own_error() -> None:
    ED.seal(bytes(ENVELOPE_BYTES_MAX - ENVELOPE_OVERHEAD_BYTES), TOPIC)
    with pytest.raises(ValueError, match="does not fit"):
        ED.seal(bytes(ENVELOPE_BYTES_MAX - ENVELOPE_OVERHEAD_BYTES + 1), TOPIC)


def test_sets_hold_one_to_three_signatures_over_one_payload() -> None:
    keys = [ED, P256, signer("alice/1"), signer("bruno/1")]
    sealed = [key.seal(b"the same", TOPIC) for key in keys]
    for count in (1, 2, 3):
        assert envelope.split_set(envelope.join_set(sealed[:count])) == sealed[:count]
    wrong = {
        "not a set": bytes([0x84]) + b"".join(sealed),
        "different payloads": envelope.join_set([sealed[0], P256.seal(b"another", TOPIC)]),
        "signed twice": envelope.join_set([sealed[0], sealed[0]]),
        "after the set": envelope.join_set(sealed[:1]) + b"\x00",
        "not a COSE_Sign1": bytes([0x82]) + sealed[0],
    }
    for reason, data in wrong.items():
        with pytest.raises(EnvelopeError, match=reason):
            envelope.split_set(data)
    with pytest.raises(EnvelopeError):
        envelope.split_set(envelope.join_set(sealed[:2]), limit=1)
    with pytest.raises(EnvelopeError):
        envelope.split_set(b"\x80")


def test_the_digest_is_of_the_whole_envelope() -> None:
    sealed = ED.seal(b"x", TOPIC)
    assert envelope.digest(sealed) != envelope.digest(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    assert len(envelope.digest(sealed)) == 32


def test_the_algorithm_is_part_of_what_is_signed() -> None:
    assert P256.algorithm == ESP256
    sealed = ED.seal(b"x", TOPIC)
    with pytest.raises((SignatureError, EnvelopeError)):
        check(sealed.replace(b"\x01\x32", b"\x01\x28"), ED)
