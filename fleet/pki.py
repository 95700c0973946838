"""X.509 for the links to the broker: authorities, certificates, revocation lists. Keys in, certificates out; no files.

TLS only decides who may hang on to the broker. What a message says is believed for its own signature alone (docs/wire.md
§3), so nothing here can make a command.

Source: RFC 5280; the profile follows docs/fleet.md, "Certificates".
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.model.identity import CityId, is_id
from fleet.errors import CertificateError

ROOT_DAYS = 7_300
ISSUING_DAYS = 3_650
GATEWAY_DAYS = 180
"""Renewed between half and two thirds of it: a gateway may be away for two months and still come back by itself."""
SERVER_DAYS = 365
CHECK_DAYS = 1
"""Of the certificates ``broker check`` makes for itself."""
BACKDATED = timedelta(hours=1)
"""A cabinet's clock may be behind when it starts."""
ORGANIZATION_PREFIX = "Armoire "
MANAGER_PREFIX = "fleet/"
"""A slash is in no gateway's id, so no gateway can be taken for a manager by the broker's access list."""
CSR_BYTES_MAX = 16_384

PrivateKey = ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate that signs others, with its key."""

    certificate: x509.Certificate
    key: PrivateKey


def new_key() -> PrivateKey:
    """A new P-256 key: what every TLS stack in a cabinet, and every secure element, can do."""
    return ec.generate_private_key(ec.SECP256R1())


def make_root(city: CityId, now: datetime) -> Authority:
    """The city's root: signs issuing authorities, and is otherwise in a safe."""
    key = new_key()
    name = _name(city, f"{city} root")
    builder = _builder(name, name, key.public_key(), now, now + timedelta(days=ROOT_DAYS))
    return Authority(_authority_extensions(builder, key.public_key(), key, 1).sign(key, hashes.SHA256()), key)


def make_issuing(city: CityId, root: Authority, now: datetime, number: int = 1) -> Authority:
    """The authority that works every day.

    Args:
        number: 1, 2, 3 ...: two of one city must not have one name, or their revocation lists are taken for one.
    """
    key = new_key()
    end = min(now + timedelta(days=ISSUING_DAYS), root.certificate.not_valid_after_utc)
    name = f"{city} issuing" if number == 1 else f"{city} issuing {number}"
    builder = _builder(_name(city, name), root.certificate.subject, key.public_key(), now, end)
    return Authority(_authority_extensions(builder, key.public_key(), root.key, 0).sign(root.key, hashes.SHA256()), key)


def gateway_certificate(
    request: x509.CertificateSigningRequest,
    gateway: str,
    issuing: Authority,
    now: datetime,
    days: float = GATEWAY_DAYS,
) -> x509.Certificate:
    """Certify a gateway's TLS key. Of the request only the key is taken; the name is the one we know it by.

    Raises:
        CertificateError: the request names somebody else, or its key is not P-256.
    """
    check_request(request, gateway)
    key = request.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    uri = x509.UniformResourceIdentifier(f"urn:armoire:gateway:{gateway}")
    return _leaf(gateway, key, issuing, now, days, ExtendedKeyUsageOID.CLIENT_AUTH, [uri])


def manager_certificate(
    name: str, key: ec.EllipticCurvePublicKey, issuing: Authority, now: datetime, days: float = SERVER_DAYS
) -> x509.Certificate:
    """Certify a fleet manager as the broker's client ``fleet/<name>``.

    Raises:
        CertificateError: not an id.
    """
    _check_id(name)
    uri = x509.UniformResourceIdentifier(f"urn:armoire:manager:{name}")
    return _leaf(MANAGER_PREFIX + name, key, issuing, now, days, ExtendedKeyUsageOID.CLIENT_AUTH, [uri])


def broker_certificate(
    name: str, hosts: Sequence[str], key: ec.EllipticCurvePublicKey, issuing: Authority, now: datetime
) -> x509.Certificate:
    """Certify a broker as a server under the names and addresses its clients use.

    Raises:
        CertificateError: not an id, no host, or something that is neither a host name nor an address.
    """
    _check_id(name)
    if not hosts:
        raise CertificateError("a broker needs at least one host name or address its clients use")
    san = [_general_name(host) for host in hosts]
    return _leaf(f"broker/{name}", key, issuing, now, SERVER_DAYS, ExtendedKeyUsageOID.SERVER_AUTH, san)


