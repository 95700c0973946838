"""Whether the fleet's log has records of an exported file: proofs from ``armoire-fleet audit prove``, checked offline."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.cli import document
from agent.cli.ending import UsageError
from agent.cli.words import clean, sentence
from agent.wire.checkpoint import open_checkpoint
from agent.wire.errors import TrustError, WireError
from agent.wire.fleetlog import LINK, GrowthProof, LogProofError, ProvenRecord, read_proof, verify_record
from agent.wire.sealing import OpenedBatch
from agent.wire.trust import KeyRing
from drivers.errors import TextFileError
from drivers.textfile import read_text


@dataclass(slots=True)
class _Proof:
    """One proof file: what it proves, or why it proves nothing."""

    path: Path
    proven: ProvenRecord | None
    bad: str = ""
    is_seen: bool = False


class LogProofs:
    """Some proofs, and which of their records were met.

    Args:
        ring: the city's keys; None only without proofs. kept: file of a checkpoint every proof must lead to.

    Raises:
        UsageError: a file cannot be read.
    """

    def __init__(self, ring: KeyRing | None, paths: Sequence[Path], kept: Path | None) -> None:
        self._proofs: list[_Proof] = []
        self._by_digest: dict[bytes, list[_Proof]] = {}
        for path in paths:
            assert ring is not None
            proof = self._read(ring, path, kept)
            self._proofs.append(proof)
            if proof.proven is not None:
                self._by_digest.setdefault(proof.proven.entry.digest, []).append(proof)

    def see(self, opened: OpenedBatch) -> None:
        """Take in a verified record of the file."""
        for proof in self._by_digest.get(opened.digest, ()):
            proof.is_seen = True

    @property
    def are_good(self) -> bool:
        """True if every proof is good and its record was met."""
        return all(proof.is_seen for proof in self._proofs)

    def lines(self) -> Iterator[str]:
        """What was proved, for a person."""
        for proof in self._proofs:
            name, proven = clean(str(proof.path)), proof.proven
            if proven is None:
                yield f"{name}: BAD: {sentence(proof.bad)}"
                continue
            entry = proven.entry
            record = f"record {entry.number} of epoch {entry.epoch} of {clean(entry.name)}"
            if not proof.is_seen:
                yield f"{name}: BAD: {record} of {clean(entry.gateway)} is not among the verified records of this file."
                continue
            log = f"{clean(proven.checkpoint.origin)} of {proven.checkpoint.size} entries"
            yield f"{name}: {record} is entry {proven.index} of {log}."

    def document(self) -> dict[str, document.Json]:
        """The same for scripts; nothing without proofs."""
        if not self._proofs:
            return {}
        return {
            "proofs": [
                {
                    "file": str(each.path),
                    "good": each.is_seen,
                    "entry": each.proven.index if each.proven else None,
                    "bad": each.bad,
                }
                for each in self._proofs
            ]
        }

    def _read(self, ring: KeyRing, path: Path, kept: Path | None) -> _Proof:
        try:
            text, note = read_text(path), "" if kept is None else read_text(kept)
        except TextFileError as error:
            raise UsageError(clean(str(error)), advice="name a file of `armoire-fleet audit prove`") from error
        try:
            proof = read_proof(text)
            if isinstance(proof, GrowthProof):
                raise LogProofError("the proof is about the log's growth, not about a record")
            proven = verify_record(proof, ring)
            if note and open_checkpoint(ring, note) != proven.checkpoint:
                raise LogProofError("the proof leads to another checkpoint than the one given")
            if proven.entry.kind != LINK:
                raise LogProofError(f"the proof is about a {proven.entry.kind}, not about a record of a stream")
        except (WireError, TrustError) as error:
            return _Proof(path, None, str(error))
        return _Proof(path, proven)
