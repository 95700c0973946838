"""An authority, and real brokers under the configuration Armoire writes for them."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from fleet import authority, pki
from fleet.authority import Issuer
from fleet.broker_config import BrokerSettings, acl, mosquitto_conf
from tests.fleet.broker import _wait_listening, free_port

CITY = "dijon"


def make_authority(folder: Path) -> Issuer:
    authority.init(folder, CITY, pki.utc_now())
    return authority.read_issuer(folder)


def request_for(name: str, key: pki.PrivateKey) -> x509.CertificateSigningRequest:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())


def certify(issuer: Issuer, name: str, folder: Path, days: float = pki.GATEWAY_DAYS) -> x509.Certificate:
    """A gateway's ca.pem, gateway.pem and gateway.key in a folder; what is there is replaced."""
    key = pki.new_key()
    certificate = pki.gateway_certificate(request_for(name, key), name, issuer.authority, pki.utc_now(), days)
    folder.mkdir(parents=True, exist_ok=True)
    for each in ("ca.pem", "gateway.pem", "gateway.key"):
        (folder / each).unlink(missing_ok=True)
    authority.write_new(folder / "ca.pem", issuer.chain)
    authority.write_new(folder / "gateway.pem", issuer.issue(certificate))
    authority.write_key(folder / "gateway.key", key)
    return certificate


class RealBroker:
    """One mosquitto with mutual TLS."""

    def __init__(self, program: Path, folder: Path, issuer: Issuer, port: int = 0) -> None:
        self.port = port or free_port()
        self._folder = folder
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        key = pki.new_key()
        certificate = pki.broker_certificate(
            folder.name, ["127.0.0.1", "localhost"], key.public_key(), issuer.authority, pki.utc_now()
        )
        authority.write_key(folder / "broker.key", key)
        authority.write_new(folder / "broker.pem", issuer.issue(certificate))
        authority.write_new(folder / "ca.pem", issuer.chain)
        self._crl = issuer.folder / authority.CRL
        place = PurePosixPath(folder)
        self.settings = BrokerSettings(CITY, ["control-room"], "127.0.0.1", self.port, place, place, user="root")
        self.conf, self.acl = mosquitto_conf(self.settings), acl(self.settings)

    @property
    def url(self) -> str:
        return f"mqtts://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text()

    def start(self) -> None:
        shutil.copy(self._crl, self._folder / "crl.pem")
        (self._folder / "mosquitto.conf").write_text(self.conf)
        (self._folder / "acl").write_text(self.acl)
        with (self._folder / "log").open("ab") as log:
            arguments = [str(self._program), "-c", str(self._folder / "mosquitto.conf")]
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        _wait_listening(self._process, self.port)

    def reload(self) -> None:
        """Take the authority's present list."""
        assert self._process is not None
        shutil.copy(self._crl, self._folder / "crl.pem")
        os.kill(self._process.pid, signal.SIGHUP)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(5)
            self._process = None

    def wait_logged(self, text: str) -> None:
        end_s = time.monotonic() + 10
        while text not in self.log:
            assert time.monotonic() < end_s, self.log[-2000:]
            time.sleep(0.02)


@contextlib.contextmanager
def real_broker(program: Path, folder: Path, issuer: Issuer) -> Iterator[RealBroker]:
    broker = RealBroker(program, folder, issuer)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


def certify_manager(issuer: Issuer, folder: Path, name: str = "control-room") -> None:
    """A manager's ca.pem, fleet.pem and fleet.key in a folder."""
    folder.mkdir(parents=True)
    key = pki.new_key()
    certificate = pki.manager_certificate(name, key.public_key(), issuer.authority, pki.utc_now())
    authority.write_new(folder / "ca.pem", issuer.chain)
    authority.write_new(folder / "fleet.pem", issuer.issue(certificate))
    authority.write_key(folder / "fleet.key", key)
