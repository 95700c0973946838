"""``armoire-fleet audit``: the manager's log, its checkpoints, and proofs anybody can check without the manager."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from agent.wire.checkpoint import Checkpoint, open_checkpoint, parse_note
from agent.wire.errors import MessageError, TrustError, WireError
from agent.wire.fleetlog import LINK, GrowthProof, LogEntry, LogProofError, RecordProof, read_proof, verify_growth
from agent.wire.fleetlog import verify_record as verify_record_proof
from agent.wire.messages import decode
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from fleet import audit, merkle_log
from fleet.audit import AuditError
from fleet.cli_document import print_json
from fleet.folder import KEYS_FILE, ROOTS_FILE
from fleet.page import clock

FILE_BYTES_MAX = 4_000_000
SHOWN_MAX = 10_000
FAILED = 4
PROGRESS_FROM = 20_000

Flag = Annotated[bool, Parameter(negative="")]
Json = Annotated[bool, Parameter(name="--json", negative="")]

app = App(
    name="audit",
    help="The log of everything the manager accepted and issued: look at it, prove from it, verify it.",
    help_epilogue="Example: armoire-fleet audit verify --dir fleet --keys trust --checkpoint control-room.note",
)


@app.command(help_epilogue="Example: armoire-fleet audit checkpoint --dir fleet > today.note")
def checkpoint(*, dir: Path, json: Json = False) -> int:  # noqa: A002 - the option is called --dir
    """Print the newest signed checkpoint. Keep it: the manager can never contradict it unnoticed.

    Parameters
    ----------
    dir
        Folder of the manager's database, which is only read.
    """
    with audit.opened(dir) as connection, _believing():
        note = audit.newest_note(connection)
        if json:
            return print_json(_checkpoint(parse_note(note).checkpoint) | {"note": note})
    sys.stdout.write(note)
    return 0


@app.command(help_epilogue="Example: armoire-fleet audit show --dir fleet --limit 20")
def show(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    first: Annotated[int | None, Parameter(name="--from")] = None,
    limit: int = 50,
    json: Json = False,
) -> int:
    """Entries of the log, newest last.

    Parameters
    ----------
    dir
        Folder of the manager's database, which is only read.
    first
        The first entry to show; the newest ones if not given.
    limit
        At most so many, 1..10000.
    """
    limit = min(max(1, limit), SHOWN_MAX)
    with audit.opened(dir) as connection:
        begin = max(0, merkle_log.log_size(connection) - limit) if first is None else max(0, first)
        for place, _, data in merkle_log.entries_from(connection, begin):
            if place >= begin + limit:
                break
            print(msgspec.json.encode(_entry(place, data)).decode() if json else _line(place, data))
    return 0


@app.command(
    help_epilogue="Example: armoire-fleet audit prove --dir fleet --record gw-darcy/safety/1764000000/17 > r17.proof"
)
def prove(
    *,
    dir: Path,  # noqa: A002 - the option is called --dir
    keys: Path | None = None,
    record: str = "",
    entry: int | None = None,
    since: Path | None = None,
    json: Json = False,
) -> int:
    """Print a proof: that a record stands in the log, or that the log has only grown since a checkpoint.

    Parameters
    ----------
    dir
        Folder of the manager's database, which is only read.
    keys
        Folder with roots.toml and keys.sealed; the same as --dir if not given.
    record
        A record as gateway/stream/epoch/number. The proof carries the record itself.
    entry
        An entry by its place in the log.
    since
        File of an older checkpoint.
    json
        The proof inside a document: "audit verify" reads the proof alone.
    """
    ring = _ring(keys or dir)
    if [bool(record), entry is not None, since is not None].count(True) != 1:
        raise AuditError("say one of --record, --entry and --since")
    with audit.opened(dir) as connection, _believing():
        if since is not None:
            proof: RecordProof | GrowthProof = audit.growth_proof(connection, _text(since), ring)
        else:
            place = entry if entry is not None else audit.place_of_record(connection, *_record(record))
            proof = audit.record_proof(connection, place, ring)
    if json:
        return print_json({"proof": proof.text})
    sys.stdout.write(proof.text)
    return 0


@app.command(help_epilogue="Example: armoire-fleet audit verify r17.proof --keys trust --checkpoint today.note --json")
def verify(
    file: Path | None = None,
    /,
    *,
    keys: Path | None = None,
    dir: Path | None = None,  # noqa: A002 - the option is called --dir
    record: str = "",
    checkpoint: Path | None = None,
    json: Json = False,
) -> int:
    """Verify a proof from a file alone, or a manager's whole log. Ends with 0 if everything is in order, with 4 if not.

    Parameters
    ----------
    file
        A proof as "audit prove" printed it. Needs nothing but the file and the keys.
    keys
        Folder with roots.toml and keys.sealed, from somebody you trust; the same as --dir if not given.
    dir
        Instead of a file: folder of a manager's database. Every entry is hashed, every envelope compared.
    record
        With --dir: only this record, as gateway/stream/epoch/number.
    checkpoint
        File of a checkpoint that somebody else kept: a gateway's file under state/checkpoints, or your own. With a
        proof it must be the one proved against; with --dir the log must begin with it.
    json
        is_good, what was found wrong, and what else is known, as one document. The exit codes stay.
    """
    if (file is None) == (dir is None):
        raise AuditError("name a proof file, or a manager's folder with --dir")
    folder = keys or dir
    if folder is None:
        raise AuditError("--keys names a folder with roots.toml and keys.sealed")
    ring = _ring(folder)
    note = "" if checkpoint is None else _text(checkpoint)
    try:
        if file is not None:
            return _tell(_verified(_text(file), ring, note), json=json)
        assert dir is not None
        with audit.opened(dir) as connection:
            if record:
                proof = audit.record_proof(connection, audit.place_of_record(connection, *_record(record)), ring)
                return _tell(_verified(proof.text, ring, note), json=json)
            with _progress(merkle_log.log_size(connection)) as progress:
                return _tell(_audited(audit.audit(connection, ring, note, progress)), json=json)
    except (WireError, TrustError) as error:
        return _tell(Finding([], [str(error)]), json=json)


@dataclass(frozen=True, slots=True)
class Finding:
    """How a verification ended.

    Args:
        told: what a person reads. wrong: in words; nothing if all is in order. known: what a program reads besides.
    """

    told: list[str]
    wrong: list[str] = field(default_factory=list)
    known: dict[str, object] = field(default_factory=dict)


def _verified(text: str, ring: KeyRing, note: str) -> Finding:
    proof = read_proof(text)
    kept = open_checkpoint(ring, note) if note else None
    if isinstance(proof, GrowthProof):
        older, newer = verify_growth(proof, ring)
        if kept is not None and kept not in (older, newer):
            raise LogProofError("the proof is about other checkpoints than the one given")
        text = f"good: {newer.origin} of {newer.size} entries begins with what it was at {older.size} entries."
        return Finding([text], known={"older": _checkpoint(older), "newer": _checkpoint(newer)})
    proven = verify_record_proof(proof, ring)
    if kept is not None and kept != proven.checkpoint:
        raise LogProofError(
            f"the proof leads to the checkpoint of {proven.checkpoint.size} entries, not to the one of {kept.size} given"
        )
    at = proven.checkpoint
    told = [
        f"good: entry {_line(proven.index, proof.entry)}",
        f"stands in {at.origin} of {at.size} entries, root {at.root.hex()}",
    ]
    if proven.has_envelope:
        what = "its gateway signed it" if proven.entry.kind == LINK else "its cabinet signed it"
        told.append(f"The envelope is in the proof, is the one the entry names, and {what}.")
    entry = _entry(proven.index, proof.entry)
    return Finding(told, known={"entry": entry, "checkpoint": _checkpoint(at), "has_envelope": proven.has_envelope})


def _audited(audited: audit.Audited) -> Finding:
    newest: Checkpoint | None = audited.newest
    counts = {name: getattr(audited, name) for name in ("entries", "checkpoints", "envelopes")}
    told = [
        f"{audited.entries} entries, {audited.checkpoints} checkpoints and {audited.envelopes} envelopes compared"
        + (f"; newest checkpoint: {newest.size} entries, root {newest.root.hex()}" if newest else "")
    ]
    if not audited.findings:
        told.append("whole: everything is as it was signed for.")
    return Finding(told, audited.findings, counts | {"newest": _checkpoint(newest) if newest else None})


def _tell(found: Finding, *, json: bool) -> int:
    if json:
        print_json({"is_good": not found.wrong, "wrong": found.wrong, **found.known})
    for text in () if json else [*found.told, *(f"BAD: {each}" for each in found.wrong)]:
        print(text)
    return FAILED if found.wrong else 0


def _checkpoint(checkpoint: Checkpoint) -> dict[str, object]:
    return {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}


@contextmanager
def _believing() -> Iterator[None]:
    try:
        yield
    except (WireError, TrustError) as error:
        raise AuditError(str(error)) from error


@contextmanager
def _progress(total: int) -> Iterator[audit.Progress | None]:
    """A bar on standard error for whoever waits there for a long log."""
    if total < PROGRESS_FROM or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=total)
        yield lambda done, _: bar.update(task, completed=done)


def _record(text: str) -> tuple[str, str, int, int]:
    match text.split("/"):
        case [gateway, stream, epoch, seq] if epoch.isdecimal() and seq.isdecimal() and len(epoch + seq) < 30:
            return gateway, stream, int(epoch), int(seq)
    raise AuditError(f"--record: expected gateway/stream/epoch/number, found {text[:120]!r}")


def _ring(folder: Path) -> KeyRing:
    try:
        return load_key_list(_bytes(folder / KEYS_FILE), read_roots(_text(folder / ROOTS_FILE)))
    except (WireError, TrustError) as error:
        raise AuditError(f"{folder}: the keys cannot be used: {error}") from error


def _text(path: Path) -> str:
    try:
        return _bytes(path).decode()
    except UnicodeDecodeError as error:
        raise AuditError(f"{path}: not a text file") from error


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        raise AuditError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(data) > FILE_BYTES_MAX:
        raise AuditError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    return data


def _line(place: int, data: bytes) -> str:
    try:
        entry = decode(data, LogEntry)
    except MessageError as error:
        return f"{place}: cannot be read: {error}"
    what = f"{entry.name} {entry.epoch}/{entry.number}" if entry.kind == LINK else f"{entry.name} {entry.number or ''}"
    words = (str(place), clock(entry.t_ms), entry.kind, entry.gateway, what, entry.who, entry.digest.hex()[:16])
    return "  ".join("".join(c if c.isprintable() else "?" for c in word) for word in words if word.strip())


def _entry(place: int, data: bytes) -> dict[str, object]:
    entry = decode(data, LogEntry)
    return msgspec.structs.asdict(entry) | {"digest": entry.digest.hex(), "place": place}
