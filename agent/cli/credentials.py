"""A gateway's keys and papers on its disk: made, asked for, checked, put in place. Private keys never leave it.

    <state>/enrolment/   made here and asked for; kept until the answer, so that asking again asks for the same
    <state>/rotation/    new signing keys that no key list has yet
    <state>/keys/        agent.pem, roots.toml, keys.sealed; guard.pem in the guard's state folder, if it has its own
    <state>/tls/         gateway.key, gateway.pem, ca.pem, fleet.url

What was there before an enrolment stays beside it as ``keys.before-<time>`` and ``tls.before-<time>``.
"""

import base64
import os
import secrets
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import NameOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from agent.cli.ending import TechnicianError
from agent.process.keyfolder import alone_in
from agent.wire import enrolment
from agent.wire.enrolment import Papers
from agent.wire.errors import KeyListError
from agent.wire.keyfile import Signer, read_signer
from agent.wire.roots import Roots, read_roots
from agent.wire.trust import KeyRing, load_key_list

KEPT_APART = "agent"  # Whose key may be in a token. The guard takes none: it would hold up scans and latches.
PENDING, ROTATION, KEYS, TLS = "enrolment", "rotation", "keys", "tls"
REQUEST_FILE, KEY_FILE, CERTIFICATE_FILE, CA_FILE, URL_FILE = (
    "request.der", "gateway.key", "gateway.pem", "ca.pem", "fleet.url",
)  # fmt: skip
_NOT_READABLE = (TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion, x509.ExtensionNotFound)
_DER, _PEM = serialization.Encoding.DER, serialization.Encoding.PEM
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
_OID = x509.ObjectIdentifier(enrolment.STATEMENT_OID)


@dataclass(frozen=True, slots=True)
class Asked:
    """A certificate request and the key it is for.

    Args:
        request: DER. words: for people to compare; empty for a renewal.
    """

    request: bytes
    key: ec.EllipticCurvePrivateKey
    words: str = ""


def prepare(
    state: Path, city: str, gateway: str, roles: tuple[str, ...], now_ms: int, token: str = "", serial: str = ""
) -> Asked:
    """Make the keys of an enrolment and the request for it, or take up one that was begun.

    Args:
        token: ``pkcs11:`` address in which to make the agent's signing key; in a file if empty. The guard's is always in
            a file. serial: of the cabinet's device.

    Raises:
        TechnicianError, KeyFileError: the folder cannot be used; no key that was there before was touched.
    """
    folder = state / PENDING
    if not (folder / REQUEST_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)  # Begun and never finished: nobody has been told of these keys.
        folder.mkdir(parents=True, mode=0o700)
        signers = {}
        for role in roles:
            signers[role] = _new_signer(gateway, role, token)
            signers[role].write(folder / f"{role}.pem")
        key = ec.generate_private_key(ec.SECP256R1())
        statement = enrolment.make_statement(
            city, gateway, key.public_key().public_bytes(_DER, _SPKI), signers, now_ms, serial
        )
        _write(folder / KEY_FILE, _private(key), 0o600)
        _write(folder / REQUEST_FILE, _request(gateway, statement, key), 0o600)
    request = (folder / REQUEST_FILE).read_bytes()
    try:
        parsed = x509.load_der_x509_csr(request)
        statement = base64.b64decode(parsed.attributes.get_attribute_for_oid(_OID).value)
        key = _read_key(folder / KEY_FILE)
        found = enrolment.open_statement(statement, city, gateway, key.public_key().public_bytes(_DER, _SPKI))
        if {each.role for each in found.keys} != set(roles):
            raise ValueError("it was begun for another set of processes")
    except (ValueError, x509.AttributeNotFound, x509.InvalidVersion) as error:
        raise TechnicianError(
            f"{folder} cannot be taken up: {error}", advice=f"remove {folder} and begin anew"
        ) from error
    return Asked(request, key, enrolment.words(statement))


def prepare_renewal(state: Path, city: str, gateway: str, now_ms: int) -> Asked:
    """Make a new TLS key and the request for it, signed by the agent's key.

    Raises:
        KeyFileError: the agent's key cannot be read.
    """
    agent = read_signer(state / KEYS / "agent.pem")
    key = ec.generate_private_key(ec.SECP256R1())
    sealed = enrolment.make_renewal(city, gateway, key.public_key().public_bytes(_DER, _SPKI), agent, now_ms)
    return Asked(_request(gateway, sealed, key), key)


def prepare_rotation(state: Path, homes: dict[str, Path], city: str, gateway: str, now_ms: int, token: str) -> Asked:
    """Make new signing keys, and the request that introduces them, endorsed by those there are.

    Args:
        homes: role -> state folder of its process. token: as in ``prepare``.

    Raises:
        KeyFileError: a key cannot be read, or made.
    """
    folder = state / ROTATION
    folder.mkdir(mode=0o700, exist_ok=True)
    for role in homes:
        if not (folder / f"{role}.pem").exists():  # Asked for again, the same are asked for.
            _new_signer(gateway, role, token).write(folder / f"{role}.pem")
    made = {role: read_signer(folder / f"{role}.pem") for role in homes}
    key = ec.generate_private_key(ec.SECP256R1())
    spki = key.public_key().public_bytes(_DER, _SPKI)
    statement = enrolment.make_statement(city, gateway, spki, made, now_ms)
    registered = [read_signer(home / KEYS / f"{role}.pem") for role, home in homes.items()]
    return Asked(_request(gateway, enrolment.make_rotation(statement, city, gateway, registered), key), key)


