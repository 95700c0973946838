"""Certificates that come with an enrolment's answer, and requests that a stranger signed, as two more parsers."""

import base64
import warnings
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from agent.cli.credentials import Asked, check_authorities, check_certificate
from agent.cli.ending import TechnicianError
from fleet import enrolment
from fleet.errors import AskError, CertificateError
from fleet.pki import check_request, read_request
from tests.attack.sync.feeds import csr
from tests.attack.sync.mutation import bent
from tests.attack.sync.targets import Target, always
from tests.wire.card import CARD
from tests.wire.party import GATEWAY

ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
NOW = datetime(2027, 1, 15, tzinfo=UTC)


@cache
def _key() -> ec.EllipticCurvePrivateKey:
    assert isinstance(CARD._key, ec.EllipticCurvePrivateKey)
    return CARD._key


@cache
def root() -> bytes:
    """A city's root, always the same."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "root")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(_key().public_key())
    made = made.serial_number(7).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=365))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return made.sign(_key(), hashes.SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def _pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"


def feed(data: bytes) -> bool:
    """As the authorities a renewal names, and as the certificate itself; neither is believed unless it is the root's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of odd names and numbers, which are refused one day.
        with suppress(TechnicianError):
            check_certificate(_pem(data), _pem(root()), Asked(b"", _key(), ""), GATEWAY, NOW)
            raise AssertionError("a root is nobody's certificate")
        check_authorities(_pem(data), _pem(root()))
    assert data == root(), "believed, and nobody signed it"
    return True


@cache
def request() -> bytes:
    """What a request signs of itself, without the signature."""
    return x509.load_der_x509_csr(csr()).tbs_certrequest_bytes


def _der(tag: int, inside: bytes) -> bytes:
    size = len(inside)
    long = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, size)) + inside if size < 128 else bytes((tag, 0x80 | len(long))) + long + inside


def feed_request(data: bytes) -> bool:
    """A request that a stranger signed with the key in it, whatever else it says: all of it is looked at."""
    signature = _key().sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _looked_at(_der(0x30, data + ECDSA_WITH_SHA256 + _der(3, b"\0" + signature)))


def _looked_at(data: bytes) -> bool:
    read = read_request(data)
    enrolment._common_name(read)
    check_request(read, GATEWAY)
    with suppress(AskError):
        enrolment._sealed(read)
    return True


def certificate_targets() -> tuple[Target, ...]:
    """Both."""
    return (
        Target("certificate", (root(),), bent, (TechnicianError,), 2, always(feed)),
        Target("signed request", (request(),), bent, (CertificateError,), 2, always(feed_request)),
    )
