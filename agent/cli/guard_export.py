"""``armoire guard export``: the guard's sealed records as they are, in a file anybody can check."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, cast

from cyclopts import Parameter

from agent.cli import document
from agent.cli.ending import Exit, FailedError, UsageError
from agent.cli.guard_records import STREAM, GuardRecords
from agent.cli.options import Asking
from agent.cli.words import clean
from agent.ledger.linking import batch_of
from agent.wire.blackbox import Header, Writer
from agent.wire.errors import TrustError, WireError
from agent.wire.messages import SCHEMA, Batch
from agent.wire.verification import span_words, unvouched
from drivers.errors import TextFileError
from drivers.textfile import read_bytes

KEYS_FILE = Path("keys") / "keys.sealed"
EXPORT_BYTES_MAX = 2**30
"""A guard keeps some 64 MB; more than this is no guard's."""
NO_KEYS = "the key list is not in it; whoever checks it needs --keys"

_ASKING = Asking()
Switch = Annotated[bool, Parameter(negative="")]


def export(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    force: Switch = False,
    dry_run: Switch = False,
    asking: Asking = _ASKING,
) -> Exit:
    """Write the guard's sealed records to a file, as they are, with the key list to check them by.

    Asks the guard itself; with the guard down, its database is read and left as it is.

    Args:
        file: Where to; an existing file is left alone.
        force: Replace an existing file.
        dry_run: Read everything and say what would be written; write nothing.
    """
    if file.is_dir():
        raise UsageError(f"{clean(str(file))} is a folder", "nothing was written", "name a file in it")
    if file.exists() and not force and not dry_run:
        raise _exists(file)
    records = GuardRecords(asking.gateway())
    with _nowhere() if dry_run else _beside(file, force=force) as target:
        writer = _write(records, target)
    _say(file, writer, asking=asking, dry_run=dry_run)
    return Exit.DONE


def _write(records: GuardRecords, target: BinaryIO) -> Writer:
    """Write a whole file piece by piece."""
    writer: Writer | None = None
    try:
        for sealed in records.links():
            batch = batch_of(sealed)
            if writer is None:
                writer = Writer(_header(records, batch))
                target.write(writer.begin())
            target.write(writer.link(batch.epoch, batch.seq, sealed))
            if writer.bytes > EXPORT_BYTES_MAX:
                raise FailedError(f"There are more than {EXPORT_BYTES_MAX} bytes of records.")
    except WireError as error:
        raise FailedError(f"A record is damaged: {clean(str(error))}.", "nothing was written") from error
    if writer is None:
        raise FailedError("The guard has no records.", "nothing was written")
    target.write(writer.end())
    return writer


def _header(records: GuardRecords, batch: Batch) -> Header:
    path = records.folder / KEYS_FILE
    try:
        sealed = read_bytes(path)
        return Header(SCHEMA, unvouched(sealed).city, batch.gateway, STREAM, sealed)
    except (TextFileError, WireError, TrustError) as error:
        city = records.city()
        if not city:
            raise FailedError(
                f"The key list cannot be used: {clean(str(error))}.",
                "nothing was written",
                "start the guard, or use sudo",
            ) from error
        records.gateway.tell(f"{clean(str(error))}: {NO_KEYS}")
        return Header(SCHEMA, city, batch.gateway, STREAM, b"")


def _say(file: Path, writer: Writer, *, asking: Asking, dry_run: bool) -> None:
    header, name = writer.header, clean(str(file))
    if asking.json:
        spans: list[document.Json] = [
            {"epoch": each.epoch, "first": each.first, "last": each.last} for each in writer.spans
        ]
        facts = {"city": header.city, "gateway": header.gateway, "stream": header.stream}
        counted: dict[str, document.Json] = {
            "records": writer.records,
            "bytes": writer.bytes,
            "epochs": spans,
            "dry_run": dry_run,
        }
        print(document.dumps({"file": str(file), **facts, **counted}))
        return
    done = "would write" if dry_run else "wrote"
    print(f"{done} {name}: {writer.records} records of {clean(header.gateway)}, {writer.bytes} bytes.")
    for span in writer.spans:
        print(span_words(span))
    print("Nothing was written." if dry_run else f"Check it anywhere: armoire guard verify {name}")


def _exists(file: Path) -> UsageError:
    return UsageError(f"{clean(str(file))} exists", "nothing was written", "name another file, or say --force")


@contextmanager
def _nowhere() -> Iterator[BinaryIO]:
    with Path(os.devnull).open("wb") as target:
        yield target


@contextmanager
def _beside(file: Path, *, force: bool) -> Iterator[BinaryIO]:
    """A new file that gets its name only when it is whole and on disk."""
    try:
        number, name = tempfile.mkstemp(prefix=f".{file.name[:100]}.", dir=file.parent)
    except (OSError, ValueError) as error:
        raise UsageError(f"{clean(str(file))} cannot be written: {error}", "nothing was written") from error
    part = Path(name)
    try:
        with os.fdopen(number, "wb") as target:
            os.fchmod(target.fileno(), 0o640)
            yield cast("BinaryIO", target)
            target.flush()
            os.fsync(target.fileno())
        if force:
            part.replace(file)
        else:
            os.link(part, file)  # Unlike a rename, it never replaces what came there meanwhile.
    except FileExistsError as error:
        raise _exists(file) from error
    except OSError as error:
        raise FailedError(
            f"{clean(str(file))} was not written: {error.strerror}.", advice="make room and try again"
        ) from error
    finally:
        part.unlink(missing_ok=True)
