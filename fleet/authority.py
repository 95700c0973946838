"""The certificate authority as a folder.

    offline/root.key       carry it away after ``ca init``: it is needed again only for a new issuing authority
    root.pem  ca.pem       the root; root and issuing authority, for brokers, managers and gateways
    issuing.pem  issuing.key
    crl.pem                revocation lists of both, for the brokers
    issued/<name>-<serial>.pem

Private keys are of mode 0600, encrypted if a passphrase is given. Nothing is ever overwritten but the revocation list.
"""

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.model.identity import CityId, is_id
from fleet import pki
from fleet.errors import CertificateError
from fleet.pki import Authority, PrivateKey

ROOT_KEY = "offline/root.key"
ROOT, CHAIN, ISSUING, ISSUING_KEY, CRL, ISSUED = "root.pem", "ca.pem", "issuing.pem", "issuing.key", "crl.pem", "issued"
CRL_LOCK = ".crl.lock"
FILE_BYTES_MAX = 16_000_000
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
PEM = serialization.Encoding.PEM


def init(
    folder: Path,
    city: str,
    now: datetime,
    *,
    passphrase: bytes | None = None,
    root_passphrase: bytes | None = None,
    dry_run: bool = False,
) -> list[Path]:
    """Make root, issuing authority and empty revocation lists; return what was or would be written.

    Args:
        dry_run: check, and write nothing.

    Raises:
        CertificateError: not a city's id, a file exists already, or the folder cannot be written.
    """
    if not is_id(city):
        raise CertificateError(f"city: expected 1..40 characters a-z, 0-9 and -, found {city[:60]!r}")
    paths = [folder / name for name in (ROOT_KEY, ROOT, CHAIN, ISSUING, ISSUING_KEY, CRL)]
    for path in paths:
        if path.exists():
            raise CertificateError(f"{path} exists already, and an authority is never overwritten; nothing was written")
    if dry_run:
        return paths
    root = pki.make_root(CityId(city), now)
    issuing = pki.make_issuing(CityId(city), root, now)
    _make_folder(folder / "offline")
    _make_folder(folder / ISSUED)
    write_key(folder / ROOT_KEY, root.key, root_passphrase)
    write_key(folder / ISSUING_KEY, issuing.key, passphrase)
    write_new(folder / ROOT, pem(root.certificate))
    write_new(folder / ISSUING, pem(issuing.certificate))
    write_new(folder / CHAIN, pem(root.certificate, issuing.certificate))
    lists = [pki.make_crl(authority, [], 1, now) for authority in (root, issuing)]
    write_new(folder / CRL, b"".join(each.public_bytes(PEM) for each in lists))
    return paths


