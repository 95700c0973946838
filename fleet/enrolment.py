"""Who wants to join, and who may: one-time codes, requests and their certificates, kept as files.

    enrolment/codes/<gateway>.json      until used, or over
    enrolment/requests/<id>.json        waiting, approved or refused

A request is taken only if it proves a code; a certificate is made only when an operator has compared six words with the
technician at the cabinet. What is approved here hangs on to the broker; what it says is believed once the officers have
signed a key list with its keys (``armoire-fleet keys``).
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from agent.model.identity import CityId, is_id
from agent.wire import enrolment
from agent.wire.enrolment import CODE_BYTES, CODE_LIFE_MS, Papers, SigningKey, Statement
from agent.wire.errors import TrustError, WireError
from agent.wire.messages import decode
from agent.wire.trust import KeyRing
from fleet import authority, pki
from fleet.authority import Issuer
from fleet.broker_config import CHECK_GATEWAYS
from fleet.errors import AskError, CertificateError

FOLDER = "enrolment"
WAITING_MAX = 1_000
KEPT_MS = 24 * 3600 * 1000
"""How long after its beginning a request may be fetched: then its code is forgotten."""
RENEWALS_PER_DAY_MAX = 5
_OID = x509.ObjectIdentifier(enrolment.STATEMENT_OID)


class Code(msgspec.Struct, frozen=True):
    """A one-time code.

    Args:
        used_for: SHA-256 (hex) of the one request it is good for, once there is one.
        serial: of the only device it is good for; empty for any.
    """

    gateway: str
    secret: bytes
    by: str
    until_ms: int
    used_for: str = ""
    serial: str = ""


class Request(msgspec.Struct, frozen=True):
    """A gateway that wants to join.

    Args:
        id: of the request's SHA-256, hex. csr: DER. secret: the code it came under; empty once forgotten.
        words: what the technician sees too. serial: of the device, as it says.
    """

    id: str
    gateway: str
    words: str
    csr: bytes
    secret: bytes
    keys: list[SigningKey]
    t_ms: int
    state: Literal["waiting", "approved", "refused", "rotated"] = "waiting"
    by: str = ""
    decided_ms: int = 0
    certificate: str = ""
    serial: str = ""


class Enrolments:
    """Everything about joining, for one manager. Its methods wait for the disk: call them in a thread.

    Args:
        folder: the manager's. issuer: opens the authority anew each time. ring: the key list in force.
        trust: reads roots.toml and keys.sealed as they are now.
    """

    def __init__(
        self,
        city: CityId,
        folder: Path,
        issuer: Callable[[], Issuer],
        ring: Callable[[], KeyRing],
        trust: Callable[[], tuple[str, bytes]],
        unix_ms: Callable[[], int],
    ) -> None:
        self._city = city
        self._codes, self._requests = folder / FOLDER / "codes", folder / FOLDER / "requests"
        self._issuer = issuer
        self._ring = ring
        self._trust = trust
        self._unix_ms = unix_ms
        self._lock = threading.Lock()
        for each in (self._codes, self._requests):
            each.mkdir(parents=True, exist_ok=True, mode=0o700)

    def make_code(self, gateway: str, operator: str, serial: str = "", *, dry_run: bool = False) -> Code:
        """Make the code a technician needs at one cabinet; an older one of that cabinet ends.

        Args:
            serial: of the only device that may use it; empty for any.
            dry_run: make none that works, and leave the older one.

        Raises:
            AskError: no gateway's id.
        """
        if not is_id(gateway) or gateway == "fleet" or gateway in CHECK_GATEWAYS:
            raise AskError(400, f"{gateway[:60]!r} cannot be a gateway: ids are 1..40 characters a-z, 0-9 and -")
        code = Code(gateway, secrets.token_bytes(CODE_BYTES), operator, self._unix_ms() + CODE_LIFE_MS, serial=serial)
        if not dry_run:
            with self._lock:
                self._write(self._codes / f"{gateway}.json", code)
        return code

    def all(self) -> list[Request]:
        """Every request, oldest first."""
        return sorted(self._all(), key=lambda each: each.t_ms)

    def enrol(self, body: bytes, proof: str) -> Request:
        """Take a certificate request in, or say how it stands.

        Args:
            body: PKCS #10. proof: ``request_proof`` by the code.

        Raises:
            AskError: malformed (400), no such code (401), the code is used or over (403), too many wait (429).
        """
        request, der = _read(body)
        gateway = _common_name(request)
        request_id = _id_of(der)
        with self._lock:
            known = self._find(request_id)
            if known is not None:
                if not known.secret or not enrolment.is_proof(proof, enrolment.request_proof(known.secret, der)):
                    raise AskError(401, "the code does not fit this request, or was forgotten after a day")
                return known
            code = self._code(gateway, der, proof)
            sealed, statement = self._statement(request, gateway)
            if code.serial and statement.serial != code.serial:
                told = statement.serial or "none"
                raise AskError(403, f"the code for {gateway} is for the device {code.serial}, this one says {told!r}")
            if sum(each.state == "waiting" for each in self._all()) >= WAITING_MAX:
                raise AskError(429, f"{WAITING_MAX} gateways wait already: approve or refuse some")
            words = enrolment.words(sealed)
            now_ms = self._unix_ms()
            taken = Request(
                request_id, gateway, words, der, code.secret, statement.keys, now_ms, serial=statement.serial
            )
            self._write(self._requests / f"{request_id}.json", taken)
            used = msgspec.structs.replace(code, used_for=request_id)
            self._write(self._codes / f"{gateway}.json", used)
            return taken

    def decide(self, request_id: str, operator: str, words: str, *, approve: bool, dry_run: bool = False) -> Request:
        """Approve or refuse a waiting request.

        Args:
            words: the six words as the technician read them out; needed to approve.
            dry_run: check everything, and decide nothing.

        Raises:
            AskError: unknown (404), decided already (409), other words (403), or the authority cannot be used (503).
        """
        with self._lock:
            request = self._find(request_id)
            if request is None:
                raise AskError(404, f"no request {request_id[:60]!r}; armoire-fleet enrolment list shows them")
            if request.state != "waiting":
                raise AskError(409, f"{request_id} was {request.state} by {request.by} already")
            certificate = ""
            if approve:
                if words.lower().split() != request.words.split():
                    raise AskError(403, "these are not the words of this request: do not approve it, call the cabinet")
                asked = pki.read_request(request.csr)
                certificate = self._certify(asked, request.gateway, is_new=True, dry_run=dry_run)
            decided = msgspec.structs.replace(
                request,
                state="approved" if approve else "refused",
                by=operator,
                decided_ms=self._unix_ms(),
                certificate=certificate,
            )
            if not dry_run:
                self._write(self._requests / f"{request_id}.json", decided)
            return decided

    def papers(self, request_id: str) -> tuple[bytes, str]:
        """What an approved gateway fetches, and the proof that it comes from who gave the code.

        Raises:
            AskError: unknown, not approved, or too long ago (404).
        """
        with self._lock:
            request = self._find(request_id)
        if request is None or request.state != "approved" or not request.secret:
            raise AskError(404, "nothing to fetch: no such request, or not approved, or more than a day ago")
        body = msgspec.json.encode(self._papers(request.certificate))
        return body, enrolment.papers_proof(request.secret, request.csr, body)

    def renew(self, body: bytes) -> bytes:
        """Certify a new TLS key for a gateway whose agent's key is registered, whatever became of its certificate.

        Returns:
            the papers, sealed by nobody: the gateway checks each of them against what it holds.

        Raises:
            AskError: malformed (400), not signed by a registered key (403), or too often (429).
        """
        request, _ = _read(body)
        gateway = _common_name(request)
        now_ms = self._unix_ms()
        if enrolment.is_rotation(_sealed(request)):
            return self._rotate(request, gateway, now_ms)
        try:
            sealed = _sealed(request)
            topic = enrolment.statement_topic(self._city, gateway)
            opened = self._ring().open(sealed, topic, "up", now_ms)
            statement = decode(opened.payload, Statement)
            enrolment.check_subject(statement, self._city, gateway, _tls_key(request))
        except WireError as error:
            raise AskError(400, f"not a renewal: {error}") from error
        except TrustError as error:
            raise AskError(403, f"not renewed: {error}") from error
        with self._lock:
            if not self._may_renew(gateway, opened.kid):
                raise AskError(403, f"not renewed: {opened.kid} was replaced, the officers only have not signed it yet")
            return msgspec.json.encode(self._papers(self._certify(request, gateway, is_new=False)))

    def _may_renew(self, gateway: str, kid: str) -> bool:
        """By a key of the newest enrolment, or of a rotation since."""
        mine = sorted((each for each in self._all() if each.gateway == gateway), key=lambda each: each.decided_ms)
        allowed: set[str] | None = None
        for each in mine:
            if each.state in {"approved", "rotated"}:
                own = {key.kid for key in each.keys}
                allowed = own if each.state == "approved" else (allowed or {kid}) | own
        return allowed is None or kid in allowed

    def _rotate(self, request: x509.CertificateSigningRequest, gateway: str, now_ms: int) -> bytes:
        """Take a gateway's new signing keys in for the officers: its registered keys speak for them, so nobody is asked."""
        try:
            statement = enrolment.open_rotation(
                _sealed(request), self._ring(), self._city, gateway, _tls_key(request), now_ms
            )
        except WireError as error:
            raise AskError(400, f"no new keys taken: {error}") from error
        except TrustError as error:
            raise AskError(403, f"no new keys taken: {error}") from error
        der = request.public_bytes(serialization.Encoding.DER)
        with self._lock:
            certificate = self._certify(request, gateway, is_new=False)
            taken = Request(
                _id_of(der), gateway, "", der, b"", statement.keys, now_ms, "rotated", gateway, now_ms, certificate
            )
            self._write(self._requests / f"{taken.id}.json", taken)
            return msgspec.json.encode(self._papers(certificate))

    def ca_certificates(self) -> list[x509.Certificate]:
        """Root and issuing authority."""
        return x509.load_pem_x509_certificates(self._open().chain)

    def _certify(
        self, request: x509.CertificateSigningRequest, gateway: str, *, is_new: bool, dry_run: bool = False
    ) -> str:
        issuer = self._open()
        now = datetime.fromtimestamp(self._unix_ms() // 1000, UTC)
        try:
            earlier = [each for each in issuer.issued() if pki.common_name(each) == gateway]
            if not is_new:
                held = self._renewed_before(issuer, earlier, request)
                if held is not None:
                    return held
                since = now - timedelta(days=1) - pki.BACKDATED
                if sum(each.not_valid_before_utc > since for each in earlier) >= RENEWALS_PER_DAY_MAX:
                    raise AskError(429, f"{gateway} has had {RENEWALS_PER_DAY_MAX} certificates within a day")
            made = pki.gateway_certificate(request, gateway, issuer.authority, now)
            if dry_run:
                return ""
            certificate = issuer.issue(made).decode()
            if is_new and earlier:  # A replaced gateway's card must not hang on to the broker.
                issuer.revoke([each.serial_number for each in earlier], now)
        except CertificateError as error:
            raise AskError(503, f"nothing was certified: {error}") from error
        return certificate

    @staticmethod
    def _renewed_before(
        issuer: Issuer, earlier: list[x509.Certificate], request: x509.CertificateSigningRequest
    ) -> str | None:
        """What this very key was given already: a request played again must not use up the day's renewals."""
        for each in earlier:
            if each.public_key() == request.public_key():
                if each.serial_number in issuer.revoked():
                    raise AskError(403, "not renewed: this TLS key was revoked")
                return issuer.with_issuer(each).decode()
        return None

    def _papers(self, certificate: str) -> Papers:
        roots, keys = self._trust()
        return Papers(roots, keys, self._open().chain.decode(), certificate)

    def _open(self) -> Issuer:
        try:
            return self._issuer()
        except CertificateError as error:
            raise AskError(503, f"the certificate authority cannot be used: {error}") from error

    def _code(self, gateway: str, der: bytes, proof: str) -> Code:
        path = self._codes / f"{gateway}.json"
        try:
            code = msgspec.json.decode(path.read_bytes(), type=Code)
        except (OSError, msgspec.DecodeError) as error:
            raise AskError(401, f"no code was given out for {gateway}") from error
        if not enrolment.is_proof(proof, enrolment.request_proof(code.secret, der)):
            raise AskError(401, f"this is not the code that was given out for {gateway}")
        if code.used_for or self._unix_ms() > code.until_ms:
            why = "used for another request" if code.used_for else "more than an hour old"
            raise AskError(403, f"the code for {gateway} is {why}: ask for a new one")
        return code

    def _statement(self, request: x509.CertificateSigningRequest, gateway: str) -> tuple[bytes, Statement]:
        try:
            sealed = _sealed(request)
            return sealed, enrolment.open_statement(sealed, self._city, gateway, _tls_key(request))
        except (WireError, TrustError) as error:
            raise AskError(400, f"the statement of its keys is not to be believed: {error}") from error

    def _find(self, request_id: str) -> Request | None:
        if not (len(request_id) == 32 and request_id.isalnum() and request_id.isascii()):
            return None
        return self._load(self._requests / f"{request_id}.json")

    def _all(self) -> Iterator[Request]:
        for path in self._requests.glob("*.json"):
            if (request := self._load(path)) is not None:
                yield request

    def _load(self, path: Path) -> Request | None:
        try:
            request = msgspec.json.decode(path.read_bytes(), type=Request)
        except (OSError, msgspec.DecodeError):
            return None
        if request.secret and self._unix_ms() - request.t_ms > KEPT_MS:
            request = msgspec.structs.replace(request, secret=b"")
            self._write(path, request)
        return request

    def _write(self, path: Path, kept: Code | Request) -> None:
        try:
            authority.replace(path, msgspec.json.encode(kept), 0o600)
        except CertificateError as error:
            raise AskError(503, f"the disk did not take it: {error}; nothing was changed") from error


def _read(body: bytes) -> tuple[x509.CertificateSigningRequest, bytes]:
    try:
        request = pki.read_request(body)
        pki.check_request(request, _common_name(request))
    except CertificateError as error:
        raise AskError(400, str(error)) from error
    return request, request.public_bytes(serialization.Encoding.DER)


def _common_name(request: x509.CertificateSigningRequest) -> str:
    names = request.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _sealed(request: x509.CertificateSigningRequest) -> bytes:
    try:
        return base64.b64decode(request.attributes.get_attribute_for_oid(_OID).value, validate=True)
    except (x509.AttributeNotFound, ValueError) as error:
        raise AskError(400, "the request carries no statement of its signing keys") from error


def _tls_key(request: x509.CertificateSigningRequest) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return request.public_key().public_bytes(serialization.Encoding.DER, form)


def _id_of(der: bytes) -> str:
    return hashlib.sha256(der).hexdigest()[:32]