def adopt_rotation(state: Path, homes: dict[str, Path]) -> list[str]:
    """Put rotated keys in place once the key list on disk has them all; their kids, none if it has not.

    The key before stays beside as ``<role>.pem.before``.

    Raises:
        TrustError, OSError: keys or list cannot be read, or the disk refused; run it again.
    """
    folder = state / ROTATION
    waiting = {role: folder / f"{role}.pem" for role in homes if (folder / f"{role}.pem").exists()}
    kids = []
    for role, path in waiting.items():
        signer = read_signer(path)
        ring = _held(homes[role])
        if ring.entry(signer.kid) is None:
            return []
        kids.append(signer.kid.decode())
    for role, path in waiting.items():
        place = homes[role] / KEYS
        part = place / f"{role}.pem.part"
        part.unlink(missing_ok=True)
        _write(part, path.read_bytes(), 0o600)
        _give_to_owner(part, homes[role])
        before = place / f"{role}.pem.before"
        before.unlink(missing_ok=True)
        os.link(place / f"{role}.pem", before)
        part.replace(place / f"{role}.pem")
        path.unlink()
    return kids


def check_certificate(papers_certificate: str, ca: str, asked: Asked, gateway: str, now: datetime) -> None:
    """Check that a certificate is for our key and name, and from this authority.

    Args:
        ca: PEM, the root among them.

    Raises:
        TechnicianError: it is not.
    """
    try:
        leaf, *behind = x509.load_pem_x509_certificates(papers_certificate.encode())
        authorities = x509.load_pem_x509_certificates(ca.encode())
        roots = [each for each in authorities if each.subject == each.issuer]
        at = max(now, leaf.not_valid_before_utc)  # A cabinet's clock may not know the year yet.
        verifier = PolicyBuilder().store(Store(roots)).time(at).build_client_verifier()
        verifier.verify(leaf, [*behind, *(each for each in authorities if each not in roots)])
    except (ValueError, VerificationError, *_NOT_READABLE) as error:
        raise TechnicianError(
            f"the certificate is not from the city's authority: {error}", "nothing was put in place"
        ) from error
    names = [each.value for each in leaf.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if names != [gateway] or leaf.public_key() != asked.key.public_key():
        raise TechnicianError(f"the certificate is for {names!r} or another key", "nothing was put in place")


def check_authorities(ca: str, held: str) -> str:
    """Check that authorities named by a renewal are the root we hold and what that root certified; return them.

    Args:
        ca, held: PEM. The line a renewal comes over is not trusted: only the root we have can name another.

    Raises:
        TechnicianError: they are not.
    """
    try:
        named, known = (x509.load_pem_x509_certificates(each.encode()) for each in (ca, held))
        roots = [each for each in known if each.subject == each.issuer]
        for each in named:
            if each in roots:
                continue
            each.verify_directly_issued_by(next(root for root in roots if root.subject == each.issuer))
            if not each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
                raise ValueError(f"{each.subject.rfc4514_string()} is no authority")
        if not set(roots) <= set(named):
            raise ValueError("the root is missing")
    except (ValueError, StopIteration, *_NOT_READABLE) as error:
        raise TechnicianError(
            f"the authorities are not those of the city's root: {error}", "nothing was put in place"
        ) from error
    return ca


def check_keys(papers: Papers, city: str) -> tuple[Roots, KeyRing]:
    """Check roots and key list of an enrolment.

    Raises:
        KeyListError: they do not fit, or are another city's.
    """
    roots = read_roots(papers.roots)
    if roots.city != city:
        raise KeyListError(f"the papers are of {roots.city}, this site is in {city}")
    return roots, load_key_list(papers.keys, roots)


def install(state: Path, guards: Path, papers: Papers, url: str, stamp: str) -> list[Path]:
    """Put keys and papers of an enrolment in place; return the folders that hold what was there before.

    Args:
        state, guards: the agent's state folder and the guard's, which may be one.

    Raises:
        OSError: the disk refused; run it again.
    """
    pending = state / PENDING
    ready = []
    for place in dict.fromkeys((state, guards)):
        new = _fresh(place / f"{KEYS}.new")
        is_of = {f"{role}.pem": home for role, home in (("agent", state), ("guard", guards))}
        made = [name for name, home in is_of.items() if home == place and (pending / name).exists()]
        for path in (place / KEYS).glob("*") if (place / KEYS).is_dir() else ():
            if path.is_file() and path.name not in {*is_of, "roots.toml", "keys.sealed"}:
                shutil.copy2(path, new / path.name)  # A technician's key is not ours to replace.
        for name in made:
            _write(new / name, (pending / name).read_bytes(), 0o600)
        _write(new / "roots.toml", papers.roots.encode(), 0o644)
        _write(new / "keys.sealed", papers.keys, 0o644)
        ready.append((new, place, place / KEYS))
    new = _fresh(state / f"{TLS}.new")
    _write_tls(new, (pending / KEY_FILE).read_bytes(), papers.certificate, papers.ca, url)
    ready.append((new, state, state / TLS))
    kept = []
    for new, home, place in ready:
        _give_to_owner(new, home)
        if place.exists():
            kept.append(place.rename(f"{place}.before-{stamp}"))
        new.rename(place)
    shutil.rmtree(pending)
    return kept


def install_renewal(state: Path, asked: Asked, certificate: str, ca: str) -> None:
    """Put a renewed TLS key and certificate, and the authorities it came with, in place of the old ones.

    Raises:
        OSError: the disk refused; the old ones are in place, or ``tls.old`` holds them.
    """
    held, new, old = state / TLS, _fresh(state / f"{TLS}.new"), state / f"{TLS}.old"
    url = (held / URL_FILE).read_text() if (held / URL_FILE).exists() else ""
    _write_tls(new, _private(asked.key), certificate, ca, url)
    _give_to_owner(new, state)
    shutil.rmtree(old, ignore_errors=True)
    held.rename(old)
    new.rename(held)
    shutil.rmtree(old)


def held_version(state: Path) -> int:
    """The version of the key list on disk.

    Raises:
        KeyListError: none that can be believed.
    """
    return _held(state).version


def _held(state: Path) -> KeyRing:
    folder = state / KEYS
    return load_key_list((folder / "keys.sealed").read_bytes(), read_roots((folder / "roots.toml").read_text()))


def take_key_list(state: Path, sealed: bytes) -> int | None:
    """Put a newer key list in place; its version, or None if it is the one held there. Never an older one.

    Raises:
        KeyListError: not signed as it must be, older, or another list of the same version.
        OSError: the disk refused, or another process is replacing it; run it again.
    """
    with alone_in(state / KEYS):
        return _take_alone(state, sealed)


def _take_alone(state: Path, sealed: bytes) -> int | None:
    folder = state / KEYS
    roots = read_roots((folder / "roots.toml").read_text())
    held = load_key_list((folder / "keys.sealed").read_bytes(), roots)
    newer = held.replaced_by(sealed, roots)
    if newer.version == held.version:
        return None
    part = folder / "keys.sealed.part"
    part.unlink(missing_ok=True)
    _write(part, sealed, 0o644)
    _give_to_owner(part, state)
    part.replace(folder / "keys.sealed")
    return newer.version


def renewal_due(state: Path, now_ms: int) -> tuple[bool, datetime]:
    """Whether the certificate should be renewed by now, and its end. A missing one is due.

    Raises:
        TechnicianError: the file is no certificate.
    """
    path = state / TLS / CERTIFICATE_FILE
    try:
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    except FileNotFoundError:
        return True, datetime.fromtimestamp(0, UTC)
    except ValueError as error:
        raise TechnicianError(f"{path} is no certificate: {error}", advice="enrol the gateway again") from error
    begin_ms, end_ms = (int(each.timestamp() * 1000) for each in (leaf.not_valid_before_utc, leaf.not_valid_after_utc))
    return now_ms >= enrolment.renewal_at_ms(begin_ms, end_ms, leaf.serial_number), leaf.not_valid_after_utc


def _new_signer(gateway: str, role: str, token: str) -> Signer:
    if not token or role != KEPT_APART:
        made = Ed25519PrivateKey.generate()
        return Signer(enrolment.kid_of(gateway, role, made.public_key().public_bytes_raw()), made)
    from agent.wire.token import make_key, read_uri

    key = make_key(read_uri(token), f"{gateway}-{role}-{secrets.token_hex(4)}")
    return Signer(enrolment.kid_of(gateway, role, key.public_key), key)


def _request(gateway: str, statement: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, gateway)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.add_attribute(_OID, base64.b64encode(statement)).sign(key, hashes.SHA256()).public_bytes(_DER)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(path.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TechnicianError(f"{path} is no P-256 key")
    return key


def _write_tls(folder: Path, key: bytes, certificate: str, ca: str, url: str) -> None:
    _write(folder / KEY_FILE, key, 0o600)
    _write(folder / CERTIFICATE_FILE, certificate.encode(), 0o644)
    _write(folder / CA_FILE, ca.encode(), 0o644)
    _write(folder / URL_FILE, url.encode(), 0o644)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)  # Left over from a run that was cut.
    folder.mkdir(mode=0o700)
    return folder


def _write(path: Path, data: bytes, mode: int) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _give_to_owner(path: Path, state: Path) -> None:
    """Run by root, files belong to whom the state folder does: the processes read them as that user."""
    if os.geteuid() != 0:
        return
    owner = state.stat()
    for each in (path, *(path.iterdir() if path.is_dir() else ())):
        os.chown(each, owner.st_uid, owner.st_gid)
