"""What a thief of each key can sign that somebody believes, and what not: every role against every kind of message."""

from pathlib import Path

import pytest

from agent.model.site_file import read_cabinet
from agent.process.trustfiles import read_trust as read_own_trust
from agent.wire import commissioning, envelope
from agent.wire.demotrust import sign_key_list
from agent.wire.errors import TrustError, WireError
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import encode
from agent.wire.topics import DOWN, UP, Topic, down, fleet_state, up
from agent.wire.trust import COMMAND_CAPABILITIES, KeyList, KeyRing, load_key_list
from fleet.folder import Trust
from tests.attack.sync.feeds import CONFIGS
from tests.attack.sync.targets import COMMAND
from tests.fleet.intake import CITY
from tests.fleet.standin import unix_ms
from tests.wire.party import GATEWAY, OTHER_GATEWAY

OWN = {
    "agent": "gateways/gw-darcy/agent.pem",
    "guard": "gateways/gw-darcy/guard.pem",
    "technician": "gateways/gw-darcy/technician.pem",
}
KEYS = {**OWN, "director": "fleet/director.pem", "operator": "operators/alice.pem", "commissioner": "offline/commissioner.pem", "officer": "offline/root-1.pem"}  # fmt: skip
MAY = {
    "agent": {"up/birth", "up/alarm", "up/state", "up/tele", "up/audit", "up/result", "up/death"},
    "guard": {"up/safety", "up/result"},
    "director": {"down/ack", "down/desired", "down/roll", "fleet/state", "neighbour: down/ack", "neighbour: down/desired", "neighbour: down/roll"},
    "operator": {"down/cmd", "neighbour: down/cmd"},
    "technician": {"down/cmd"},
    "commissioner": {"site/facts"},
    "officer": set(),
}  # fmt: skip
"""What a key of each role is believed for. ``neighbour`` is another gateway; the director's and operators' word is for all."""


def everything() -> dict[str, Topic]:
    """Every kind of message, at home and at a neighbour's."""
    kinds: dict[str, Topic] = {"fleet/state": fleet_state(CITY), "site/facts": Topic(CITY, GATEWAY, "site", "facts")}  # type: ignore[arg-type]
    for place, gateway in (("", GATEWAY), ("neighbour: ", OTHER_GATEWAY)):
        kinds |= {f"{place}up/{name}": up(CITY, gateway, name) for name in UP}  # type: ignore[arg-type]
        kinds |= {f"{place}down/{name}": down(CITY, gateway, name) for name in DOWN}  # type: ignore[arg-type]
    return kinds


def believed(ring: KeyRing, key: Signer, topic: Topic) -> bool:
    """Whether any receiver believes this signer there, under whatever capability such a message needs."""
    payload = encode(COMMAND)
    sealed = key.seal(payload, topic)
    capability = {"up": "up", "fleet": "state", "site": "commission"}.get(topic.direction, topic.message_class)
    try:
        if (topic.direction, topic.message_class) == ("down", "cmd"):
            signer = ring.open_set(envelope.join_set([sealed]), topic, unix_ms()).signers[0]
            return "*" in signer.scope or topic.gateway in signer.scope
        if capability in DOWN and capability not in ("ack", "desired", "roll"):
            return False  # Key lists are believed by the officers' signatures alone, see below.
        ring.open(sealed, topic, capability, unix_ms())
    except (WireError, TrustError):
        return False
    return True


@pytest.mark.parametrize("role", list(MAY))
def test_a_stolen_key_is_believed_for_exactly_what_its_role_may_say(
    role: str, trust: Trust, trust_folder: Path
) -> None:
    key = read_signer(trust_folder / KEYS[role])
    assert {name for name, topic in everything().items() if believed(trust.ring, key, topic)} == MAY[role]


@pytest.mark.parametrize("role", list(KEYS))
def test_no_stolen_key_makes_a_key_list(role: str, trust: Trust, trust_folder: Path) -> None:
    """Not even one officer's: two must sign. Two stolen officers' keys are the city's."""
    key, officer = read_signer(trust_folder / KEYS[role]), read_signer(trust_folder / KEYS["officer"])
    mine = KeyList(1, CITY, trust.ring.version + 1, 0, 2**62, list(trust.ring.entries()))
    signers = [[key], [key, officer]] if role != "officer" else [[key]]
    for each in signers:
        with pytest.raises(TrustError):
            load_key_list(sign_key_list(mine, each), trust.roots)


def test_a_stolen_operator_key_cannot_reset_a_latch_and_cannot_flash_alone(trust: Trust) -> None:
    """R4 is for technicians on site; that R3 needs two subjects is the kernel's (SR-25, docs/safety.md)."""
    operators = [entry for entry in trust.ring.entries() if entry.role == "operator"]
    assert operators
    for entry in operators:
        assert COMMAND_CAPABILITIES[3] not in entry.capabilities
        assert len([each for each in operators if each.subject == entry.subject]) == 1


def test_a_stolen_gateways_keys_are_worth_nothing_once_a_newer_list_leaves_them_out(
    trust: Trust, trust_folder: Path
) -> None:
    stolen = [read_signer(trust_folder / place) for place in OWN.values()]
    gone = {key.kid.decode() for key in stolen}
    left = [entry for entry in trust.ring.entries() if entry.kid not in gone]
    officers = [read_signer(trust_folder / f"offline/root-{n}.pem") for n in (1, 2)]
    newer = KeyList(1, CITY, trust.ring.version + 1, unix_ms(), 2**62, left)
    ring = load_key_list(sign_key_list(newer, officers), trust.roots, trust.ring.version)
    assert not any(believed(ring, key, topic) for key in stolen for topic in everything().values())
    neighbour = read_signer(trust_folder / "gateways/gw-monge/agent.pem")
    assert believed(ring, neighbour, everything()["neighbour: up/state"])


def test_rollback_of_the_key_list_to_where_a_stolen_key_was_good_is_refused(trust: Trust, trust_folder: Path) -> None:
    officers = [read_signer(trust_folder / f"offline/root-{n}.pem") for n in (1, 2)]
    newer = sign_key_list(KeyList(1, CITY, trust.ring.version + 1, 0, 2**62, []), officers)
    held = load_key_list(newer, trust.roots, trust.ring.version)
    with pytest.raises(TrustError, match="older than"):
        held.replaced_by(trust.ring.sealed, trust.roots)


def test_mix_and_match_of_two_key_lists_signatures_is_no_list(trust: Trust, trust_folder: Path) -> None:
    officers = [read_signer(trust_folder / f"offline/root-{n}.pem") for n in (1, 2)]
    lists = [KeyList(1, CITY, 50 + n, 0, 2**62, []) for n in range(2)]
    halves = [
        envelope.split_set(sign_key_list(each, [officer]))[0] for each, officer in zip(lists, officers, strict=True)
    ]
    with pytest.raises(TrustError):
        load_key_list(envelope.join_set(halves), trust.roots)


def test_the_facts_of_one_cabinet_are_worth_nothing_in_another(trust_folder: Path) -> None:
    text = (CONFIGS / "sites" / "gw-darcy.toml").read_text()
    cabinet = read_cabinet(text, "site.toml")
    ring = read_own_trust(trust_folder / "gateways/gw-darcy", "agent", CITY).ring
    thief = read_signer(trust_folder / KEYS["commissioner"])
    elsewhere = thief.seal(b"\x97\x01", Topic(CITY, OTHER_GATEWAY, "site", "facts"))  # type: ignore[arg-type]
    with pytest.raises(TrustError):
        commissioning.open_sealed(ring, cabinet, CONFIGS / "sites", elsewhere)
