"""``armoire-fleet audit``: the manager's log, its checkpoints, and proofs anybody can check without the manager."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter

from agent.wire.checkpoint import Checkpoint, open_checkpoint
from agent.wire.errors import MessageError, TrustError, WireError
from agent.wire.fleetlog import LINK, GrowthProof, LogEntry, LogProofError, RecordProof, read_proof, verify_growth
from agent.wire.fleetlog import verify_record as verify_record_proof
from agent.wire.messages import decode
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from fleet import audit, merkle_log
from fleet.audit import AuditError
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
def checkpoint(*, dir: Path) -> int:  # noqa: A002 - the option is called --dir
    """Print the newest signed checkpoint. Keep it: the manager can never contradict it unnoticed.

    Parameters
    ----------
    dir
        Folder of the manager's database, which is only read.
    """
    with audit.opened(dir) as connection:
        sys.stdout.write(audit.newest_note(connection))
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
            print(_json(place, data) if json else _line(place, data))
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
    sys.stdout.write(proof.text)
    return 0


@app.command(help_epilogue="Example: armoire-fleet audit verify r17.proof --keys trust --checkpoint today.note")
def verify(
    file: Path | None = None,
    /,
    *,
    keys: Path | None = None,
    dir: Path | None = None,  # noqa: A002 - the option is called --dir
    record: str = "",
    checkpoint: Path | None = None,
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
            return _verify_proof(_text(file), ring, note)
        assert dir is not None
        with audit.opened(dir) as connection:
            if record:
                proof = audit.record_proof(connection, audit.place_of_record(connection, *_record(record)), ring)
                return _verify_proof(proof.text, ring, note)
            with _progress(merkle_log.log_size(connection)) as progress:
                return _tell(audit.audit(connection, ring, note, progress))
    except (WireError, TrustError) as error:
        return _bad(str(error))


def _verify_proof(text: str, ring: KeyRing, note: str) -> int:
    proof = read_proof(text)
    kept = open_checkpoint(ring, note) if note else None
    if isinstance(proof, GrowthProof):
        older, newer = verify_growth(proof, ring)
        if kept is not None and kept not in (older, newer):
            raise LogProofError("the proof is about other checkpoints than the one given")
        print(f"good: {newer.origin} of {newer.size} entries begins with what it was at {older.size} entries.")
        return 0
    proven = verify_record_proof(proof, ring)
    if kept is not None and kept != proven.checkpoint:
        raise LogProofError(
            f"the proof leads to the checkpoint of {proven.checkpoint.size} entries, not to the one of {kept.size} given"
        )
    print(f"good: entry {_line(proven.index, proof.entry)}")
    print(
        f"stands in {proven.checkpoint.origin} of {proven.checkpoint.size} entries, root {proven.checkpoint.root.hex()}"
    )
    if proven.has_envelope:
        what = "its gateway signed it" if proven.entry.kind == LINK else "its cabinet signed it"
        print(f"The envelope is in the proof, is the one the entry names, and {what}.")
    return 0


def _tell(audited: audit.Audited) -> int:
    newest: Checkpoint | None = audited.newest
    print(
        f"{audited.entries} entries, {audited.checkpoints} checkpoints and {audited.envelopes} envelopes compared"
        + (f"; newest checkpoint: {newest.size} entries, root {newest.root.hex()}" if newest else "")
    )
    for finding in audited.findings:
        print(f"BAD: {finding}")
    if audited.findings:
        return FAILED
    print("whole: everything is as it was signed for.")
    return 0


def _bad(text: str) -> int:
    print(f"BAD: {text}")
    return FAILED


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


def _json(place: int, data: bytes) -> str:
    entry = decode(data, LogEntry)
    fields = msgspec.structs.asdict(entry) | {"digest": entry.digest.hex(), "place": place}
    return msgspec.json.encode(fields).decode()
