"""Statements, words, codes and proofs of enrolment: what is signed by whom, and what is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.wire import envelope
from agent.wire.enrolment import (
    kid_of,
    make_renewal,
    make_statement,
    open_statement,
    papers_proof,
    read_code,
    renewal_at_ms,
    request_proof,
    show_code,
    statement_topic,
    words,
)
from agent.wire.errors import MessageError, SignatureError, TrustError, WireError
from agent.wire.keyfile import Signer

CITY, GATEWAY, TLS_KEY = "dijon", "gw-darcy", b"the DER of a TLS key"


def signer(role: str, seed: int) -> Signer:
    key = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32)
    return Signer(kid_of(GATEWAY, role, key.public_key().public_bytes_raw()), key)


AGENT, GUARD = signer("agent", 1), signer("guard", 2)
SEALED = make_statement(CITY, GATEWAY, TLS_KEY, {"agent": AGENT, "guard": GUARD}, 5)


def test_a_statement_introduces_every_key_that_signed_it() -> None:
    found = open_statement(SEALED, CITY, GATEWAY, TLS_KEY)
    assert [(key.kid, key.role) for key in found.keys] == [
        (AGENT.kid.decode(), "agent"),
        (GUARD.kid.decode(), "guard"),
    ]
    assert (
        len(open_statement(make_statement(CITY, GATEWAY, TLS_KEY, {"agent": AGENT}, 5), CITY, GATEWAY, TLS_KEY).keys)
        == 1
    )


@pytest.mark.parametrize(
    ("city", "gateway", "tls_key"),
    [("lyon", GATEWAY, TLS_KEY), (CITY, "gw-monge", TLS_KEY), (CITY, GATEWAY, b"another key")],
)
def test_a_statement_is_good_for_one_gateway_and_one_tls_key(city: str, gateway: str, tls_key: bytes) -> None:
    with pytest.raises(SignatureError):
        open_statement(SEALED, city, gateway, tls_key)


def test_a_key_that_did_not_sign_is_not_introduced() -> None:
    only_agent = envelope.join_set(envelope.split_set(SEALED)[:1])
    with pytest.raises(SignatureError, match="each of its keys"):
        open_statement(only_agent, CITY, GATEWAY, TLS_KEY)
    payload = envelope.parse(envelope.split_set(SEALED)[0]).payload
    stranger = Signer(GUARD.kid.decode(), Ed25519PrivateKey.from_private_bytes(bytes(32)))
    topic = statement_topic(CITY, GATEWAY)
    with pytest.raises(SignatureError):
        open_statement(
            envelope.join_set([AGENT.seal(payload, topic), stranger.seal(payload, topic)]), CITY, GATEWAY, TLS_KEY
        )


def test_a_key_cannot_take_anothers_name() -> None:
    thief = Signer(AGENT.kid.decode(), Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(SignatureError, match="not the name of this key"):
        open_statement(make_statement(CITY, GATEWAY, TLS_KEY, {"agent": thief}, 5), CITY, GATEWAY, TLS_KEY)


def test_a_guard_alone_is_no_gateway_and_a_renewal_no_enrolment() -> None:
    for sealed in (
        make_statement(CITY, GATEWAY, TLS_KEY, {"guard": GUARD}, 5),
        envelope.join_set([make_renewal(CITY, GATEWAY, TLS_KEY, AGENT, 5)]),
    ):
        with pytest.raises(MessageError, match="introduces an agent's key"):
            open_statement(sealed, CITY, GATEWAY, TLS_KEY)


@given(st.binary(max_size=300))
@example(b"")
@example(b"\x81")
def test_what_is_no_statement_is_refused(data: bytes) -> None:
    with pytest.raises((WireError, TrustError)):
        open_statement(data, CITY, GATEWAY, TLS_KEY)


@settings(max_examples=400)
@given(st.integers(0, len(SEALED) - 1), st.integers(0, 7))
def test_no_bit_of_a_statement_can_be_changed(at: int, bit: int) -> None:
    bent = bytearray(SEALED)
    bent[at] ^= 1 << bit
    with pytest.raises((WireError, TrustError)):
        open_statement(bytes(bent), CITY, GATEWAY, TLS_KEY)


def test_the_six_words_are_these_and_others_for_another_statement() -> None:
    assert words(SEALED) == words(envelope.join_set(envelope.split_set(SEALED)[:1]))
    assert all(len(word) == 5 for word in words(SEALED).split())
    assert len(words(SEALED).split()) == 6
    assert words(make_statement(CITY, GATEWAY, TLS_KEY, {"agent": AGENT, "guard": GUARD}, 6)) != words(SEALED)


def test_the_words_alphabet_is_the_published_one() -> None:
    from agent.wire.enrolment import _word

    # The worked example of the proquint proposal: 127.0.0.1 is lusab-babad.
    assert (_word(0x7F00), _word(0x0001)) == ("lusab", "babad")


@given(st.binary(min_size=16, max_size=16))
def test_a_code_is_read_as_it_was_shown_however_it_was_typed(code: bytes) -> None:
    shown = show_code(code)
    assert read_code(shown) == code
    assert read_code(shown.upper().replace("-", " ")) == code


@given(st.text(max_size=40).filter(lambda text: len(text.replace("-", "")) != 26))
@example("é" * 26)
@example("1" * 26)
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(MessageError):
        read_code(text)


def test_proofs_are_of_their_code_request_body_and_purpose() -> None:
    code, other = bytes(16), bytes([1]) * 16
    proofs = {
        request_proof(code, b"request"),
        request_proof(other, b"request"),
        request_proof(code, b"another"),
        papers_proof(code, b"request", b""),
        papers_proof(code, b"request", b"body"),
        papers_proof(code, b"another", b"body"),
        papers_proof(other, b"request", b"body"),
    }
    assert len(proofs) == 7


@given(st.integers(0, 2**42), st.integers(1, 2**42), st.integers(1, 2**160))
def test_a_certificate_is_renewed_between_half_and_two_thirds_of_its_life(begin: int, life: int, serial: int) -> None:
    at = renewal_at_ms(begin, begin + life, serial)
    assert life // 2 <= at - begin <= life * 2 / 3
    assert at == renewal_at_ms(begin, begin + life, serial)


def test_gateways_enrolled_on_one_day_do_not_renew_on_one() -> None:
    life_ms = 180 * 24 * 3600 * 1000
    days = {renewal_at_ms(0, life_ms, serial) // 86_400_000 for serial in range(1, 500)}
    assert len(days) >= 28  # Of thirty.
