"""Private keys, by files: one per key, mode 0600. It holds the key as PEM, or says in which token it is (``pkcs11:``).

A cabinet's is not encrypted, because a cabinet starts without a person. A file others may read is refused, not repaired:
whoever could read it may have.
"""

import base64
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from agent.wire import envelope
from agent.wire.envelope import ED25519, ESP256, P256_ORDER
from agent.wire.errors import TrustError
from agent.wire.topics import Topic

KEY_FILE_BYTES_MAX = 8_192
KID_HEADER = "# kid: "
_PEM_HEAD, _PEM_FOOT = b"-----BEGIN PRIVATE KEY-----\n", b"-----END PRIVATE KEY-----\n"
_ED25519_PKCS8_HEAD = bytes.fromhex("302e020100300506032b657004220420")
"""RFC 8410 §7: what stands before the 32 secret bytes."""
_ED25519_PKCS8_BYTES = 48
_FORBIDDEN_MODE = stat.S_IRWXG | stat.S_IRWXO

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_TOKEN = b"pkcs11:"


class Key(Protocol):
    """A private key that is somewhere else, in a token (``agent.wire.token``)."""

    @property
    def algorithm(self) -> int:
        """ED25519 or ESP256."""

    @property
    def public_key(self) -> bytes:
        """As the key list carries it."""

    @property
    def reference(self) -> str:
        """What a key file says instead of the key."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64 signature bytes.

        Raises:
            KeyFileError: it cannot; nothing was signed.
        """


class KeyFileError(TrustError):
    """A private key cannot be used. Nothing was signed."""

    reason = "key-file"


class Signer:
    """A private key and its name in the key list.

    Args:
        passphrase: encrypts it where it is written; for a person's key. A cabinet starts without a person.
    """

    def __init__(self, kid: str, key: PrivateKey | Key, passphrase: bytes | None = None) -> None:
        self.kid = kid.encode()
        self.passphrase = passphrase
        self._key = key
        if isinstance(key, Ed25519PrivateKey):
            self.algorithm = ED25519
        else:
            self.algorithm = ESP256 if isinstance(key, ec.EllipticCurvePrivateKey) else key.algorithm

    @classmethod
    def from_seed(cls, kid: str, seed: bytes) -> "Signer":
        """Make an Ed25519 signer from its 32 secret bytes."""
        return cls(kid, Ed25519PrivateKey.from_private_bytes(seed))

    @property
    def is_slow(self) -> bool:
        """Whether signing may take seconds, because the key is in a token: not to be done where others wait."""
        return not isinstance(self._key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey)

    @property
    def public_key(self) -> bytes:
        """The public half, as the key list carries it."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.public_key().public_bytes_raw()
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.public_key
        from cryptography.hazmat.primitives import serialization

        return self._key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )

    def sign(self, message: bytes) -> bytes:
        """Return the 64 signature bytes; for ESP256 ``r | s`` with the lower ``s``."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        if not isinstance(self._key, ec.EllipticCurvePrivateKey):
            return self._key.sign(message)
        r, s = decode_dss_signature(self._key.sign(message, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + min(s, P256_ORDER - s).to_bytes(32, "big")

    def seal(self, payload: bytes, topic: Topic) -> bytes:
        """Seal a payload for a topic."""
        return envelope.seal(self, payload, topic.aad)

    def write(self, path: Path) -> None:
        """Write the private key, or where it is, to a new file of mode 0600; an existing file is never overwritten.

        Raises:
            KeyFileError: the file exists or cannot be written.
        """
        text = f"{KID_HEADER}{self.kid.decode()}\n".encode() + self._text()
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
        except OSError as error:
            raise KeyFileError(f"{path}: the key was not written: {error.strerror}") from error

    def _text(self) -> bytes:
        if not isinstance(self._key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            return f"{self._key.reference}\n".encode()
        from cryptography.hazmat.primitives import serialization

        locked: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if self.passphrase is not None:
            locked = serialization.BestAvailableEncryption(self.passphrase)
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked)


def read_signer(path: Path, passphrase: bytes | None = None, *, no_token: str = "") -> Signer:
    """Read a private key file: a first line ``# kid: <kid>``, then PEM or the address of a token.

    Args:
        passphrase: for a file that needs one; not looked at otherwise.
        no_token: why whoever asks takes no key in a token, and what to do; empty if it does.

    Raises:
        KeyFileError: missing, readable by others, not a key of ours, or where it must not be. Nothing was signed.
    """
    try:
        if not path.is_file():  # A pipe would be waited for without end.
            path.stat()  # Says why, if there is nothing.
            raise KeyFileError(f"{path}: the private key cannot be read: this is no file")
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(KEY_FILE_BYTES_MAX + 1)
    except OSError as error:
        raise KeyFileError(f"{path}: the private key cannot be read: {error.strerror}") from error
    if mode & _FORBIDDEN_MODE:
        raise KeyFileError(
            f"{path}: others may read this private key (mode {stat.S_IMODE(mode):04o}); "
            f"if you are sure nobody did, run: chmod 600 {path}"
        )
    first, _, pem = data.partition(b"\n")
    try:
        header = first.decode()
        if not header.startswith(KID_HEADER) or len(data) > KEY_FILE_BYTES_MAX:
            raise ValueError(f"the first line must read {KID_HEADER}<kid>")
        kid = header.removeprefix(KID_HEADER).strip()
        key = _private_key(pem, passphrase) if not pem.startswith(_TOKEN) else None
        if not 0 < len(kid.encode()) <= envelope.KID_BYTES_MAX:
            raise ValueError("the kid must be 1..64 bytes")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path}: not a private key file: {error}") from error
    if key is None:
        if no_token:
            raise KeyFileError(f"{path} names a key in a token: {no_token}")
        from agent.wire.token import TokenKey, read_uri  # Only here: it brings a library with it.

        return Signer(kid, TokenKey(read_uri(pem.decode(errors="replace"))))
    is_p256 = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1)
    if not (isinstance(key, Ed25519PrivateKey) or is_p256):
        raise KeyFileError(f"{path}: neither an Ed25519 nor a P-256 key")
    assert isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey)
    return Signer(kid, key)


def _private_key(pem: bytes, passphrase: bytes | None) -> "PrivateKeyTypes":
    """Read a private key. One of Ed25519 as we write it needs no library, which costs 1.4 MB of memory.

    Raises:
        ValueError, TypeError, UnsupportedAlgorithm: it is none.
    """
    if pem.startswith(_PEM_HEAD) and pem.endswith(_PEM_FOOT):
        encoded = pem[len(_PEM_HEAD) : -len(_PEM_FOOT)]
        der = base64.b64decode(encoded.replace(b"\n", b""), validate=True)
        if len(der) == _ED25519_PKCS8_BYTES and der.startswith(_ED25519_PKCS8_HEAD):
            return Ed25519PrivateKey.from_private_bytes(der[len(_ED25519_PKCS8_HEAD) :])
    from cryptography.hazmat.primitives import serialization

    is_locked = b"ENCRYPTED" in pem.partition(b"\n")[0]
    return serialization.load_pem_private_key(pem, password=passphrase if is_locked else None)
