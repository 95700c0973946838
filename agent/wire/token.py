"""Private keys in a token: a TPM, a smart card, an HSM, by way of PKCS #11. They never leave it.

A key file names the key instead of holding it (RFC 7512)::

    # kid: gw-darcy/agent/5f0c1de2
    pkcs11:token=armoire;object=gw-darcy-agent-5f0c1de2?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/armoire/pin

Loaded only where a key file says so: it costs some 10 MB of memory. A TPM is reached by the module of tpm2-pkcs11.

Source: PKCS #11 v2.40 (OASIS): CKM_EC_KEY_PAIR_GEN, CKM_ECDSA over a SHA-256 digest; RFC 7512.
"""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from agent.wire.envelope import ESP256, P256_ORDER
from agent.wire.keyfile import KeyFileError

if TYPE_CHECKING:
    from pkcs11 import Session

SCHEME = "pkcs11:"
T = TypeVar("T")
POINT_BYTES = 65
PIN_BYTES_MAX = 255
SIGN_TIMEOUT_S = 2.0
"""[D] A TPM is said to take a tenth of a second. Whoever signs waits no longer; the token may answer later."""
FIND_TIMEOUT_S = 30.0
_DER_OCTETS = b"\x04\x41"  # A DER OCTET STRING of 65 bytes: how CKA_EC_POINT wraps the point.
_PATH, _QUERY = ("token", "object"), ("module-path", "pin-source", "pin-value")
_NOT_FOR_OTHERS = stat.S_IRWXO | stat.S_IWGRP
"""A PIN may be read by a group: those who sign with one token may be several users."""


class TokenError(KeyFileError):
    """The token cannot be used. Nothing was signed."""

    reason = "token"


@dataclass(frozen=True, slots=True)
class TokenUri:
    """Where a key is.

    Args:
        token, object: their labels; object may be empty where a new key is to be made.
        module: path of the PKCS #11 module. pin_source: file with the PIN; pin_value: the PIN itself, if there is none.
    """

    token: str
    object: str
    module: str
    pin_source: str = ""
    pin_value: str = ""

    def __str__(self) -> str:
        path = "".join(f";object={quote(self.object)}" for _ in self.object[:1])
        pins = (("pin-source", self.pin_source), ("pin-value", self.pin_value))
        pin = "".join(f"&{name}={quote(value)}" for name, value in pins if value)
        return f"{SCHEME}token={quote(self.token)}{path}?module-path={quote(self.module)}{pin}"


def read_uri(text: str) -> TokenUri:
    """Read a ``pkcs11:`` address.

    Raises:
        TokenError: not one, or with parts we do not know.
    """
    path, _, query = text.strip().removeprefix(SCHEME).partition("?")
    found: dict[str, str] = {}
    for part, known in (*((each, _PATH) for each in path.split(";")), *((each, _QUERY) for each in query.split("&"))):
        name, separator, value = part.partition("=")
        if name not in known or not separator or name in found:
            raise TokenError(f"expected pkcs11:token=…;object=…?module-path=…&pin-source=…, found {text[:100]!r}")
        try:
            found[name] = unquote(value, errors="strict")
        except UnicodeDecodeError as error:
            raise TokenError(f"{name}: not UTF-8") from error
    if not text.startswith(SCHEME) or not found.get("token") or not found.get("module-path"):
        raise TokenError(f"a pkcs11: address needs token and module-path: {text[:100]!r}")
    return TokenUri(
        found["token"],
        found.get("object", ""),
        found["module-path"],
        found.get("pin-source", ""),
        found.get("pin-value", ""),
    )


