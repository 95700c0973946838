"""The site files we ship: valid, with profiles that exist, and none of their addresses left over in a district."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.model.equipment import Lamp
from agent.model.identity import CityId
from agent.model.site import Cabinet, ModbusLink
from agent.model.site_file import read_cabinet
from agent.process.trustfiles import read_trust
from drivers.modbus.profile import load_profile
from simulators.district import GATEWAYS, PROFILES, Ports, choose_ports, lay_out
from tests.guard.rig import home_folder

CITY = CityId("dijon")
SITES = sorted((Path(__file__).parents[2] / "configs" / "sites").glob("*.toml"))


def cabinet_of(path: Path) -> Cabinet:
    return read_cabinet(path.read_text(), path.name)


def links_of(cabinet: Cabinet) -> Iterator[ModbusLink]:
    yield from (link for link in cabinet.links.values() if isinstance(link, ModbusLink))
    if cabinet.presence is not None:
        yield cabinet.presence.link


def test_there_are_sites() -> None:
    assert {path.stem for path in SITES} >= set(GATEWAYS)


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_a_site_is_valid_reached_and_named_after_its_file(path: Path) -> None:
    cabinet = cabinet_of(path)
    assert cabinet.site.gateway == path.stem
    for equipment in cabinet.site.equipment.values():
        assert isinstance(equipment, Lamp) or equipment.id in cabinet.links
    for link in links_of(cabinet):
        load_profile(path.parent / cabinet.profiles, link.profile)
    if cabinet.presence is not None:
        profile = load_profile(path.parent / cabinet.profiles, cabinet.presence.link.profile)
        assert {cabinet.presence.door_open, cabinet.presence.local_key} <= profile.points.keys()


def test_a_district_replaces_every_address_and_keeps_its_keys_from_run_to_run() -> None:
    wires = ("lighting", "presence", "bollards", "signals", "monitor")
    ports = Ports(20_001, 20_002, {wire: 20_003 + n for n, wire in enumerate(wires)})
    with home_folder() as folder:
        (folder / "d").mkdir()
        lay_out(folder / "d", ports)
        told = {}
        for gateway in GATEWAYS:
            site = folder / "d" / gateway / "site.toml"
            cabinet = cabinet_of(site)
            used = {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", site.read_text())}
            assert used <= {ports.broker, *ports.wires.values()} - {ports.wires["monitor"]}
            assert cabinet.broker == "mqtt://127.0.0.1:20001"
            assert Path(cabinet.profiles) == PROFILES
            for link in links_of(cabinet):
                load_profile(site.parent / cabinet.profiles, link.profile)
            keys = site.parent / cabinet.state / "keys"
            told[gateway] = read_trust(keys, "agent", cabinet.site.city).signer.public_key
            assert cabinet.site.city == CITY
        lay_out(folder / "d", choose_ports(0))
        for gateway in GATEWAYS:
            keys = folder / "d" / gateway / "state" / "keys"
            assert read_trust(keys, "agent", CITY).signer.public_key == told[gateway]
