"""The key list and the ring: who may sign what, where, and when."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.demotrust import anchors_of, roots_toml, sign_key_list
from agent.wire.envelope import join_set
from agent.wire.errors import CapabilityError, EnvelopeError, KeyListError, SignatureError, UnknownKeyError
from agent.wire.keyfile import Signer
from agent.wire.messages import SCHEMA, encode
from agent.wire.roots import key_list_topic, public_key, read_roots
from agent.wire.topics import DOWN, UP, Topic, down, fleet_state, up
from agent.wire.trust import CAPABILITIES, KeyList, load_key_list, may
from tests.wire.party import (
    CITY,
    GATEWAY,
    OFFICERS,
    OTHER_GATEWAY,
    ROOTS,
    T0_MS,
    YEAR_MS,
    entries,
    entry,
    ring,
    sealed_list,
    signer,
)

AGENT, GUARD, DIRECTOR, ALICE, BRUNO, TECH = (
    signer(kid)
    for kid in (f"{GATEWAY}/agent/1", f"{GATEWAY}/guard/1", "director/1", "alice/1", "bruno/1", f"{GATEWAY}/tech/1")
)
STATE = up(CITY, GATEWAY, "state")  # type: ignore[arg-type]
CMD = down(CITY, GATEWAY, "cmd")  # type: ignore[arg-type]


def every_topic(gateway: str = GATEWAY) -> list[Topic]:
    topics = [up(CITY, gateway, name) for name in UP]  # type: ignore[arg-type]
    topics += [down(CITY, gateway, name) for name in DOWN]  # type: ignore[arg-type]
    return [*topics, fleet_state(CITY)]  # type: ignore[arg-type]


def test_the_key_list_makes_a_ring() -> None:
    keys = ring()
    assert (keys.city, keys.version, len(keys)) == (CITY, 1, 6)
    opened = keys.open(AGENT.seal(b"x", STATE), STATE, "up", T0_MS)
    assert (opened.subject, opened.role, opened.payload) == (GATEWAY, "agent", b"x")


@pytest.mark.parametrize(
    ("kid", "allowed"),
    [
        (f"{GATEWAY}/agent/1", {f"up/{name}" for name in UP if name != "safety"}),
        (f"{GATEWAY}/guard/1", {"up/safety", "up/result"}),
        ("director/1", {"down/ack", "down/desired", "down/roll", "fleet/state"}),
        ("alice/1", {"down/cmd"}),
        (f"{GATEWAY}/tech/1", {"down/cmd"}),
    ],
)
def test_each_key_signs_only_what_is_its_own(kid: str, allowed: set[str]) -> None:
    row = next(each for each in entries() if each.kid == kid)
    for gateway in (GATEWAY, OTHER_GATEWAY):
        found = {
            f"{topic.direction}/{topic.message_class}"
            for topic in every_topic(gateway)
            for capability in CAPABILITIES
            if may(row, capability, topic)
        }
        is_city_wide = kid in {"director/1", "alice/1"}
        assert found == (allowed if gateway == GATEWAY or is_city_wide else set())


def test_the_agent_cannot_forge_the_guards_records() -> None:
    safety = up(CITY, GATEWAY, "safety")  # type: ignore[arg-type]
    assert ring().open(GUARD.seal(b"x", safety), safety, "up").role == "guard"
    with pytest.raises(CapabilityError):
        ring().open(AGENT.seal(b"x", safety), safety, "up")


def test_a_gateway_cannot_speak_for_another() -> None:
    topic = up(CITY, OTHER_GATEWAY, "state")  # type: ignore[arg-type]
    with pytest.raises(CapabilityError):
        ring().open(AGENT.seal(b"x", topic), topic, "up")


def test_unknown_keys_wrong_algorithms_and_forgeries_are_told_apart() -> None:
    keys = ring()
    with pytest.raises(UnknownKeyError):
        keys.open(signer("nobody/1").seal(b"x", STATE), STATE, "up")
    p256 = Signer(f"{GATEWAY}/agent/1", ec.derive_private_key(7, ec.SECP256R1()))
    with pytest.raises(SignatureError, match="not registered for algorithm"):
        keys.open(p256.seal(b"x", STATE), STATE, "up")
    forged = Signer.from_seed(f"{GATEWAY}/agent/1", bytes(32))
    with pytest.raises(SignatureError):
        keys.open(forged.seal(b"x", STATE), STATE, "up")
    with pytest.raises(EnvelopeError):
        keys.open(b"garbage", STATE, "up")


def test_validity_counts_only_while_the_clock_is_known() -> None:
    keys = load_key_list(
        sealed_list([entry("director/1", "director", ("ack",), valid_ms=(T0_MS, T0_MS + 1000))]), ROOTS
    )
    topic = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
    sealed = DIRECTOR.seal(b"x", topic)
    for now_ms in (T0_MS, T0_MS + 1000, None):
        keys.open(sealed, topic, "ack", now_ms)
    for now_ms in (T0_MS - 1, T0_MS + 1001):
        with pytest.raises(UnknownKeyError, match="validity"):
            keys.open(sealed, topic, "ack", now_ms)


def test_an_expired_list_commands_nothing_but_still_carries_records() -> None:
    keys = load_key_list(sealed_list(expires_ms=T0_MS), ROOTS)
    late_ms = T0_MS + 1
    assert keys.is_expired(late_ms)
    assert not keys.is_expired(None)
    keys.open(AGENT.seal(b"x", STATE), STATE, "up", late_ms)
    command = join_set([ALICE.seal(b"x", CMD)])
    keys.open_set(command, CMD, T0_MS)
    keys.open_set(command, CMD, None)
    with pytest.raises(UnknownKeyError, match="expired"):
        keys.open_set(command, CMD, late_ms)


def test_a_command_set_names_distinct_people_and_every_key() -> None:
    keys = load_key_list(
        sealed_list([*entries(), entry("alice/2", "operator", ("command:R1",), subject="alice")]), ROOTS
    )
    opened = keys.open_set(join_set([BRUNO.seal(b"x", CMD), ALICE.seal(b"x", CMD)]), CMD)
    assert opened.subjects == ("bruno", "alice")
    opened = keys.open_set(join_set([ALICE.seal(b"x", CMD), signer("alice/2").seal(b"x", CMD)]), CMD)
    assert opened.subjects == ("alice",)
    assert [key.kid for key in opened.signers] == ["alice/1", "alice/2"]
    assert opened.payload == b"x"


@pytest.mark.parametrize("stranger", [AGENT, GUARD, DIRECTOR], ids=["agent", "guard", "director"])
def test_nobody_else_is_believed_in_a_command_set(stranger: Signer) -> None:
    for signers in ([stranger], [ALICE, stranger]):
        with pytest.raises(CapabilityError):
            ring().open_set(join_set([each.seal(b"x", CMD) for each in signers]), CMD)


def test_one_bad_signature_spoils_a_set() -> None:
    forged = Signer.from_seed("bruno/1", bytes(32))
    with pytest.raises(SignatureError):
        ring().open_set(join_set([ALICE.seal(b"x", CMD), forged.seal(b"x", CMD)]), CMD)
    with pytest.raises(CapabilityError):
        ring().open_set(join_set([ALICE.seal(b"x", STATE)]), STATE)


# The key list itself.


def test_the_version_only_rises() -> None:
    with pytest.raises(KeyListError, match="older"):
        load_key_list(sealed_list(version=4), ROOTS, held_version=5)
    held = load_key_list(sealed_list(version=5), ROOTS, held_version=5)
    assert held.replaced_by(sealed_list(version=6), ROOTS).version == 6
    assert held.replaced_by(sealed_list(version=5), ROOTS).version == 5
    with pytest.raises(KeyListError, match="two different"):
        held.replaced_by(sealed_list(entries()[:3], version=5), ROOTS)


def test_the_threshold_counts_officers_not_keys() -> None:
    key_list = KeyList(SCHEMA, CITY, 1, T0_MS, T0_MS + YEAR_MS, entries())
    for count in (2, 3):
        assert load_key_list(sign_key_list(key_list, OFFICERS[:count]), ROOTS).version == 1
    with pytest.raises(KeyListError, match="1 of the 2"):
        load_key_list(sign_key_list(key_list, OFFICERS[:1]), ROOTS)
    # Two keys of one officer are one officer.
    twice = tuple(
        type(anchor)(anchor.kid, anchor.algorithm, anchor.public_key, "officer-1") for anchor in ROOTS.anchors[:2]
    )
    roots = type(ROOTS)(ROOTS.city, 2, (*twice, ROOTS.anchors[2]))
    with pytest.raises(KeyListError, match="1 of the 2"):
        load_key_list(sign_key_list(key_list, OFFICERS[:2]), roots)


def test_only_roots_sign_key_lists_and_only_for_their_city() -> None:
    key_list = KeyList(SCHEMA, CITY, 1, T0_MS, T0_MS + YEAR_MS, entries())
    with pytest.raises(KeyListError, match="no root"):
        load_key_list(sign_key_list(key_list, [OFFICERS[0], DIRECTOR]), ROOTS)
    with pytest.raises(KeyListError):
        load_key_list(sealed_list(), anchors_of(OFFICERS, "beaune", 2))
    foreign = KeyList(SCHEMA, "beaune", 1, T0_MS, T0_MS + YEAR_MS, entries())
    topic = key_list_topic(CITY)  # type: ignore[arg-type]
    with pytest.raises(KeyListError, match="beaune"):
        load_key_list(join_set([each.seal(encode(foreign), topic) for each in OFFICERS]), ROOTS)


@pytest.mark.parametrize(
    "wrong",
    [
        entry("alice/1", "operator", ("command:R9",)),
        entry("alice/1", "mayor", ("command:R1",)),
        msgspec.structs.replace(entry("alice/1", "operator", ()), algorithm=-12),
        msgspec.structs.replace(entry("alice/1", "operator", ()), kid="é" * 40),
    ],
)
def test_a_list_with_what_we_do_not_know_is_refused_as_a_whole(wrong: object) -> None:
    with pytest.raises(KeyListError):
        load_key_list(sealed_list([*entries(), wrong]), ROOTS)  # type: ignore[list-item]


def test_a_key_that_appears_twice_or_is_no_key_is_not_used() -> None:
    with pytest.raises(KeyListError, match="twice"):
        load_key_list(sealed_list([*entries(), entries()[0]]), ROOTS)
    bad = msgspec.structs.replace(entries()[0], algorithm=-9, public_key=b"\x04" + bytes(64))
    keys = load_key_list(sealed_list([bad]), ROOTS)
    topic = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
    p256 = Signer("director/1", ec.derive_private_key(7, ec.SECP256R1()))
    with pytest.raises(UnknownKeyError):
        keys.open(p256.seal(b"x", topic), topic, "ack")


@given(st.binary(max_size=300))
def test_no_bytes_make_the_key_list_raise_anything_else(data: bytes) -> None:
    with pytest.raises(KeyListError):
        load_key_list(data, ROOTS)
    topic = key_list_topic(CITY)  # type: ignore[arg-type]
    with pytest.raises(KeyListError):
        load_key_list(join_set([each.seal(data, topic) for each in OFFICERS[:2]]), ROOTS)


# roots.toml


def test_root_files_are_read_as_they_are_written() -> None:
    assert read_roots(roots_toml(CITY, 2, OFFICERS)) == ROOTS


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('city = "dijon"', 'city = "Dijon!"'), "city"),
        (("threshold = 2", "threshold = 4"), "threshold"),
        (("threshold = 2", "threshold = true"), "threshold"),
        (("threshold = 2", ""), "threshold"),
        (("algorithm = -19", "algorithm = -8"), "algorithm"),
        (("algorithm = -19", 'algorithm = "Ed25519"'), "wrong type"),
        (('public_key = "', 'public_key = "zz'), "hex"),
        (('public_key = "', 'public_key = "00'), "key"),
        (('kid = "root/1"', 'kid = ""'), "key id"),
        (("[[anchor]]", "[anchor]"), "not a file"),
        (("[[anchor]]", "[[anchors]]"), "anchor"),
        (('city = "dijon"', "city = "), "not a file"),
    ],
)
def test_a_wrong_root_file_says_what_is_wrong(change: tuple[str, str], expected: str) -> None:
    text = roots_toml(CITY, 2, OFFICERS).replace(*change)
    with pytest.raises(KeyListError, match=expected):
        read_roots(text)


@given(st.text(max_size=200) | st.text(alphabet="[]anchor=\"'\n {}12,", max_size=200))
def test_no_text_makes_the_roots_raise_anything_else(text: str) -> None:
    with pytest.raises(KeyListError):
        read_roots(text)


@given(st.sampled_from([-19, -9]), st.binary(max_size=70))
def test_no_bytes_make_a_public_key_raise_anything_but_value_errors(algorithm: int, raw: bytes) -> None:
    try:
        public_key(algorithm, raw)
    except ValueError:
        return
