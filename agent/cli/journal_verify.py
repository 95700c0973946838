"""``armoire journal verify`` and ``armoire guard verify``: check an exported file, on any machine, without a cabinet."""

import os
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent.cli import document
from agent.cli.ending import Exit, UsageError
from agent.cli.journal_file import progress
from agent.cli.journal_proof import LogProofs
from agent.cli.options import Json
from agent.cli.words import clean, moment, sentence
from agent.wire.errors import TrustError, WireError
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from agent.wire.verification import Examined, ExaminedFile, Finding, span_words, verify_file
from drivers.errors import TextFileError
from drivers.textfile import read_bytes, read_text

KEYS_FILE, ROOTS_FILE = "keys.sealed", "roots.toml"
_PIN = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})")


def verify(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    keys: Annotated[Path | None, Parameter(show_default=False)] = None,
    root: str = "",
    proof: Annotated[list[Path] | None, Parameter(negative="", show_default=False)] = None,
    checkpoint: Annotated[Path | None, Parameter(show_default=False)] = None,
    json: Json = False,
) -> Exit:
    """Check an exported file offline: signatures, chain, gaps, epochs and its end.

    Names the first bad record and what was verified before it. Ends with 0 if everything is in order, with 4 if not.

    Args:
        file: As `armoire journal export` or `armoire guard export` wrote it.
        keys: The city's key list from somebody you trust: keys.sealed, or a folder with it and roots.toml. Without it
            the keys inside the file are used: that shows what was damaged, not what was forged together with its keys.
        root: Who may sign key lists: a roots.toml, or the SHA-256 of the one beside the key list. The roots.toml
            beside the key list is believed if this is not given.
        proof: A proof from `armoire-fleet audit prove --record`, as often as wanted: the record must be in this file.
        checkpoint: The fleet's checkpoint the proofs must lead to, as this gateway or somebody else kept it.
        json: Print one JSON document and nothing else on standard output.
    """
    if keys is None and (root or proof or checkpoint):
        raise UsageError("roots, proofs and checkpoints need keys", advice="name the city's key list with --keys")
    ring, roots = (None, None) if keys is None else _ring(keys, root)
    proofs = LogProofs(ring, proof or [], checkpoint)
    try:
        with file.open("rb") as source, progress("checking", os.fstat(source.fileno()).st_size) as told:
            examined = verify_file(source, ring, told, proofs.see)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{clean(str(file))} cannot be read: {why}", advice="name an exported file") from error
    if json:
        print(document.dumps(_document(file, keys, examined, proofs)))
    else:
        for line in (*_lines(file, roots, examined), *proofs.lines()):
            print(line)
    return Exit.DONE if examined.finding is None and proofs.are_good else Exit.FAILED


def _ring(keys: Path, root: str) -> tuple[KeyRing, Path]:
    """The keys to believe, and the file that vouches for them.

    Raises:
        UsageError: the officers' keys do not vouch for them.
    """
    sealed = keys / KEYS_FILE if keys.is_dir() else keys
    pin = _PIN.fullmatch(root.strip())
    roots = sealed.with_name(ROOTS_FILE) if pin or not root else Path(root)
    try:
        text = read_text(roots)
        if pin and sha256(text.encode()).hexdigest() != pin[1].lower():
            raise UsageError(
                f"{clean(str(roots))} is not the one with the SHA-256 you named",
                "nothing was checked",
                f"compare: sha256sum {clean(str(roots))}",
            )
        return load_key_list(read_bytes(sealed), read_roots(text)), roots
    except (TextFileError, TrustError, WireError) as error:
        raise UsageError(
            f"the keys cannot be used: {clean(str(error))}",
            advice=f"--keys names {KEYS_FILE} or its folder, --root the city's {ROOTS_FILE} if it is not beside it",
        ) from error


