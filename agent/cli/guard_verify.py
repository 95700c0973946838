"""``armoire guard verify``: check an exported black box, on any machine, without a cabinet."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from agent.cli import document
from agent.cli.ending import Exit, UsageError
from agent.cli.options import Json
from agent.cli.words import clean, moment, sentence
from agent.wire.errors import TrustError
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from agent.wire.verification import Examined, Finding, span_words, verify
from drivers.errors import TextFileError
from drivers.textfile import read_bytes, read_text

PROGRESS_FROM_BYTES = 4 * 2**20
"""About two seconds of checking signatures."""


def verify_file(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    keys: Annotated[Path | None, Parameter(show_default=False)] = None,
    json: Json = False,
) -> Exit:
    """Check an exported black box offline: signatures, chain, gaps, epochs and its end.

    Names the first bad record and what was verified before it. Ends with 0 if everything is in order, with 4 if not.

    Args:
        file: As `armoire guard export` wrote it.
        keys: Folder with the city's roots.toml and keys.sealed, from somebody you trust. Without it the keys inside
            the file are used: that shows what was damaged, not what was forged together with its keys.
        json: Print one JSON document and nothing else on standard output.
    """
    ring = None if keys is None else _ring(keys)
    try:
        with file.open("rb") as source, _progress(os.fstat(source.fileno()).st_size) as progress:
            examined = verify(source, ring, progress)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"{clean(str(file))} cannot be read: {why}", advice="name an exported file") from error
    if json:
        print(document.dumps(_document(file, keys, examined)))
    else:
        for line in _lines(file, keys, examined):
            print(line)
    return Exit.DONE if examined.finding is None else Exit.FAILED


def _ring(folder: Path) -> KeyRing:
    try:
        return load_key_list(read_bytes(folder / "keys.sealed"), read_roots(read_text(folder / "roots.toml")))
    except (TextFileError, TrustError) as error:
        raise UsageError(
            f"the keys cannot be used: {clean(str(error))}",
            advice="--keys names a folder with roots.toml and keys.sealed",
        ) from error


@contextmanager
def _progress(size_bytes: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error for whoever waits there for a long file."""
    if size_bytes < PROGRESS_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking", total=size_bytes)
        yield lambda read: bar.advance(task, read)


def _lines(file: Path, keys: Path | None, examined: Examined) -> Iterator[str]:
    name, finding, header = clean(str(file)), examined.finding, examined.header
    if finding is None:
        yield f"{name}: whole. {examined.records} records with {examined.events} events verified."
    else:
        yield f"{name}: BAD at {place_words(finding)}, byte {finding.offset}: {clean(finding.kind)}."
        yield f"expected: {sentence(finding.expected)}"
        yield f"found: {sentence(finding.found)}"
        before = f"{examined.records} records before it are verified" if examined.records else "nothing before it"
        yield f"{before}; nothing behind it was looked at."
    if header is not None and examined.records:
        yield f"{clean(header.stream)} records of {clean(header.gateway)} in {clean(header.city)}"
        for span in examined.spans.all:
            yield span_words(span)
        if (first := examined.spans.all[0].first) > 1:
            yield f"Begins at record {first}: earlier ones were acknowledged by the fleet and let go, or left out."
        yield f"from {moment(examined.first_ms, 0)} to {moment(examined.last_ms, 0)} by the gateway's clock"
        for kid, count in examined.kids.items():
            yield f"{count} signed by {clean(kid)}, key SHA-256 {examined.fingerprints[kid]}"
        if keys is None:
            yield "The keys are the file's own word: compare the fingerprint, or check again with --keys FOLDER."
        else:
            yield f"The keys are vouched for by the roots in {clean(str(keys))}."


def place_words(finding: Finding) -> str:
    """Where the first bad thing stands, for a person."""
    if finding.place == "header":
        return "the header"
    if finding.place == "end":
        return f"the end mark, after {finding.number - 1} records"
    due = f", due as record {finding.seq} of epoch {finding.epoch}" if finding.seq else ""
    return f"record {finding.number} of the file{due}"


def _document(file: Path, keys: Path | None, examined: Examined) -> document.Json:
    header, finding = examined.header, examined.finding
    bad: document.Json = None
    if finding is not None:
        bad = {name: getattr(finding, name) for name in Finding.__slots__}
    return {
        "file": str(file),
        "whole": finding is None,
        "city": header.city if header else None,
        "gateway": header.gateway if header else None,
        "stream": header.stream if header else None,
        "records": examined.records,
        "events": examined.events,
        "first_ms": examined.first_ms or None,
        "last_ms": examined.last_ms or None,
        "epochs": [
            {"epoch": each.epoch, "first": each.first, "last": each.last, "hash": each.hash.hex()}
            for each in examined.spans.all
        ],
        "signed_by": {
            kid: {"records": count, "key_sha256": examined.fingerprints[kid]} for kid, count in examined.kids.items()
        },
        "keys": None if keys is None else str(keys),
        "finding": bad,
    }
