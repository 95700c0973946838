"""How the officers' keys change: from any old ones to the newest, never back and never aside."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.demotrust import roots_toml, sign_key_list
from agent.wire.errors import KeyListError, TrustError, WireError
from agent.wire.messages import SCHEMA, encode
from agent.wire.roots import Bundle, key_list_topic, read_bundle, read_roots, signed_of
from agent.wire.trust import KeyList, load_key_list
from tests.wire.party import CITY, OFFICERS, ROOTS, T0_MS, YEAR_MS, entries, sealed_list
from tests.wire.succession import (
    FIFTH,
    FIRST,
    FOURTH,
    SECOND,
    SECOND_OFFICERS,
    THIRD,
    THIRD_OFFICERS,
    TO_SECOND,
    TO_THIRD,
    bundle,
    handed_over,
    roots,
)


def test_whoever_holds_any_old_roots_walks_to_the_newest() -> None:
    data = bundle(9, THIRD_OFFICERS[1:], TO_SECOND, TO_THIRD)
    for held in (FIRST, SECOND, THIRD):
        ring = load_key_list(data, held)
        assert ring.version == 9
        assert ring.roots is not None
        assert ring.roots.is_same(THIRD)


def test_the_list_after_a_handover_must_be_signed_by_the_new_officers() -> None:
    with pytest.raises(KeyListError, match="root/1, which is no root"):
        load_key_list(bundle(2, OFFICERS[:2], TO_SECOND), FIRST)
    with pytest.raises(KeyListError, match="1 of the 2 officers"):
        load_key_list(bundle(2, [FOURTH], TO_SECOND), FIRST)


@pytest.mark.parametrize(
    ("signers", "why"),
    [
        ([OFFICERS[1], FOURTH], r"1 of the 2 officers needed \(officers' keys 1\)"),
        ([OFFICERS[0], OFFICERS[1]], r"1 of the 2 officers needed \(officers' keys 2\)"),
        ([OFFICERS[0], OFFICERS[1], FIFTH], "root/5, which is no root"),
    ],
)
def test_a_handover_needs_enough_of_the_old_and_enough_of_the_new(signers: list, why: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(KeyListError, match=why):
        load_key_list(bundle(2, SECOND_OFFICERS, handed_over(SECOND, *signers)), FIRST)


def test_a_handover_left_out_or_out_of_order_is_refused() -> None:
    with pytest.raises(KeyListError, match="missing"):
        load_key_list(bundle(2, THIRD_OFFICERS, TO_THIRD), FIRST)
    with pytest.raises(KeyListError, match="missing"):
        load_key_list(bundle(2, THIRD_OFFICERS, TO_THIRD, TO_SECOND), FIRST)
    assert load_key_list(bundle(2, THIRD_OFFICERS, TO_THIRD), SECOND).version == 2


def test_a_key_id_never_changes_its_key() -> None:
    disguised = roots([OFFICERS[1], OFFICERS[2], type(FOURTH).from_seed("root/1", bytes(32))], 2)
    with pytest.raises(KeyListError, match="another key than before"):
        load_key_list(bundle(2, OFFICERS[1:], handed_over(disguised, *OFFICERS[1:])), FIRST)


def test_who_took_a_handover_never_goes_back_nor_aside() -> None:
    held = load_key_list(bundle(2, SECOND_OFFICERS[:2], TO_SECOND), FIRST)
    assert held.replaced_by(bundle(3, SECOND_OFFICERS[1:], TO_SECOND), FIRST).version == 3
    assert held.replaced_by(bundle(3, THIRD_OFFICERS[1:], TO_SECOND, TO_THIRD), FIRST).version == 3
    with pytest.raises(KeyListError, match="which were replaced"):  # Signed well by the officers of the file on disk.
        held.replaced_by(bundle(3, OFFICERS[:2]), FIRST)
    aside = roots([OFFICERS[0], OFFICERS[1], FIFTH], 2)
    rival = handed_over(aside, OFFICERS[0], OFFICERS[1])  # The old officers, who lost their keys, name somebody else.
    with pytest.raises(KeyListError, match="two different sets"):
        held.replaced_by(bundle(3, OFFICERS[:2], rival), FIRST)
    with pytest.raises(KeyListError, match="older than 2"):
        held.replaced_by(bundle(1, SECOND_OFFICERS[:2], TO_SECOND), FIRST)


def test_a_list_must_be_good_by_the_roots_on_disk_too_because_a_restart_knows_no_others() -> None:
    held = load_key_list(bundle(2, SECOND_OFFICERS[:2], TO_SECOND), FIRST)
    with pytest.raises(KeyListError, match="missing"):
        held.replaced_by(bundle(3, THIRD_OFFICERS[1:], TO_THIRD), FIRST)


def test_both_forms_of_a_key_list_hold_the_same() -> None:
    key_list = KeyList(SCHEMA, CITY, 1, T0_MS, T0_MS + YEAR_MS, entries())
    payload = encode(key_list)
    topic = key_list_topic(ROOTS.city)
    whole = encode(Bundle(SCHEMA, [], signed_of([each.seal(payload, topic) for each in OFFICERS[:2]])))
    plain = sign_key_list(key_list, OFFICERS[:2])
    assert list(load_key_list(whole, ROOTS).entries()) == list(load_key_list(plain, ROOTS).entries())
    assert len(whole) < 0.6 * len(plain)  # The payload stands in it once.


def test_roots_toml_tells_its_version() -> None:
    text = roots_toml(CITY, 2, OFFICERS)
    assert read_roots(text).version == 1
    assert read_roots("version = 7\n" + text).version == 7
    with pytest.raises(KeyListError, match="version"):
        read_roots("version = 0\n" + text)


@given(st.binary(max_size=300), st.integers(0, 2_000), st.integers(0, 255))
def test_no_bytes_make_a_key_list_or_an_exception_of_another_kind(noise: bytes, at: int, byte: int) -> None:
    good = bundle(9, THIRD_OFFICERS[1:], TO_SECOND, TO_THIRD)
    damaged = bytearray(good)
    damaged[at % len(good)] = byte
    for data in (noise, b"\x93" + noise, bytes(damaged)):
        try:
            ring = load_key_list(data, FIRST)
        except (WireError, TrustError):
            continue
        assert data == good or list(ring.entries()) == entries()  # A byte may have been what it was before.


def test_a_bare_set_is_a_bundle_without_handovers() -> None:
    assert read_bundle(sealed_list()).handovers == []
