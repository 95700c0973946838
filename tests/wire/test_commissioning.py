"""The canonical facts of a site, and the signature over them."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.equipment import Bollard, Junction, Segment, SignalGroup
from agent.model.site import Cabinet
from agent.model.site_file import read_cabinet
from agent.wire.commissioning import (
    NOT_SAFETY,
    CommissioningError,
    facts_of,
    open_facts,
    open_sealed,
    read_profiles,
    seal_facts,
    signature_path,
)
from agent.wire.demotrust import COMMISSIONER_FILE, make_demo_trust, sign_demo_site
from agent.wire.keyfile import read_signer
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from tests.commission.monge import TEXT, cabinet_of
from tests.tree import ROOT

T0_MS = 1_800_000_000_000
PROFILES = ROOT / "configs" / "profiles"
DIGESTS = {"cabinet-ref": bytes(32)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A signed site with a city's keys beside it."""
    folder = tmp_path_factory.mktemp("monge")
    make_demo_trust(folder / "trust", "dijon", ["gw-monge", "gw-other"], now_ms=T0_MS)
    site = folder / "site.toml"
    site.write_text(TEXT.replace("[guard.presence]", f'[agent]\nprofiles = "{PROFILES}"\n\n[guard.presence]'))
    sign_demo_site(folder / "trust", site, T0_MS)
    return folder


def cabinet_in(home: Path) -> Cabinet:
    return read_cabinet((home / "site.toml").read_text(), "site.toml")


def ring_of(home: Path) -> KeyRing:
    trust = home / "trust"
    return load_key_list((trust / "keys.sealed").read_bytes(), read_roots((trust / "roots.toml").read_text()))


def facts() -> dict[str, Any]:
    found = json.loads(facts_of(cabinet_of(), DIGESTS))
    assert isinstance(found, dict)
    return found


def test_the_canonical_form_is_this_to_the_byte() -> None:
    """For other implementations: docs/wire.md §9."""
    text = facts_of(cabinet_of(), DIGESTS).decode()
    assert text.isascii()
    assert " " not in text
    found = facts()
    junction = found["equipment"].pop("j-monge")
    assert found == {
        "schema": 1,
        "city": "dijon",
        "gateway": "gw-monge",
        "fleet_silence_ms": 120_000,
        "observe_ms": 100,
        "presence": {
            "door_open": "door_open",
            "link": {"address": {"host": "127.0.0.1", "port": 15021}, "profile": "cabinet-ref", "unit": 1},
            "local_key": "key_local",
        },
        "equipment": {
            "bollard-monge": {"kind": "bollard", "loops_free_ms_min": 2000},
            "seg-monge": {
                "kind": "segment",
                "lease_ms_max": 43_200_000,
                "level_floor_percent": 30,
                "lighting_class": "M4",
                "night_level_percent": 80,
            },
        },
        "links": {
            "j-monge": {"address": {"host": "127.0.0.1", "port": 16161}, "version": "1"},
            "bollard-monge": {"address": {"host": "127.0.0.1", "port": 15022}, "profile": "bollard-ref", "unit": 1},
            "seg-monge": {"address": {"host": "127.0.0.1", "port": 15020}, "profile": "cabinet-ref", "unit": 1},
        },
        "profiles": {"cabinet-ref": "00" * 32},
    }
    assert junction["conflicts"] == [[1, 2], [1, 3], [2, 3], [2, 4], [3, 4]]
    assert junction["intergreen_ms"][0] == [[1, 2], 5000]
    assert junction["stages"] == [[1, 4], [2], [3]]
    assert junction["groups"][2] == {
        "clearing_mm": 8000,
        "green_ms_min": 6000,
        "kind": "pedestrian",
        "number": 3,
        "yellow_ms_min": 0,
    }
    assert (junction["plans"], junction["backup_time_s"], junction["all_red_ms_min"]) == ([1, 2], 60, 2000)


def test_no_field_of_protected_equipment_is_forgotten() -> None:
    """Every field changes the facts, unless it is one that no rule rests on."""
    cabinet = cabinet_of()
    before = facts_of(cabinet, DIGESTS)
    for id_, each in cabinet.site.equipment.items():
        assert isinstance(each, Junction | Bollard | Segment)
        for field in fields(each):
            if field.name in NOT_SAFETY or field.name == "kind":
                continue
            changed = replace(each, **{field.name: other_than(getattr(each, field.name))})
            equipment: Mapping[Any, Any] = {**cabinet.site.equipment, id_: changed}
            after = facts_of(replace(cabinet, site=replace(cabinet.site, equipment=equipment)), DIGESTS)
            assert after != before, field.name


