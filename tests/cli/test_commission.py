"""``armoire commission``: what an engineer types, reads and signs."""

import builtins
from pathlib import Path
from typing import Any

import pytest

from agent.model.site_file import read_cabinet
from agent.wire.commissioning import open_facts
from agent.wire.demotrust import COMMISSIONER_FILE, KEYS_FILE, ROOTS_FILE
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from tests.cli.conftest import Type
from tests.commission.monge import TEXT
from tests.tree import ROOT

PROFILES = ROOT / "configs" / "profiles"
SITES = ROOT / "configs" / "sites"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A good site file of a city whose keys are at hand."""
    path = tmp_path / "site.toml"
    text = TEXT.replace('"gw-monge"', '"gw-darcy"')
    path.write_text(text.replace("[guard.presence]", f'[agent]\nprofiles = "{PROFILES}"\n\n[guard.presence]'))
    return path


def enrol(site: Path, trust: Path) -> None:
    """Lay the key list where the cabinet has it."""
    keys = site.parent / "state" / "keys"
    keys.mkdir(parents=True)
    for name in (ROOTS_FILE, KEYS_FILE):
        (keys / name).write_bytes((trust / name).read_bytes())


def ring_of(trust: Path) -> KeyRing:
    return load_key_list((trust / KEYS_FILE).read_bytes(), read_roots((trust / ROOTS_FILE).read_text()))


def break_intergreen(site: Path) -> None:
    site.write_text(site.read_text().replace('"2-1" = 5', '"2-1" = 4'))


def test_a_good_site_is_proven_with_counts(type_: Type, site: Path) -> None:
    said = type_("commission check", str(site))
    assert (said.exit, said.err) == (0, "")
    lines = said.out.splitlines()
    assert lines[1] == "junction j-monge, Place Monge: proven"
    assert lines[2] == "  4 groups, 5 conflicts, 3 stages, in steps of 1 s"
    assert lines[3].startswith("  every reachable state was explored: 106 states, 232 transitions, ")
    assert "  P5 every stage within 120 s: the slowest after 14 s" in lines
    assert "  second opinion: unsat: no times that keep these intergreens show a conflict" in lines
    assert lines[-1] == "The site may be signed."


def test_a_broken_site_is_shown_as_a_trace(type_: Type, site: Path) -> None:
    break_intergreen(site)
    site.write_text(site.read_text().replace("stages = [[1, 4], [2], [3]]\n", ""))
    said = type_("commission check", str(site))
    assert said.exit == 4
    assert "junction j-monge, Place Monge: NOT PROVEN" in said.out
    assert "  P4 is broken: group 1 turned green 4 s after group 2, at least 5 s are due" in said.out
    assert "     1 Rue Monge      FYYYRRRRRRRRRRRRRG" in said.out
    assert "     2 Rue Crébillon  FYYYRRRGGGGGGYYYRR" in said.out
    assert "wrong: junction j-monge: intergreen_s.2-1: 4 s after group 2" in said.out
    assert "sat: these times keep every number and are unsafe" in said.out
    assert said.out.endswith("The site must not be signed: correct what is told above.\n")


def test_the_document_says_the_same(type_: Type, site: Path) -> None:
    told = type_("commission check --json", str(site)).document
    (junction,) = told["junctions"]
    assert (told["clean"], told["seconded"], told["findings"]) == (True, True, [])
    assert (junction["holds"], junction["method"], junction["second_opinion"]) == (True, "whole", "safe")
    assert (junction["breach"], junction["trace"], len(told["report_sha256"])) == (None, None, 64)
    break_intergreen(site)
    told = type_("commission check --json", str(site)).document
    assert told["clean"] is False
    assert told["findings"][0]["place"] == "junction j-monge: intergreen_s.2-1"
    assert told["junctions"][0]["breach"]["property"] == "P4"
    assert told["junctions"][0]["trace"]["groups"][0]["aspects"].endswith("G")


def test_the_report_has_the_same_digest_each_time(type_: Type, site: Path) -> None:
    digests = {type_("commission check --json", str(site)).document["report_sha256"] for _ in range(2)}
    assert len(digests) == 1


@pytest.mark.parametrize(
    "name", ["gw-darcy", "gw-liberation", pytest.param("gw-republique", marks=(pytest.mark.slow, pytest.mark.no_cover))]
)
def test_the_examples_are_in_order(type_: Type, name: str) -> None:
    said = type_("commission check", str(SITES / f"{name}.toml"))
    assert (said.exit, said.err) == (0, "")
    assert said.out.endswith("The site may be signed.\n")
    if name == "gw-republique":
        assert "every reachable state was explored: 47,699 states, 165,165 transitions, " in said.out
        assert "P5 every stage within 120 s: the slowest after 14 s" in said.out


@pytest.mark.no_cover
def test_the_recorded_junction_abroad_is_not_signed_here(type_: Type) -> None:
    said = type_("commission check", str(SITES / "gw-1136.toml"))
    assert said.exit == 4
    assert 'group 5 "Phase 5, left" has a least green of 4 s, expected at least 6 s (SR-05)' in said.out
    assert "junction j-1136, Recorded junction 1136: proven" in said.out


def test_without_z3_it_says_so_and_ends_with_a_warning(
    type_: Type, site: Path, trust: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = builtins.__import__

    def without(name: str, *more: Any, **keywords: Any) -> Any:
        if name == "z3":
            raise ImportError(name)
        return taken(name, *more, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    said = type_("commission check", str(site))
    assert said.exit == 7
    assert "second opinion: z3 is not installed: pip install armoire[commission]" in said.out
    assert "warning: no second opinion was given" in said.out
    signed = type_("commission sign --key", str(trust / COMMISSIONER_FILE), str(site))
    assert signed.exit == 7
    assert "P1 to P6 hold, no second opinion" in signed.out


def test_a_signed_site_is_believed(type_: Type, site: Path, trust: Path) -> None:
    enrol(site, trust)
    said = type_("commission sign --key", str(trust / COMMISSIONER_FILE), str(site))
    assert (said.exit, said.err) == (0, "")
    assert f"{site}.sig: signed by commissioner/1; 1 junction, 106 states, 232 transitions" in said.out
    assert "Restart the guard" in said.out
    cabinet = read_cabinet(site.read_text(), site.name)
    found = open_facts(ring_of(trust), cabinet, site.parent)
    assert found.subject == "commissioner"
    assert found.signed.tool.startswith("armoire ")
    assert found.signed.report.hex() == type_("commission check --json", str(site)).document["report_sha256"]
    assert sorted(path.name for path in site.parent.iterdir()) == ["site.toml", "site.toml.sig", "state"]


def test_a_dry_run_writes_nothing(type_: Type, site: Path, trust: Path) -> None:
    said = type_("commission sign --dry-run --key", str(trust / COMMISSIONER_FILE), str(site))
    assert said.exit == 0
    assert "would be signed by commissioner/1" in said.out
    assert "whether the cabinet knows this key was not checked" in said.out
    assert not site.with_name("site.toml.sig").exists()
    told = type_("commission sign --json --dry-run --key", str(trust / COMMISSIONER_FILE), str(site)).document
    assert (told["written"], told["key_list"], told["clean"]) == (False, None, True)


def test_what_does_not_hold_is_not_signed(type_: Type, site: Path, trust: Path) -> None:
    break_intergreen(site)
    said = type_("commission sign --key", str(trust / COMMISSIONER_FILE), str(site))
    assert (said.exit, said.out) == (4, "")
    assert "wrong: junction j-monge: intergreen_s.2-1" in said.err
    assert "Nothing was signed." in said.err
    assert not site.with_name("site.toml.sig").exists()


def test_a_key_the_cabinet_would_not_believe_signs_nothing(type_: Type, site: Path, trust: Path) -> None:
    enrol(site, trust)
    said = type_("commission sign --key", str(trust / "operators/alice.pem"), str(site))
    assert (said.exit, said.out) == (4, "")
    assert "this cabinet would not believe the signature" in said.err
    assert "alice/1 may not sign" in said.err
    assert not site.with_name("site.toml.sig").exists()


@pytest.mark.parametrize("command", ["commission check", "commission sign --key none.pem"])
def test_what_is_no_site_file_is_a_sentence(type_: Type, tmp_path: Path, command: str) -> None:
    bad = tmp_path / "site.toml"
    bad.write_text(TEXT.replace("backup_time_s = 60", "backup_time_s = 600"))
    for path in (bad, tmp_path, tmp_path / "none.toml", Path("/dev/zero")):
        said = type_(command, str(path))
        assert (said.exit, said.out) == (2, "")
        assert said.err.count("\n") in {1, 2}
    assert "backup_time_s: expected seconds 10..120, found 600" in type_(command, str(bad)).err