class TokenKey:
    """One P-256 key in a token. Implements ``keyfile.Key``; its methods may be called by several threads.

    The module is only called in threads that nobody waits for: a token that hangs costs a time-out once, then an error
    at once until it has answered, and does not keep the process from ending.

    Raises:
        TokenError: no module, no token, no key, the PIN is not the right one, or no answer within 30 s.
    """

    algorithm = ESP256

    def __init__(self, uri: TokenUri) -> None:
        self._uri = uri
        self._turn = threading.Lock()  # A session does one thing at a time.
        self._asked: threading.Thread | None = None
        self._key, self.public_key = self._answer(lambda: _find(uri), FIND_TIMEOUT_S)

    @property
    def reference(self) -> str:
        """What a key file says instead of the key."""
        return str(self._uri)

    def sign(self, message: bytes) -> bytes:
        """Return ``r | s`` with the lower ``s``.

        Raises:
            TokenError: the token does not sign, also after it was asked anew: it may have been taken out and put in. Or
                not within 2 s.
        """
        digest = sha256(message).digest()
        signature = self._answer(lambda: self._signature(digest), SIGN_TIMEOUT_S)
        if len(signature) != 2 * 32:
            raise TokenError(f"{self._uri.token}: a signature of {len(signature)} bytes")
        r, s = signature[:32], int.from_bytes(signature[32:], "big")
        return r + min(s, P256_ORDER - s).to_bytes(32, "big")

    def _signature(self, digest: bytes) -> bytes:
        try:
            return _sign(self._key, digest)
        except Exception:  # noqa: BLE001 - whatever the token says, a new session is tried once and tells why not
            self._key, _ = _find(self._uri)
            return _sign(self._key, digest)

    def _answer(self, question: Callable[[], T], timeout_s: float) -> T:
        """What the token says within ``timeout_s``; while it owes an older answer, it is asked nothing."""
        answers: list[T | TokenError] = []

        def ask() -> None:
            try:
                with _told(self._uri):
                    answers.append(question())
            except TokenError as error:
                answers.append(error)

        with self._turn, _told(self._uri):
            if self._asked is not None and self._asked.is_alive():
                raise TokenError(f"token {self._uri.token!r} still owes an answer; nothing was signed")
            self._asked = threading.Thread(target=ask, name="token", daemon=True)
            self._asked.start()
            self._asked.join(timeout_s)
            if self._asked.is_alive():
                raise TokenError(f"token {self._uri.token!r} has not answered in {timeout_s:g} s; nothing was signed")
        answer = answers[0]
        if isinstance(answer, TokenError):
            raise answer
        return answer


def make_key(uri: TokenUri, label: str) -> TokenKey:
    """Make a new key in a token; it cannot be read out.

    Args:
        label: no other key's.

    Raises:
        TokenError: the token cannot be used, or has such a key.
    """
    place = replace(uri, object=label)
    with _told(uri):
        from pkcs11 import Attribute, KeyType
        from pkcs11.util.ec import encode_named_curve_parameters

        session = _session(uri, rw=True)
        try:
            if any(True for _ in session.get_objects({Attribute.LABEL: label})):
                raise TokenError(f"{uri.token} has a key {label} already")
            curve = {Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1")}
            session.create_domain_parameters(KeyType.EC, curve, local=True).generate_keypair(store=True, label=label)
        finally:
            session.close()
    return TokenKey(place)


@contextmanager
def _told(uri: TokenUri) -> Iterator[None]:
    """Turn whatever a module may raise into one sentence."""
    try:
        yield
    except TokenError:
        raise
    except ImportError as error:
        raise TokenError("keys in a token need the package python-pkcs11 (the extra 'token')") from error
    except Exception as error:  # A module is foreign code: whatever it raises is told, not guessed at.
        why = str(error) or type(error).__name__
        raise TokenError(f"token {uri.token!r} by {uri.module}: {why}; nothing was signed") from error


def _session(uri: TokenUri, *, rw: bool = False) -> "Session":
    import pkcs11

    token = pkcs11.lib(uri.module).get_token(token_label=uri.token)
    try:
        return token.open(rw=rw, user_pin=_pin(uri))
    except pkcs11.UserAlreadyLoggedIn:  # A process logs in once, and all its sessions are.
        return token.open(rw=rw)


def _find(uri: TokenUri) -> tuple[Any, bytes]:
    from pkcs11 import Attribute, KeyType, ObjectClass

    session = _session(uri)
    key = session.get_key(ObjectClass.PRIVATE_KEY, KeyType.EC, label=uri.object)
    point = bytes(session.get_key(ObjectClass.PUBLIC_KEY, KeyType.EC, label=uri.object)[Attribute.EC_POINT])
    point = point.removeprefix(_DER_OCTETS)
    if len(point) != POINT_BYTES or point[0] != 4:
        raise TokenError(f"{uri.object} in {uri.token} is no P-256 key")
    return key, point


def _sign(key: Any, digest: bytes) -> bytes:
    from pkcs11 import Mechanism

    return bytes(key.sign(digest, mechanism=Mechanism.ECDSA))


def _pin(uri: TokenUri) -> str:
    if not uri.pin_source:
        return uri.pin_value
    path = Path(uri.pin_source)
    try:
        if not path.is_file():
            raise TokenError(f"{path}: no file with a PIN")
        with path.open("rb") as file:
            mode, data = os.fstat(file.fileno()).st_mode, file.read(PIN_BYTES_MAX + 2)
    except OSError as error:
        raise TokenError(f"{path}: the PIN cannot be read: {error.strerror}") from error
    if mode & _NOT_FOR_OTHERS:
        raise TokenError(f"{path}: others may read this PIN (mode {stat.S_IMODE(mode):04o}); run: chmod 640 {path}")
    return data.decode(errors="replace").strip()