@dataclass(frozen=True, slots=True)
class Issuer:
    """The issuing authority at work in its folder."""

    folder: Path
    authority: Authority

    @property
    def chain(self) -> bytes:
        """Root and issuing certificate, PEM."""
        return _read(self.folder / CHAIN)

    def issue(self, certificate: x509.Certificate) -> bytes:
        """Record a certificate before anybody gets it; return it with the issuing certificate behind it, PEM.

        Raises:
            CertificateError: it could not be recorded.
        """
        name = pki.common_name(certificate).replace("/", ".")
        write_new(self.folder / ISSUED / f"{name}-{certificate.serial_number:x}.pem", pem(certificate))
        return pem(certificate, self.authority.certificate)

    def revoke(self, serials: Sequence[int], now: datetime) -> int:
        """Add certificates to the revocation list; return how many were not in it yet. Brokers need it, and a reload.

        Raises:
            CertificateError: the list cannot be read or replaced; it is as it was.
        """
        with (self.folder / CRL_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # A manager and a person may revoke at once.
            others, own = self._lists()
            held = {entry.serial_number for entry in own}
            added = [pki.revoked_entry(serial, now) for serial in dict.fromkeys(serials) if serial not in held]
            number = own.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            if added:
                newer = pki.make_crl(self.authority, [*own, *added], number + 1, now)
                replace(self.folder / CRL, b"".join(each.public_bytes(PEM) for each in (*others, newer)), 0o644)
        return len(added)

    def revoked(self) -> frozenset[int]:
        """Serial numbers on the list."""
        return frozenset(entry.serial_number for entry in self._lists()[1])

    def issued(self) -> Iterator[x509.Certificate]:
        """Everything ever issued, by name and serial number."""
        for path in sorted((self.folder / ISSUED).glob("*.pem")):
            yield read_certificates(path)[0]

    def issued_to(self, name: str) -> list[x509.Certificate]:
        """Certificates of one name, or the one of a serial number in hexadecimal."""
        return [each for each in self.issued() if name in {pki.common_name(each), f"{each.serial_number:x}"}]

    def _lists(self) -> tuple[list[x509.CertificateRevocationList], x509.CertificateRevocationList]:
        """The lists of others in the file, and ours."""
        mark = b"-----BEGIN X509 CRL-----"
        parts = [mark + part for part in _read(self.folder / CRL).split(mark)[1:]]
        try:
            lists = [x509.load_pem_x509_crl(part) for part in parts]
        except ValueError as error:
            raise CertificateError(f"{self.folder / CRL}: not a revocation list: {error}") from error
        name, key = self.authority.certificate.subject, self.authority.key.public_key()
        own = [each for each in lists if each.issuer == name and each.is_signature_valid(key)]
        if len(own) != 1:
            raise CertificateError(f"{self.folder / CRL}: expected one list by the issuing authority, found {len(own)}")
        return [each for each in lists if each is not own[0]], own[0]


def read_issuer(folder: Path, passphrase: bytes | None = None) -> Issuer:
    """Open the issuing authority.

    Raises:
        CertificateError: missing, readable by others, another passphrase, or key and certificate do not belong together.
    """
    certificate = read_certificates(folder / ISSUING)[0]
    key = read_key(folder / ISSUING_KEY, passphrase)
    if certificate.public_key() != key.public_key():
        raise CertificateError(f"{folder}: {ISSUING_KEY} is not the key of {ISSUING}")
    return Issuer(folder, Authority(certificate, key))


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read PEM certificates, one at least.

    Raises:
        CertificateError: missing or none.
    """
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError as error:
        raise CertificateError(f"{path}: not a PEM certificate: {error}") from error


def read_key(path: Path, passphrase: bytes | None = None) -> PrivateKey:
    """Read a P-256 key.

    Raises:
        CertificateError: missing, readable by others, or the passphrase does not open it.
    """
    with suppress(OSError):
        if (mode := path.stat().st_mode) & _OTHERS:
            raise CertificateError(
                f"{path}: others may read this private key (mode {stat.S_IMODE(mode):04o}); "
                f"if you are sure nobody did, run: chmod 600 {path}"
            )
    try:
        key = serialization.load_pem_private_key(_read(path), passphrase)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise CertificateError(f"{path}: the key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CertificateError(f"{path}: not a P-256 key")
    return key


def read_passphrase(path: Path | None) -> bytes | None:
    """The first line of a file; None for no file.

    Raises:
        CertificateError: missing, empty, or readable by others.
    """
    if path is None:
        return None
    with suppress(OSError):
        if path.stat().st_mode & _OTHERS:
            raise CertificateError(f"{path}: others may read this passphrase; run: chmod 600 {path}")
    phrase = _read(path).partition(b"\n")[0].strip()
    if not 1 <= len(phrase) <= 1_000:
        raise CertificateError(f"{path}: expected a passphrase of 1..1000 bytes on the first line")
    return phrase


def write_key(path: Path, key: PrivateKey, passphrase: bytes | None = None) -> None:
    """Write a private key to a new file of mode 0600.

    Raises:
        CertificateError: the file exists or cannot be written.
    """
    locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        locked = serialization.BestAvailableEncryption(passphrase)
    write_new(path, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, locked), 0o600)


def write_new(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a new file; an existing one is never overwritten.

    Raises:
        CertificateError: it exists or cannot be written.
    """
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise CertificateError(f"{path}: not written: {error.strerror}") from error


def replace(path: Path, data: bytes, mode: int) -> None:
    """Put a file in another's place, whole or not at all.

    Raises:
        CertificateError: it could not be; the old one is as it was.
    """
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise CertificateError(f"{path}: not replaced: {error.strerror}") from error


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates, one behind the other."""
    return b"".join(each.public_bytes(PEM) for each in certificates)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise CertificateError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    return data