def make_crl(
    issuer: Authority, revoked: Iterable[x509.RevokedCertificate], number: int, now: datetime
) -> x509.CertificateRevocationList:
    """Sign a revocation list that is good for as long as its issuer.

    A broker with a list past its ``nextUpdate`` refuses every healthy gateway, so it gets the latest one there is. How
    soon a revocation works does not hang on it: the key list takes a gateway's word away at once, this only its line.
    """
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(now - BACKDATED)
        .next_update(issuer.certificate.not_valid_after_utc)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()), critical=False)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(issuer.key, hashes.SHA256())


def revoked_entry(serial: int, now: datetime) -> x509.RevokedCertificate:
    """One line of a revocation list."""
    return x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build()


def read_request(data: bytes) -> x509.CertificateSigningRequest:
    """Read a PKCS #10 request in DER, or in the base64 of RFC 7030 §4.2.1, or as PEM.

    Raises:
        CertificateError: none of these, or not signed by its own key.
    """
    if len(data) > CSR_BYTES_MAX:
        raise CertificateError(f"a certificate request is at most {CSR_BYTES_MAX} bytes")
    try:
        if data[:1] != b"\x30":
            body = data if data.startswith(b"-----") else _PEM % data.strip()
            request = x509.load_pem_x509_csr(body)
        else:
            request = x509.load_der_x509_csr(data)
        is_signed = request.is_signature_valid
        _ = request.subject, request.attributes, request.public_key()  # Taken apart when asked for: each may fail.
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise CertificateError(f"not a PKCS #10 request: {error}") from error
    if not is_signed:
        raise CertificateError("the request is not signed by its own key")
    return request


def check_request(request: x509.CertificateSigningRequest, gateway: str) -> None:
    """Check what we certify a gateway for.

    Raises:
        CertificateError: not for this gateway, or not a P-256 key.
    """
    _check_id(gateway)
    if gateway == "fleet":
        raise CertificateError("no gateway is called fleet: that level of the topics is the manager's")
    names = [each.value for each in request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [gateway]:
        raise CertificateError(f"the request is for {names!r}, not for {gateway!r}")
    key = request.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError("a gateway's TLS key is P-256")


def common_name(certificate: x509.Certificate) -> str:
    """Whom a certificate is for."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def utc_now() -> datetime:
    """Now, to the second: certificates know no less."""
    return datetime.now(UTC).replace(microsecond=0)


_PEM = b"-----BEGIN CERTIFICATE REQUEST-----\n%s\n-----END CERTIFICATE REQUEST-----\n"


def _leaf(
    name: str,
    key: ec.EllipticCurvePublicKey,
    issuing: Authority,
    now: datetime,
    days: float,
    usage: x509.ObjectIdentifier,
    san: Sequence[x509.GeneralName],
) -> x509.Certificate:
    end = issuing.certificate.not_valid_after_utc
    if now >= end:
        raise CertificateError(f"the issuing authority ended on {end:%Y-%m-%d}: make a new one with the root")
    organization = issuing.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    subject = x509.Name([*organization, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, issuing.certificate.subject, key, now, min(now + timedelta(days=days), end))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(san), critical=False)
    )
    return _key_identifiers(builder, key, issuing.key).sign(issuing.key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(end)
    )


def _authority_extensions(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, issuer: PrivateKey, below: int
) -> x509.CertificateBuilder:
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
    return _key_identifiers(builder.add_extension(_usage(signs_certificates=True), critical=True), key, issuer)


def _key_identifiers(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey, issuer: PrivateKey
) -> x509.CertificateBuilder:
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False).add_extension(
        identifier, critical=False
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(city: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANIZATION_PREFIX + city),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        pass
    labels = host.split(".")
    if len(host) > 253 or not all(is_id(label.lower()) for label in labels):
        raise CertificateError(f"{host[:80]!r} is neither a host name nor an address")
    return x509.DNSName(host)


def _check_id(name: str) -> None:
    if not is_id(name):
        raise CertificateError(f"expected 1..40 characters a-z, 0-9 and -, found {name[:60]!r}")