def other_than(value: object) -> object:
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case str():
            return value + "x"
        case None:
            return 1
        case frozenset():
            return frozenset(list(value)[1:]) or frozenset({1})
        case Mapping():
            return dict(list(value.items())[1:])
        case tuple() if value and isinstance(value[0], SignalGroup):
            return (replace(value[0], green_ms_min=value[0].green_ms_min + 1), *value[1:])
        case tuple():
            return value[1:] or (frozenset({1}),)
    return "other"  # A fact that came later: anything else will do.


def test_what_no_rule_rests_on_is_no_fact() -> None:
    text = TEXT.replace('name = "Rue Monge"', 'name = "Rue de Monge"').replace("[47.32, 5.04]", "[47, 5]")
    text = text.replace("monge-write", "rotated") + "\n# a comment\n[agent]\npoll_ms = 60\n"
    lines = text.replace("backup_time_s = 60\nplans = [1, 2]\n", "plans = [2, 1]\nbackup_time_s = 60\n")
    conflicts = lines.replace("[[1, 2], [1, 3], [2, 3],", "[[3, 2], [1, 3], [2, 1],")
    assert conflicts != TEXT
    assert facts_of(cabinet_of(conflicts), DIGESTS) == facts_of(cabinet_of(), DIGESTS)


def test_a_signature_is_found_good_and_says_whose_it_is(home: Path) -> None:
    found = open_facts(ring_of(home), cabinet_in(home), home)
    assert (found.subject, found.kid) == ("commissioner", "commissioner/1")
    assert found.signed.signed_ms == T0_MS
    expected = sha256(facts_of(cabinet_in(home), read_profiles(cabinet_in(home), home))).digest()
    assert found.signed.facts == expected


def test_a_changed_register_map_needs_a_new_signature(home: Path, tmp_path: Path) -> None:
    for name in ("cabinet-ref", "bollard-ref"):
        (tmp_path / f"{name}.toml").write_bytes((PROFILES / f"{name}.toml").read_bytes())
    cabinet = replace(cabinet_in(home), profiles=tmp_path)  # type: ignore[arg-type]
    open_facts(ring_of(home), cabinet, home)
    (tmp_path / "bollard-ref.toml").write_bytes(b"# moved\n")
    with pytest.raises(CommissioningError, match="its facts have changed since commissioner signed them"):
        open_facts(ring_of(home), cabinet, home)
    (tmp_path / "bollard-ref.toml").unlink()
    with pytest.raises(CommissioningError, match=r"there is no bollard-ref\.toml"):
        open_facts(ring_of(home), cabinet, home)


def test_a_pipe_in_the_place_of_a_signature_keeps_nobody_waiting(home: Path, tmp_path: Path) -> None:
    import os

    cabinet = replace(cabinet_in(home), file="pipe.toml")
    os.mkfifo(signature_path(tmp_path, cabinet))
    with pytest.raises(CommissioningError, match=r"there is no pipe\.toml\.sig"):
        open_facts(ring_of(home), cabinet, tmp_path)


def test_a_signature_outlives_the_key_but_not_its_place_in_the_list(home: Path) -> None:
    """The key's validity is asked of the moment of signing; a guard may start years later."""
    signer, cabinet = read_signer(home / "trust" / COMMISSIONER_FILE), cabinet_in(home)
    for signed_ms, good in ((T0_MS, True), (T0_MS - 2 * 86_400_000, False), (T0_MS + 20 * 365 * 86_400_000, False)):
        sealed = seal_facts(signer, cabinet, home, signed_ms=signed_ms, tool="t", report=bytes(32), proved="")
        if good:
            open_sealed(ring_of(home), cabinet, home, sealed)
            continue
        with pytest.raises(CommissioningError, match="it was signed when commissioner/1 was not valid"):
            open_sealed(ring_of(home), cabinet, home, sealed)


@given(noise=st.binary(max_size=300), cut=st.integers(0, 300), at=st.integers(0, 300), bit=st.integers(0, 7))
def test_no_bytes_are_taken_for_a_signature(home: Path, noise: bytes, cut: int, at: int, bit: int) -> None:
    good = (home / "site.toml.sig").read_bytes()
    bent = bytearray(good)
    bent[at % len(good)] ^= 1 << bit
    for sealed in (noise, good[: cut % len(good)], bytes(bent), good + noise[:1] if noise else b""):
        with pytest.raises(CommissioningError):
            open_sealed(ring_of(home), cabinet_in(home), home, sealed)
