"""What a fleet manager says of its log: how long it is and its root, as a signed note a person can read and pass on.

Text     three lines, an empty one, one line per signature; the signature covers the three lines::

             armoire/1/dijon/control-room/log
             4711
             CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

             — director/1 qgZ5SZ...

Source   C2SP signed-note and tlog-checkpoint; ``docs/wire.md`` 11.2.
"""

import base64
import binascii
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from agent.model.identity import CityId, is_id
from agent.wire.envelope import ED25519, SIGNATURE_BYTES
from agent.wire.errors import TrustError, WireError
from agent.wire.keyfile import Signer
from agent.wire.merkle import HASH_BYTES
from agent.wire.roots import public_key
from agent.wire.topics import ROOT, fleet_state
from agent.wire.trust import KeyEntry, KeyRing, may

NOTE_CHARACTERS_MAX = 1_000
SIGNATURES_MAX = 8
SIZE_MAX = 2**63 - 1
_DASH = "\N{EM DASH} "
_KEY_ID_BYTES = 4
_TYPES = {ED25519: b"\x01"}
_OTHER_TYPE = b"\xffarmoire ESP256"
"""Signed-note names no kind for P-256 over SHA-256 with ``r | s``; 0xFF and a text of one's own is what it leaves for that."""


class CheckpointError(WireError):
    """Not a checkpoint."""

    reason = "checkpoint"


class CheckpointTrustError(TrustError):
    """A checkpoint that nobody who may has signed."""

    reason = "checkpoint-signature"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The first ``size`` entries of a log have this root.

    Args:
        fleet: whose log it is: the manager's id.
    """

    city: CityId
    fleet: str
    size: int
    root: bytes

    @property
    def origin(self) -> str:
        """The log's name."""
        return f"{ROOT}/{self.city}/{self.fleet}/log"

    @property
    def text(self) -> str:
        """The bytes that are signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint with its signatures, taken apart. Nothing in it is to be believed before ``open_checkpoint``."""

    checkpoint: Checkpoint
    signatures: tuple[tuple[str, bytes], ...]


def seal_checkpoint(signer: Signer, checkpoint: Checkpoint) -> str:
    """Sign a checkpoint; return the note."""
    text = checkpoint.text.encode()
    blob = _key_id(signer.kid.decode(), signer.algorithm, signer.public_key) + signer.sign(text)
    return f"{checkpoint.text}\n{_DASH}{signer.kid.decode()} {base64.b64encode(blob).decode()}\n"


def open_checkpoint(ring: KeyRing, note: str) -> Checkpoint:
    """Verify a note: at least one signature by a key that may speak for the fleet, none by such a key that is wrong.

    Signatures by keys that are not in the list are ignored, which is how a key is changed.

    Raises:
        CheckpointError: not a checkpoint, or of another city.
        CheckpointTrustError: nobody who may has signed it.
    """
    parsed = parse_note(note)
    checkpoint = parsed.checkpoint
    if checkpoint.city != ring.city:
        raise CheckpointError(f"a checkpoint of {checkpoint.city}, the keys are of {ring.city}")
    entries = {entry.kid: entry for entry in ring.entries()}
    believed = 0
    for kid, blob in parsed.signatures:
        entry = entries.get(kid)
        if entry is None or blob[:_KEY_ID_BYTES] != _key_id(kid, entry.algorithm, entry.public_key):
            continue
        if not may(entry, "state", fleet_state(ring.city)):
            raise CheckpointTrustError(f"{kid} may not speak for the fleet")
        _verify(entry, checkpoint.text.encode(), blob[_KEY_ID_BYTES:])
        believed += 1
    if not believed:
        raise CheckpointTrustError(f"no signature by a key of key list {ring.version} that may speak for the fleet")
    return checkpoint


def parse_note(note: str) -> Note:
    """Take a note apart.

    Raises:
        CheckpointError: not a checkpoint as we write it. Another spelling of the same is refused too.
    """
    if len(note) > NOTE_CHARACTERS_MAX:
        raise CheckpointError(f"a checkpoint of more than {NOTE_CHARACTERS_MAX} characters")
    text, gap, signed = note.partition("\n\n")
    lines = text.split("\n")
    if not gap or len(lines) != 3 or not signed.endswith("\n"):
        raise CheckpointError("expected origin, size and root, an empty line, and signatures")
    origin, size, root = lines
    match origin.split("/"):
        case [_, _, city, fleet, "log"] if origin.startswith(f"{ROOT}/") and is_id(city) and is_id(fleet):
            pass
        case _:
            raise CheckpointError(f"not a log of ours: {origin[:120]!r}")
    if not (size.isascii() and size.isdecimal()) or len(size) > 19:
        raise CheckpointError(f"not a size: {size[:40]!r}")
    checkpoint = Checkpoint(CityId(city), fleet, int(size), _decoded(root, HASH_BYTES))
    if checkpoint.text != f"{text}\n" or checkpoint.size > SIZE_MAX:
        raise CheckpointError("a size or root in another spelling than ours")
    lines = signed.removesuffix("\n").split("\n")
    if len(lines) > SIGNATURES_MAX:
        raise CheckpointError(f"more than {SIGNATURES_MAX} signatures")
    return Note(checkpoint, tuple(_signature(line) for line in lines))


def _signature(line: str) -> tuple[str, bytes]:
    name, space, blob = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not name or "+" in name:
        raise CheckpointError(f"not a signature line: {line[:80]!r}")
    return name, _decoded(blob, None)


def _decoded(text: str, size: int | None) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CheckpointError(f"not base64: {text[:80]!r}") from error
    is_short = len(data) <= _KEY_ID_BYTES if size is None else len(data) != size
    if is_short or base64.b64encode(data).decode() != text:
        raise CheckpointError(f"base64 of the wrong length or spelling: {text[:80]!r}")
    return data


def _key_id(name: str, algorithm: int, raw: bytes) -> bytes:
    kind = _TYPES.get(algorithm, _OTHER_TYPE)
    return sha256(name.encode() + b"\n" + kind + raw).digest()[:_KEY_ID_BYTES]


def _verify(entry: KeyEntry, text: bytes, signature: bytes) -> None:
    try:
        if len(signature) != SIGNATURE_BYTES:
            raise ValueError("a signature of the wrong length")
        key = public_key(entry.algorithm, entry.public_key)
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, text)
        else:
            r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            key.verify(encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError) as error:
        raise CheckpointTrustError(f"the signature by {entry.kid} does not match") from error