def _lines(file: Path, roots: Path | None, examined: ExaminedFile) -> Iterator[str]:
    name, finding = clean(str(file)), examined.finding
    records, events = sum(part.records for part in examined.parts), sum(part.events for part in examined.parts)
    if finding is None:
        yield f"{name}: whole. {records} records with {events} events verified."
    else:
        stream = _stream(examined)
        yield f"{name}: BAD at {place_words(finding)}{stream}, byte {finding.offset}: {clean(finding.kind)}."
        yield f"expected: {sentence(finding.expected)}"
        yield f"found: {sentence(finding.found)}"
        before = f"{records} records before it are verified" if records else "nothing before it"
        yield f"{before}; nothing behind it was looked at."
    for part in examined.parts:
        yield from _part_lines(part)
    if records:
        if roots is None:
            yield "The keys are the file's own word: compare the fingerprint, or check again with --keys FOLDER."
        else:
            yield f"The keys are vouched for by the officers in {clean(str(roots))}."


def _part_lines(part: Examined) -> Iterator[str]:
    header = part.header
    if header is None:
        return
    if not part.records:
        if part.finding is None:
            yield f"{clean(header.stream)}: no records"
        return
    yield f"{clean(header.stream)} records of {clean(header.gateway)} in {clean(header.city)}"
    for span in part.spans.all:
        yield span_words(span)
    if (first := part.spans.all[0].first) > 1:
        yield f"Begins at record {first}: earlier ones were acknowledged by the fleet and let go, or left out."
    if part.gap_records:
        yield f"{part.gap_records} of them are signed gap records: the gateway let go of {part.shed} samples and events."
        for gap in part.gaps:
            yield f"  records {gap.first}..{gap.last}: {gap.count} let go, {clean(gap.reason)}"
        if part.gap_records > len(part.gaps):
            yield f"  and {part.gap_records - len(part.gaps)} more"
    yield f"from {moment(part.first_ms, 0)} to {moment(part.last_ms, 0)} by the gateway's clock"
    for kid, count in part.kids.items():
        yield f"{count} signed by {clean(kid)}, key SHA-256 {part.fingerprints[kid]}"


def _stream(examined: ExaminedFile) -> str:
    """Of which stream the finding is, where a file has several."""
    header = examined.parts[-1].header
    return f" ({clean(header.stream)})" if examined.journal is not None and header is not None else ""


def place_words(finding: Finding) -> str:
    """Where the first bad thing stands, for a person."""
    if finding.place == "header":
        return "the header"
    if finding.place == "end":
        return f"the end mark, after {finding.number - 1} records"
    due = f", due as record {finding.seq} of epoch {finding.epoch}" if finding.seq else ""
    return f"record {finding.number} of the file{due}"


def _document(file: Path, keys: Path | None, examined: ExaminedFile, proofs: LogProofs) -> document.Json:
    finding, parts = examined.finding, [_part_document(part) for part in examined.parts]
    bad: document.Json = None
    if finding is not None:
        bad = {name: getattr(finding, name) for name in Finding.__slots__}
    journal = examined.journal
    shown: dict[str, document.Json] = parts[0]
    if journal is not None:
        shown = {"city": journal.city, "gateway": journal.gateway, "streams": parts}
    return {
        "file": str(file),
        "whole": finding is None,
        **shown,
        "keys": None if keys is None else str(keys),
        "finding": bad,
        **proofs.document(),
    }


def _part_document(part: Examined) -> dict[str, document.Json]:
    header = part.header
    return {
        "city": header.city if header else None,
        "gateway": header.gateway if header else None,
        "stream": header.stream if header else None,
        "records": part.records,
        "events": part.events,
        "first_ms": part.first_ms or None,
        "last_ms": part.last_ms or None,
        "epochs": [
            {"epoch": each.epoch, "first": each.first, "last": each.last, "hash": each.hash.hex()}
            for each in part.spans.all
        ],
        "gap_records": part.gap_records,
        "shed": part.shed,
        "signed_by": {
            kid: {"records": count, "key_sha256": part.fingerprints[kid]} for kid, count in part.kids.items()
        },
    }
