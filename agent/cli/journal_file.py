"""A long file, written whole or not at all, and a bar for whoever waits for it."""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from agent.cli.ending import FailedError, UsageError
from agent.cli.words import clean

PROGRESS_FROM_BYTES = 4 * 2**20
"""About two seconds of checking signatures."""


class Nowhere(io.RawIOBase):
    """Takes everything and keeps nothing: for a rehearsal."""

    def write(self, data: object, /) -> int:
        """Take it."""
        return len(cast("bytes", data))

    def seek(self, at: int, whence: int = 0, /) -> int:
        """Go anywhere."""
        return at + whence

    def truncate(self, size: int | None = None, /) -> int:
        """Keep nothing."""
        return size or 0


def check_target(file: Path, *, force: bool, dry_run: bool) -> None:
    """Look before long work whether the file may be written.

    Raises:
        UsageError: it may not.
    """
    if file.is_dir():
        raise UsageError(f"{clean(str(file))} is a folder", "nothing was written", "name a file in it")
    if file.exists() and not force and not dry_run:
        raise _exists(file)


def _exists(file: Path) -> UsageError:
    return UsageError(f"{clean(str(file))} exists", "nothing was written", "name another file, or say --force")


@contextmanager
def opened(file: Path, *, force: bool, dry_run: bool) -> Iterator[BinaryIO]:
    """A new file that gets its name only when it is whole and on disk."""
    if dry_run:
        yield cast("BinaryIO", Nowhere())
        return
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


@contextmanager
def progress(what: str, size_bytes: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on standard error for whoever waits there for many bytes; takes how many more were done."""
    if size_bytes < PROGRESS_FROM_BYTES or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=size_bytes)
        yield lambda done: bar.advance(task, done)
