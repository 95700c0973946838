"""Drop a client that hangs on to a broker, by taking its place.

A broker looks at its revocation list when somebody connects, and never again (measured on mosquitto 2.0: after SIGHUP a
revoked client that is connected goes on). But a broker gives one name to one connection, and the last one that comes has
it. So whoever owns the authority certifies itself under the name, for an hour, connects, and the other is out; held out
by the list, which the broker must have taken before.

What cannot be done this way: a broker that lets clients choose their id freely (another than `broker config` writes), or
one that we do not reach. And if another certificate of that name is still good, its owner comes back, as it should.
"""

import asyncio
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from fleet import authority, pki
from fleet.authority import Issuer
from fleet.broker_client import connected
from fleet.errors import CertificateError
from fleet.link import Broker

CERTIFICATE_DAYS = 1 / 24
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Kicked:
    """How it went at one broker.

    Args:
        is_out: nobody of that name was connected when we left.
    """

    is_out: bool
    detail: str


async def kick(broker: Broker, issuer: Issuer, name: str, hold_s: float) -> Kicked:
    """Take a client's place at a broker, keep it for a while, and leave it empty.

    Args:
        name: of its certificate: a gateway, or ``fleet/<manager>``.
        hold_s: 0..600. A gateway that was dropped tries again within a minute: 75 waits for that too.

    Raises:
        CertificateError: nobody connects under such a name.
    """
    tls = _context(issuer, name)
    try:
        async with connected(broker, tls, name, None, CONNECT_S) as client:
            try:
                async with asyncio.timeout(hold_s):
                    async for _ in client.messages:
                        pass  # Nothing is subscribed to.
            except TimeoutError:
                return Kicked(True, f"nobody is connected as {name}, and nobody came back within {hold_s:g} s")
            except aiomqtt.MqttError:
                return Kicked(
                    False, f"somebody else came as {name}: the broker has not taken the list, or another card"
                )
    except (aiomqtt.MqttError, OSError, TimeoutError) as error:
        return Kicked(False, f"not reached, or not let in: {str(error) or type(error).__name__}")
    return Kicked(False, "the broker ended the connection")


def _context(issuer: Issuer, name: str) -> ssl.SSLContext:
    key, now = pki.new_key(), pki.utc_now()
    if name.startswith(pki.MANAGER_PREFIX):
        manager = name.removeprefix(pki.MANAGER_PREFIX)
        certificate = pki.manager_certificate(manager, key.public_key(), issuer.authority, now, CERTIFICATE_DAYS)
    elif "/" in name:
        raise CertificateError(f"{name} is no client of a broker: there is nobody to drop")
    else:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
        certificate = pki.gateway_certificate(request, name, issuer.authority, now, CERTIFICATE_DAYS)
    context = ssl.create_default_context(cafile=issuer.folder / authority.CHAIN)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        authority.write_key(place / "key", key)
        authority.write_new(place / "pem", authority.pem(certificate, issuer.authority.certificate))
        context.load_cert_chain(place / "pem", place / "key")
    return context
