"""The issuing authority changes hands: both are trusted in the overlap, and a gateway that renews is given the new one."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from agent.cli import credentials
from agent.cli.ending import TechnicianError
from agent.runtime.errors import TransportError
from agent.runtime.mqtt import Transport, broker_of
from agent.runtime.tls import read_context
from fleet import authority, pki
from tests.fleet.city import certify, make_authority, real_broker
from tests.fleet.joining import City, city

__all__ = ["city"]
GATEWAY = "gw-darcy"


async def connects(url: str, tls: Path, name: str = GATEWAY) -> bool:
    try:
        async with Transport(broker_of(url, partial(read_context, tls)), name):
            return True
    except TransportError:
        return False


def authorities(place: Path) -> list[str]:
    found = x509.load_pem_x509_certificates((place / "tls/ca.pem").read_bytes())
    return [pki.common_name(each) for each in found]


async def test_a_new_issuing_authority_reaches_the_gateway_by_its_renewal_and_no_card_is_lost_meanwhile(
    city: City, tmp_path: Path, require_program: Callable[[str], Path]
) -> None:
    await city.join()
    await city.new_key_list()
    old_card = tmp_path / "old-card"
    shutil.copytree(city.state / "tls", old_card)
    before = authority.read_issuer(city.ca)
    with real_broker(require_program("mosquitto"), tmp_path / "room-a", before) as broker:
        ca = ["--dir", str(city.ca)]
        prepared = ["prepare", "--root-key", str(city.ca / authority.ROOT_KEY)]
        assert (await city.fleet("ca", *prepared, *ca, online=False))[0] == 0
        assert (await city.fleet("ca", *prepared, *ca, online=False))[0] == 4  # One waits already.
        broker.stop()  # It gets what everybody must know before the new authority certifies anybody.
        shutil.copy(city.ca / authority.CHAIN, tmp_path / "room-a/ca.pem")
        broker.start()
        assert await connects(broker.url, city.state / "tls")
        ended, told = await city.fleet("ca", "switch", *ca, online=False)
        assert (ended, "dijon issuing 2" in told) == (0, True)

        assert authorities(city.state) == ["dijon root", "dijon issuing"]
        ended, told = await city.gateway("renew", "--now")
        assert ended == 0, told
        assert authorities(city.state) == ["dijon root", "dijon issuing", "dijon issuing 2"]
        leaf = x509.load_pem_x509_certificates((city.state / "tls/gateway.pem").read_bytes())[0]
        assert leaf.issuer.rfc4514_string().startswith("CN=dijon issuing 2")
        assert await connects(broker.url, city.state / "tls")
        assert await connects(broker.url, old_card)  # The overlap.

        serial = x509.load_pem_x509_certificates((old_card / "gateway.pem").read_bytes())[0].serial_number
        assert (await city.fleet("ca", "revoke", f"{serial:x}", *ca, online=False))[0] == 0
        broker.stop()
        broker.start()  # With the new list.
        assert not await connects(broker.url, old_card)  # Of the former authority, and still revocable.
        assert await connects(broker.url, city.state / "tls")
        issuer = authority.read_issuer(city.ca)
        assert issuer.revoked() == {serial}
        assert len(issuer.former) == 1


def test_a_switch_that_was_cut_is_finished_by_the_next(tmp_path: Path) -> None:
    make_authority(tmp_path / "ca")
    ca = tmp_path / "ca"
    certify(authority.read_issuer(ca), GATEWAY, tmp_path / "gw")
    authority.prepare(ca, ca / authority.ROOT_KEY, pki.utc_now(), None, None)
    following = authority.read_certificates(ca / authority.NEXT)[0]
    for name, stem in ((authority.ISSUING_KEY, "issuing-1.key"), (authority.ISSUING, "issuing-1.pem")):
        shutil.copy(ca / name, ca / stem)
    (ca / authority.NEXT_KEY).replace(ca / authority.ISSUING_KEY)  # And here the machine stopped.
    issuer = authority.switch(ca, None)
    assert issuer.authority.certificate == following
    assert [pki.common_name(each.certificate) for each in issuer.former] == ["dijon issuing"]
    assert issuer.revoke([each.serial_number for each in issuer.issued()], pki.utc_now()) == 1


def test_a_renewal_can_name_no_authority_that_the_root_did_not_make(tmp_path: Path) -> None:
    make_authority(tmp_path / "ca")
    make_authority(tmp_path / "foreign")
    held, foreign = ((tmp_path / name / authority.CHAIN).read_text() for name in ("ca", "foreign"))
    certify(authority.read_issuer(tmp_path / "ca"), GATEWAY, tmp_path / "gw")
    assert credentials.check_authorities(held, held) == held
    leaf = (tmp_path / "gw/gateway.pem").read_text().split("-----END CERTIFICATE-----")[
        0
    ] + "-----END CERTIFICATE-----\n"
    root = (tmp_path / "ca" / authority.ROOT).read_text()
    for bad in (foreign, held + foreign, held + leaf, held.replace(root, ""), "", "junk"):
        with pytest.raises(TechnicianError, match="city's root"):
            credentials.check_authorities(bad, held)
