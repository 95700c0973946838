"""The envelope of every message: COSE_Sign1 in one strict, fixed shape. Bytes in, fields out; no key is chosen here.

Layout, one accepted encoding of each length (the shortest), nothing after the signature::

    D2 84 | bstr(A2 01 <alg> 04 bstr(kid)) | A0 | bstr(payload) | bstr(signature, 64 bytes)

A *set* is 1..3 envelopes over the same payload in an outer array: ``81..83 | envelope...``. Commands and key lists are
sets, so that two people can sign one document.
A general CBOR decoder never sees these bytes: decoders accept duplicate keys, trailing bytes and reference cycles.

Source: RFC 9052 (structure), RFC 9864 (algorithms -19 Ed25519 and -9 ESP256); ``docs/wire.md`` for other implementations.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from agent.wire.errors import EnvelopeError, SignatureError

ED25519 = -19
ESP256 = -9
ALGORITHMS = (ED25519, ESP256)

ENVELOPE_BYTES_MAX = 262_144
PACKET_BYTES_MAX = ENVELOPE_BYTES_MAX + 1_024
"""An envelope in its MQTT packet, with topic and properties."""
KID_BYTES_MAX = 64
SIGNATURE_BYTES = 64
SIGNATURES_PER_SET_MAX = 3
ENVELOPE_OVERHEAD_BYTES = 2 + 2 + 7 + KID_BYTES_MAX + 1 + 5 + 2 + SIGNATURE_BYTES
"""The most that sealing adds to a payload."""

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_START = b"\xd2\x84"  # Tag 18, array of four.
_NO_UNPROTECTED = b"\xa0"
_SET_OF_NONE = 0x80
_BSTR = 2  # CBOR major type 2: byte string.
_NEGATIVE = 1  # CBOR major type 1: negative integer.
_LENGTH_WIDTHS = {24: (1, 24), 25: (2, 256), 26: (4, 65_536)}  # Additional information -> bytes, least value.

PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey


class Sealer(Protocol):
    """Whatever holds a private key: a file, a secure element."""

    @property
    def kid(self) -> bytes:
        """The key's name in the key list, 1..64 bytes."""

    @property
    def algorithm(self) -> int:
        """ED25519 or ESP256."""

    def sign(self, message: bytes) -> bytes:
        """Return the 64 signature bytes; for ESP256 ``r | s`` with the lower ``s``."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """One envelope taken apart. Nothing in it is to be believed until ``verify`` returned."""

    algorithm: int
    kid: bytes
    protected: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def of(cls, algorithm: int, kid: bytes, payload: bytes, signature: bytes) -> "Parsed":
        """The envelope that has these parts.

        Raises:
            EnvelopeError: no envelope of our profile has.
        """
        if algorithm not in ALGORITHMS or not 0 < len(kid) <= KID_BYTES_MAX or len(signature) != SIGNATURE_BYTES:
            raise EnvelopeError("an algorithm, a key id or a signature that no envelope has")
        return cls(algorithm, kid, _protected(algorithm, kid), payload, signature)


def seal(signer: Sealer, payload: bytes, aad: bytes) -> bytes:
    """Sign ``payload`` for one topic.

    Args:
        aad: the topic's context, ``Topic.aad``.

    Raises:
        ValueError: the payload does not fit into an envelope. Our bug: batches are bounded where they are built.
    """
    if len(payload) > ENVELOPE_BYTES_MAX - ENVELOPE_OVERHEAD_BYTES:
        raise ValueError(f"a payload of {len(payload)} bytes does not fit into an envelope")
    protected = _protected(signer.algorithm, signer.kid)
    signature = signer.sign(_to_be_signed(protected, aad, payload))
    assert len(signature) == SIGNATURE_BYTES
    return _START + _bstr(protected) + _NO_UNPROTECTED + _bstr(payload) + _bstr(signature)


def parse(data: bytes) -> Parsed:
    """Take one envelope apart.

    Raises:
        EnvelopeError: not our profile.
    """
    _check_size(data)
    parsed, end = _read(data, 0)
    if end != len(data):
        raise EnvelopeError("bytes after the signature")
    return parsed


def split_set(data: bytes, limit: int = SIGNATURES_PER_SET_MAX) -> list[bytes]:
    """Split a set into its envelopes; all carry the same payload, each another key.

    Args:
        limit: the most signatures accepted, 1..3.

    Raises:
        EnvelopeError: not a set of our profile.
    """
    assert 1 <= limit <= SIGNATURES_PER_SET_MAX
    _check_size(data)
    count = data[0] - _SET_OF_NONE if data else 0
    if not 1 <= count <= limit:
        raise EnvelopeError(f"not a set of 1..{limit} envelopes")
    envelopes: list[bytes] = []
    kids: set[bytes] = set()
    payload: bytes | None = None
    position = 1
    for _ in range(count):
        parsed, end = _read(data, position)
        if payload is not None and parsed.payload != payload:
            raise EnvelopeError("a set over different payloads")
        payload = parsed.payload
        kids.add(parsed.kid)
        envelopes.append(data[position:end])
        position = end
    if position != len(data):
        raise EnvelopeError("bytes after the set")
    if len(kids) != count:
        raise EnvelopeError("one key signed twice")
    return envelopes


def join_set(envelopes: list[bytes]) -> bytes:
    """Put 1..3 envelopes over one payload into a set."""
    assert 1 <= len(envelopes) <= SIGNATURES_PER_SET_MAX
    return bytes((_SET_OF_NONE + len(envelopes),)) + b"".join(envelopes)


def verify(parsed: Parsed, aad: bytes, key: PublicKey) -> None:
    """Check the signature. The caller has compared the algorithm with the one registered for the key.

    Raises:
        SignatureError: bytes, context and key do not belong together.
    """
    message = _to_be_signed(parsed.protected, aad, parsed.payload)
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(parsed.signature, message)
            return
        r, s = (int.from_bytes(half, "big") for half in (parsed.signature[:32], parsed.signature[32:]))
        if s > P256_ORDER // 2:  # The other s verifies too: one message would then have two digests.
            raise SignatureError("the signature is not in its lower form")
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise SignatureError("the signature does not match the message, its topic and the key") from error


def digest(envelope: bytes) -> bytes:
    """SHA-256 of a whole envelope: what the next link of a stream names as ``prev``."""
    return sha256(envelope).digest()


def _check_size(data: bytes) -> None:
    if len(data) > ENVELOPE_BYTES_MAX:
        raise EnvelopeError(f"{len(data)} bytes, at most {ENVELOPE_BYTES_MAX} are accepted")


def _bstr(value: bytes) -> bytes:
    length = len(value)
    if length < 24:
        return bytes((0x40 | length,)) + value
    if length < 256:
        return bytes((0x58, length)) + value
    if length < 65_536:
        return b"\x59" + length.to_bytes(2, "big") + value
    return b"\x5a" + length.to_bytes(4, "big") + value


def _take(data: bytes, start: int) -> tuple[bytes, int]:
    """Read one byte string of definite, shortest length at ``start``; return it and where it ends."""
    if start >= len(data) or data[start] >> 5 != _BSTR:
        raise EnvelopeError("a byte string was expected")
    length = data[start] & 31
    position = start + 1
    if length >= 24:
        width, least = _LENGTH_WIDTHS.get(length, (0, 0))
        if not width or position + width > len(data):
            raise EnvelopeError("a length of the wrong form")
        length = int.from_bytes(data[position : position + width], "big")
        position += width
        if length < least:
            raise EnvelopeError("a length that is not the shortest form")
    if position + length > len(data):
        raise EnvelopeError("a byte string is cut short")
    return data[position : position + length], position + length


def _read(data: bytes, start: int) -> tuple[Parsed, int]:
    """Read one envelope at ``start``; return it and where it ends."""
    if data[start : start + 2] != _START:
        raise EnvelopeError("not a COSE_Sign1")
    protected, position = _take(data, start + 2)
    if data[position : position + 1] != _NO_UNPROTECTED:
        raise EnvelopeError("unprotected headers must be empty")
    payload, position = _take(data, position + 1)
    signature, position = _take(data, position)
    if len(signature) != SIGNATURE_BYTES:
        raise EnvelopeError(f"a signature of {len(signature)} bytes")
    algorithm, kid = _read_protected(protected)
    return Parsed(algorithm, kid, protected, payload, signature), position


def _protected(algorithm: int, kid: bytes) -> bytes:
    assert algorithm in ALGORITHMS
    assert 0 < len(kid) <= KID_BYTES_MAX
    return b"\xa2\x01" + bytes((_NEGATIVE << 5 | -1 - algorithm,)) + b"\x04" + _bstr(kid)


@lru_cache(
    maxsize=4_096
)  # A gateway's header is the same in each of its messages; none that is accepted is longer than 73 bytes.
def _read_protected(protected: bytes) -> tuple[int, bytes]:
    if len(protected) < 5 or protected[:2] != b"\xa2\x01" or protected[3] != 4:
        raise EnvelopeError("the protected header is not {1: alg, 4: kid}")
    algorithm = -1 - (protected[2] & 31)
    if protected[2] >> 5 != _NEGATIVE or algorithm not in ALGORITHMS:
        raise EnvelopeError("an algorithm that is neither Ed25519 nor ESP256")
    kid, end = _take(protected, 4)
    if end != len(protected) or not 0 < len(kid) <= KID_BYTES_MAX:
        raise EnvelopeError("a key id that is not 1..64 bytes")
    return algorithm, kid


def _to_be_signed(protected: bytes, aad: bytes, payload: bytes) -> bytes:
    """The Sig_structure of RFC 9052 section 4.4."""
    return b"\x84\x6aSignature1" + _bstr(protected) + _bstr(aad) + _bstr(payload)
