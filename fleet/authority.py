"""The certificate authority as a folder.

    offline/root.key       carry it away after ``ca init``: it is needed again only for a new issuing authority
    root.pem  ca.pem       the root; root and issuing authority, for brokers, managers and gateways
    issuing.pem  issuing.key
    issuing-next.pem, .key an issuing authority that everybody may know already, and that certifies nobody yet
    issuing-<n>.pem, .key  former ones: what they certified is good until it ends, and can still be revoked
    crl.pem                revocation lists of all of them, for the brokers
    issued/<name>-<serial>.pem

Private keys are of mode 0600, encrypted if a passphrase is given. Nothing is ever overwritten but the revocation list.
"""

import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.model.identity import CityId, is_id
from agent.wire.durablefile import replace_durably
from fleet import pki
from fleet.errors import CertificateError
from fleet.pki import Authority, PrivateKey

ROOT_KEY = "offline/root.key"
ROOT, CHAIN, ISSUING, ISSUING_KEY, CRL, ISSUED = "root.pem", "ca.pem", "issuing.pem", "issuing.key", "crl.pem", "issued"
NEXT, NEXT_KEY = "issuing-next.pem", "issuing-next.key"
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
    """The issuing authority at work in its folder.

    Args:
        former: those before it.
    """

    folder: Path
    authority: Authority
    former: tuple[Authority, ...] = ()

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

    def with_issuer(self, certificate: x509.Certificate) -> bytes:
        """A certificate we issued once, with that of its authority behind it, PEM."""
        known = (self.authority, *self.former)
        issuer = next((each for each in known if each.certificate.subject == certificate.issuer), self.authority)
        return pem(certificate, issuer.certificate)

    def revoke(self, serials: Sequence[int], now: datetime) -> int:
        """Add certificates to the revocation list; return how many were not in it yet. Brokers need it, and a reload.

        Raises:
            CertificateError: the list cannot be read or replaced; it is as it was.
        """
        with (self.folder / CRL_LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # A manager and a person may revoke at once.
            lists, added = self._lists(), 0
            issuers = {each.serial_number: each.issuer for each in self.issued()} if self.former else {}
            for place, held in enumerate(lists):
                owner = self._owner(held)
                if owner is None:
                    continue
                own, known = owner.certificate.subject, {entry.serial_number for entry in held}
                mine = [each for each in dict.fromkeys(serials) if issuers.get(each, self._name) == own]
                entries = [pki.revoked_entry(serial, now) for serial in mine if serial not in known]
                if entries:
                    number = held.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
                    lists[place] = pki.make_crl(owner, [*held, *entries], number + 1, now)
                    added += len(entries)
            if added:
                replace(self.folder / CRL, b"".join(each.public_bytes(PEM) for each in lists), 0o644)
        return added

    def revoked(self) -> frozenset[int]:
        """Serial numbers on the lists."""
        return frozenset(entry.serial_number for held in self._lists() if self._owner(held) for entry in held)

    def issued(self) -> Iterator[x509.Certificate]:
        """Everything ever issued, by name and serial number."""
        for path in sorted((self.folder / ISSUED).glob("*.pem")):
            yield read_certificates(path)[0]

    def issued_to(self, name: str) -> list[x509.Certificate]:
        """Certificates of one name, or the one of a serial number in hexadecimal."""
        return [each for each in self.issued() if name in {pki.common_name(each), f"{each.serial_number:x}"}]

    @property
    def _name(self) -> x509.Name:
        return self.authority.certificate.subject

    def _owner(self, held: x509.CertificateRevocationList) -> Authority | None:
        """Whose of us a list is; None for the root's, and for what is not ours."""
        for each in (self.authority, *self.former):
            if held.issuer == each.certificate.subject and held.is_signature_valid(each.key.public_key()):
                return each
        return None

    def _lists(self) -> list[x509.CertificateRevocationList]:
        """Every list in the file."""
        lists = _read_lists(self.folder)
        own = [each for each in lists if self._owner(each) is self.authority]
        if len(own) != 1:
            raise CertificateError(f"{self.folder / CRL}: expected one list by the issuing authority, found {len(own)}")
        return lists


def prepare(
    folder: Path,
    root_key: Path,
    now: datetime,
    passphrase: bytes | None,
    root_passphrase: bytes | None,
    *,
    dry_run: bool = False,
) -> list[Path]:
    """Make the next issuing authority known, before it certifies anybody: ca.pem and crl.pem name it from now on.

    Args:
        dry_run: check, and write nothing.

    Returns:
        what was or would be written.

    Raises:
        CertificateError: one waits already, or the root's key does not fit; nothing was changed.
    """
    for name in (NEXT_KEY, NEXT):
        if (folder / name).exists():
            raise CertificateError(
                f"{folder / name} exists already: an authority waits for ca switch; nothing was changed"
            )
    root = Authority(read_certificates(folder / ROOT)[0], read_key(root_key, root_passphrase))
    if root.certificate.public_key() != root.key.public_key():
        raise CertificateError(f"{root_key} is not the key of {folder / ROOT}")
    issuer = read_issuer(folder, passphrase)
    organization = issuer.authority.certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value
    city = CityId(str(organization).removeprefix(pki.ORGANIZATION_PREFIX))
    following = pki.make_issuing(city, root, now, len(issuer.former) + 2)
    lists = [*_read_lists(folder), pki.make_crl(following, [], 1, now)]
    paths = [folder / name for name in (NEXT_KEY, NEXT, CRL, CHAIN)]
    if dry_run:
        return paths
    write_key(folder / NEXT_KEY, following.key, passphrase)
    write_new(folder / NEXT, pem(following.certificate))
    replace(folder / CRL, b"".join(each.public_bytes(PEM) for each in lists), 0o644)
    replace(folder / CHAIN, issuer.chain + pem(following.certificate), 0o644)
    return paths


def prepared(folder: Path, passphrase: bytes | None) -> x509.Certificate:
    """The authority that `switch` would let certify.

    Raises:
        CertificateError: none was prepared, or its key is not there or does not open.
    """
    if not (folder / NEXT).exists():
        raise CertificateError(f"{folder / NEXT}: no authority was prepared; armoire-fleet ca prepare does it")
    certificate = read_certificates(folder / NEXT)[0]
    place = NEXT_KEY if (folder / NEXT_KEY).exists() else ISSUING_KEY  # The latter of a switch that was cut.
    if certificate.public_key() != read_key(folder / place, passphrase).public_key():
        raise CertificateError(f"{folder}: {place} is not the key of {NEXT}; nothing was changed")
    return certificate


def switch(folder: Path, passphrase: bytes | None) -> Issuer:
    """Let the prepared authority certify from now on. What the former one certified stays good. May be called again.

    Raises:
        CertificateError: none was prepared, or its key cannot be used; nothing was changed.
    """
    prepared(folder, passphrase)
    if (folder / NEXT_KEY).exists():
        issuer = read_issuer(folder, passphrase)
        stem = f"issuing-{len(issuer.former) + 1}"
        for suffix, name in (("key", ISSUING_KEY), ("pem", ISSUING)):
            (folder / f"{stem}.{suffix}.part").unlink(missing_ok=True)
            write_new(folder / f"{stem}.{suffix}.part", _read(folder / name), 0o600)
            (folder / f"{stem}.{suffix}.part").replace(folder / f"{stem}.{suffix}")
        (folder / NEXT_KEY).replace(folder / ISSUING_KEY)
    (folder / NEXT).replace(folder / ISSUING)
    return read_issuer(folder, passphrase)


def read_issuer(folder: Path, passphrase: bytes | None = None) -> Issuer:
    """Open the issuing authority.

    Raises:
        CertificateError: missing, readable by others, another passphrase, or key and certificate do not belong together.
    """
    certificate = read_certificates(folder / ISSUING)[0]
    key = read_key(folder / ISSUING_KEY, passphrase)
    if certificate.public_key() != key.public_key():
        raise CertificateError(f"{folder}: {ISSUING_KEY} is not the key of {ISSUING}")
    former = []
    for path in sorted(folder.glob("issuing-[0-9]*.pem")):
        held = Authority(read_certificates(path)[0], read_key(path.with_suffix(".key"), passphrase))
        if held.certificate != certificate:  # Of a switch that was cut.
            former.append(held)
    return Issuer(folder, Authority(certificate, key), tuple(former))


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
        replace_durably(path, data, mode)
    except OSError as error:
        raise CertificateError(f"{path}: not replaced: {error.strerror}") from error


def pem(*certificates: x509.Certificate) -> bytes:
    """Certificates, one behind the other."""
    return b"".join(each.public_bytes(PEM) for each in certificates)


def _read_lists(folder: Path) -> list[x509.CertificateRevocationList]:
    mark = b"-----BEGIN X509 CRL-----"
    parts = [mark + part for part in _read(folder / CRL).split(mark)[1:]]
    try:
        return [x509.load_pem_x509_crl(part) for part in parts]
    except ValueError as error:
        raise CertificateError(f"{folder / CRL}: not a revocation list: {error}") from error


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
