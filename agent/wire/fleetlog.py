"""The entries of a fleet manager's log, and the files that prove something of it to a stranger. Pure.

A proof file is text: a first line, ``name value`` lines, an empty line, and one or two signed checkpoints.

Source   docs/wire.md 11; C2SP tlog-proof for the idea.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated

from msgspec import Meta, Struct

from agent.model.identity import GatewayId
from agent.wire import merkle, topics
from agent.wire.checkpoint import NOTE_CHARACTERS_MAX, Checkpoint, CheckpointError, open_checkpoint
from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.errors import WireError
from agent.wire.messages import SCHEMA, U32, U63, Hash, Id, Milliseconds, decode, encode
from agent.wire.sealing import open_batch, open_result
from agent.wire.trust import KeyRing

LINK, RESULT, KEYS, DESIRED = "link", "result", "keys", "desired"
ASKED, APPROVED, ISSUED = "command.asked", "command.approved", "command.issued"
RECORD_HEAD = "armoire log proof 1"
GROWTH_HEAD = "armoire log consistency 1"
PROOF_CHARACTERS_MAX = 2 * ENVELOPE_BYTES_MAX
ENTRY_BYTES_MAX = 600


class LogProofError(WireError):
    """A proof that is none, or of something else. What it should have proved is as unknown as before."""

    reason = "log-proof"


class LogEntry(Struct, array_like=True, frozen=True):
    """One line of the log: that something was accepted or issued, not what it said.

    Args:
        kind: ``link``, ``result``, ``command.asked``, ``command.approved``, ``command.issued``, ``keys`` or ``desired``.
        t_ms: Unix time by the manager's clock.
        name: the stream of a link; a command's id; empty for a key list.
        number: of a link, its ``seq``; of a command, the issuer's counter; of a key list, its version; of a desired
            state, its generation.
        who: the key that signed, or the person who asked or approved.
        digest: SHA-256 of the envelope, the sealed set or the sealed list; for ``command.asked`` of MessagePack
            ``[gateway, equipment, verb, args]``.
    """

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    kind: Id
    t_ms: Milliseconds
    gateway: Annotated[str, Meta(max_length=40)]
    name: Annotated[str, Meta(max_length=80)]
    epoch: U32
    number: U63
    who: Annotated[str, Meta(max_length=80)]
    digest: Hash


@dataclass(frozen=True, slots=True)
class RecordProof:
    """That one entry stands in the log behind a checkpoint.

    Args:
        entry: the exact bytes that were hashed. envelope: what it speaks of, empty if not included.
    """

    entry: bytes
    index: int
    hashes: tuple[bytes, ...]
    note: str
    envelope: bytes = b""

    @property
    def text(self) -> str:
        """The proof file."""
        lines = [RECORD_HEAD, f"entry {_encoded(self.entry)}", f"index {self.index}"]
        lines += [f"hash {_encoded(each)}" for each in self.hashes]
        lines += [f"envelope {_encoded(self.envelope)}"] if self.envelope else []
        return "\n".join([*lines, "", self.note])


@dataclass(frozen=True, slots=True)
class GrowthProof:
    """That the log behind the newer checkpoint begins with the log behind the older one."""

    hashes: tuple[bytes, ...]
    older: str
    newer: str

    @property
    def text(self) -> str:
        """The proof file."""
        return "\n".join([GROWTH_HEAD, *(f"hash {_encoded(each)}" for each in self.hashes), "", self.older, self.newer])


@dataclass(frozen=True, slots=True)
class ProvenRecord:
    """What a record proof has proved.

    Args:
        has_envelope: the envelope was in the file, is the one the entry names, and its signature is good.
    """

    entry: LogEntry
    index: int
    checkpoint: Checkpoint
    has_envelope: bool


def read_proof(text: str) -> RecordProof | GrowthProof:
    """Take a proof file apart; nothing in it is checked yet.

    Raises:
        LogProofError: not such a file, or in another spelling than ours.
    """
    if len(text) > PROOF_CHARACTERS_MAX:
        raise LogProofError(f"more than {PROOF_CHARACTERS_MAX} characters")
    body, gap, notes = text.partition("\n\n")
    head, *lines = body.split("\n")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(" ")
        fields.setdefault(name, []).append(value)
    if not gap or head not in (RECORD_HEAD, GROWTH_HEAD):
        raise LogProofError(f"the first line is neither {RECORD_HEAD!r} nor {GROWTH_HEAD!r}")
    hashes = tuple(_decoded(each) for each in fields.get("hash", ()))
    if len(hashes) > merkle.PROOF_HASHES_MAX or any(len(each) != merkle.HASH_BYTES for each in hashes):
        raise LogProofError(f"at most {merkle.PROOF_HASHES_MAX} hashes of {merkle.HASH_BYTES} bytes")
    proof: RecordProof | GrowthProof
    if head == GROWTH_HEAD:
        older, newer = _two_notes(notes)
        proof = GrowthProof(hashes, older, newer)
    else:
        index = _only(fields, "index")
        if not (index.isascii() and index.isdecimal()) or len(index) > 19:
            raise LogProofError(f"index: not a number: {index[:40]!r}")
        envelope = _decoded(_only(fields, "envelope")) if "envelope" in fields else b""
        proof = RecordProof(_decoded(_only(fields, "entry")), int(index), hashes, notes, envelope)
    if proof.text != text:
        raise LogProofError("lines out of order, unknown, or in another spelling than ours")
    return proof


def verify_record(proof: RecordProof, ring: KeyRing) -> ProvenRecord:
    """Check a record proof: signature of the checkpoint, way to its root, and the envelope if it is there.

    Raises:
        WireError, TrustError: it proves nothing; says why.
    """
    checkpoint = open_checkpoint(ring, proof.note)
    if len(proof.entry) > ENTRY_BYTES_MAX:
        raise LogProofError(f"an entry of more than {ENTRY_BYTES_MAX} bytes")
    leaf = merkle.leaf_hash(proof.entry)
    if not merkle.is_included(leaf, proof.index, checkpoint.size, proof.hashes, checkpoint.root):
        raise LogProofError(f"entry {proof.index} is not in the log of {checkpoint.size} entries behind the checkpoint")
    entry = decode(proof.entry, LogEntry)
    if proof.envelope:
        check_envelope(entry, proof.envelope, ring)
    return ProvenRecord(entry, proof.index, checkpoint, bool(proof.envelope))


def verify_growth(proof: GrowthProof, ring: KeyRing) -> tuple[Checkpoint, Checkpoint]:
    """Check a consistency proof; return the older and the newer checkpoint.

    Raises:
        WireError, TrustError: it proves nothing; says why.
    """
    older, newer = open_checkpoint(ring, proof.older), open_checkpoint(ring, proof.newer)
    if older.origin != newer.origin:
        raise LogProofError(f"{older.origin} and {newer.origin} are two logs")
    if not merkle.is_consistent(older.size, older.root, newer.size, newer.root, proof.hashes):
        raise LogProofError(f"the log of {newer.size} entries does not begin with the one of {older.size}")
    return older, newer


def check_envelope(entry: LogEntry, sealed: bytes, ring: KeyRing) -> None:
    """Check that an envelope is the one an entry names, and that its gateway signed it.

    Raises:
        WireError, TrustError: it is not.
    """
    if sha256(sealed).digest() != entry.digest:
        raise LogProofError("the envelope is not the one the entry names")
    if entry.kind == LINK and entry.name in topics.STREAMS:
        batch = open_batch(ring, sealed, topics.up(ring.city, GatewayId(entry.gateway), entry.name), None).batch
        if (batch.epoch, batch.seq) != (entry.epoch, entry.number):
            raise LogProofError(f"the envelope is record {batch.seq} of epoch {batch.epoch}, the entry says otherwise")
    elif entry.kind == RESULT:
        outcome, _ = open_result(ring, sealed, topics.up(ring.city, GatewayId(entry.gateway), "result"), None)
        if outcome.command_id != entry.name:
            raise LogProofError(f"the envelope is of command {outcome.command_id}, the entry of {entry.name}")


def link_entry(gateway: str, stream: str, epoch: int, seq: int, now_ms: int, digest: bytes) -> bytes:
    """The entry of an accepted link."""
    return encode(LogEntry(SCHEMA, LINK, now_ms, gateway, stream, epoch, seq, "", digest))


def other_entry(
    kind: str, now_ms: int, digest: bytes, *, gateway: str = "", name: str = "", number: int = 0, who: str = ""
) -> bytes:
    """Any other entry."""
    return encode(LogEntry(SCHEMA, kind, now_ms, gateway, name[:80], 0, number, who[:80], digest))


def _two_notes(text: str) -> tuple[str, str]:
    """Each note has one empty line inside and one behind the first."""
    parts = text.split("\n\n")
    if len(parts) != 4:
        raise LogProofError("expected two checkpoints with an empty line between them")
    older, newer = f"{parts[0]}\n\n{parts[1]}\n", f"{parts[2]}\n\n{parts[3]}"
    if max(len(older), len(newer)) > NOTE_CHARACTERS_MAX:
        raise CheckpointError(f"a checkpoint of more than {NOTE_CHARACTERS_MAX} characters")
    return older, newer


def _only(fields: dict[str, list[str]], name: str) -> str:
    values: Sequence[str] = fields.get(name, ())
    if len(values) != 1:
        raise LogProofError(f"expected one line {name}, found {len(values)}")
    return values[0]


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise LogProofError(f"not base64: {text[:80]!r}") from error
