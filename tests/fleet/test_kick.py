"""Revoked and thrown out: what becomes of a client that is connected when its certificate is revoked. Real mosquitto."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest

from fleet import pki
from fleet.authority import Issuer
from fleet.broker_client import connected
from fleet.cli import main
from fleet.link import Broker
from tests.fleet.city import RealBroker, certify, certify_manager, make_authority, real_broker
from tests.fleet.conftest import until

GATEWAY = "gw-darcy"
FAILED = 4


class Guest:
    """A client that comes back whenever it is thrown out, as a gateway does."""

    def __init__(self, broker: RealBroker, tls: ssl.SSLContext, name: str) -> None:
        self._place = Broker("127.0.0.1", broker.port, tls)
        self._tls, self._name = tls, name
        self.is_in = self._is_leaving = False
        self.visits = self.refusals = 0

    async def _stay(self) -> None:
        while not self._is_leaving:
            try:
                async with connected(self._place, self._tls, self._name, None, 2.0) as client:
                    self.is_in, self.visits = True, self.visits + 1
                    while not self._is_leaving:
                        with suppress(TimeoutError):
                            async with asyncio.timeout(0.05):
                                await anext(client.messages)
            except (aiomqtt.MqttError, OSError, TimeoutError):
                self.refusals += not self.is_in
            finally:
                self.is_in = False
            await asyncio.sleep(0.1)

    @asynccontextmanager
    async def staying(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._stay())
        try:
            await until(lambda: self.is_in)
            yield
        finally:
            self._is_leaving = True  # Cancelled while it connects, aiomqtt would tell the loop of it.
            await task


def gateway(issuer: Issuer, broker: RealBroker, folder: Path) -> Guest:
    certify(issuer, GATEWAY, folder)
    tls = ssl.create_default_context(cafile=folder / "ca.pem")
    tls.load_cert_chain(folder / "gateway.pem", folder / "gateway.key")
    return Guest(broker, tls, GATEWAY)


def reloading(broker: RealBroker) -> str:
    assert broker._process is not None
    return f"sh -c 'cp $ARMOIRE_CRL {broker._folder}/crl.pem && kill -HUP {broker._process.pid}'"


async def revoke(issuer: Issuer, name: str, *options: str) -> int:
    return await asyncio.to_thread(main, ["ca", "revoke", name, "--dir", str(issuer.folder), *options])


async def test_a_revoked_gateway_that_is_connected_is_dropped_and_stays_out(
    tmp_path: Path, require_program: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    issuer = make_authority(tmp_path / "ca")
    with real_broker(require_program("mosquitto"), tmp_path / "room-a", issuer) as broker:
        guest = gateway(issuer, broker, tmp_path / "gw")
        async with guest.staying():
            options = ("--broker", broker.url, "--reload", reloading(broker), "--hold", "1")
            assert await revoke(issuer, GATEWAY, *options) == 0
            assert "dropped: nobody is connected as gw-darcy" in capsys.readouterr().out
            assert not guest.is_in
            await until(lambda: guest.refusals >= 2)
            assert (guest.is_in, guest.visits) == (False, 1)


async def test_a_broker_that_has_not_taken_the_list_is_found_out_because_the_gateway_comes_back(
    tmp_path: Path, require_program: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    issuer = make_authority(tmp_path / "ca")
    with real_broker(require_program("mosquitto"), tmp_path / "room-a", issuer) as broker:
        guest = gateway(issuer, broker, tmp_path / "gw")
        async with guest.staying():
            assert await revoke(issuer, GATEWAY, "--broker", broker.url) == FAILED
            assert "NOT DROPPED: somebody else came as gw-darcy" in capsys.readouterr().out
            broker.reload()  # The list alone does not drop who is connected: that is why there is a kick.
            await until(lambda: guest.is_in)
            await until(lambda: broker.log.count("ACL pattern") == 2)  # Read at the start, and again now.
            assert (guest.is_in, guest.visits) == (True, 2)
    gone = await revoke(issuer, GATEWAY, "--broker", broker.url, "--hold", "0")
    assert gone == FAILED  # Where nobody listens nobody is dropped, and that is said.
    assert "not reached" in capsys.readouterr().out


async def test_a_managers_connection_is_dropped_too_and_a_brokers_certificate_has_none(
    tmp_path: Path, require_program: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    issuer = make_authority(tmp_path / "ca")
    with real_broker(require_program("mosquitto"), tmp_path / "room-a", issuer) as broker:
        certify_manager(issuer, tmp_path / "tls")
        tls = ssl.create_default_context(cafile=tmp_path / "tls/ca.pem")
        tls.load_cert_chain(tmp_path / "tls/fleet.pem", tmp_path / "tls/fleet.key")
        guest = Guest(broker, tls, "fleet-control-room")
        async with guest.staying():
            name, options = "fleet/control-room", ("--broker", broker.url, "--reload", reloading(broker), "--hold", "1")
            assert await revoke(issuer, name, *options) == 0
            assert not guest.is_in
        assert await revoke(issuer, "broker/room-a", "--broker", broker.url) == FAILED
        assert "no client of a broker" in capsys.readouterr().err
    assert pki.MANAGER_PREFIX in name
