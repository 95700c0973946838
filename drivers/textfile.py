"""A text file that a person wrote for us: a site file, a register map, a list of roots.

A mistyped path may lead to a pipe, which waits for ever, to a device, which may act on being opened, or to a disk image.
None of these is opened, or read further than any file of ours is long.
"""

import os
import stat
from pathlib import Path

from drivers.errors import TextFileError

TEXT_BYTES_MAX = 1_048_576
"""Twenty times the largest cabinet's site file."""
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def read_text(path: Path) -> str:
    """Read a whole file of UTF-8 text, at most TEXT_BYTES_MAX long.

    Raises:
        TextFileError: there is no such file, or it is something else; says what was expected and what was found.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise TextFileError(f"{path}: expected UTF-8 text, found something else at byte {error.start}") from error


def read_bytes(path: Path) -> bytes:
    """Read a whole regular file, at most TEXT_BYTES_MAX long.

    Raises:
        TextFileError: as ``read_text``.
    """
    try:
        _expect_regular(path, path.stat())  # Before it is opened: some devices act on that.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            _expect_regular(path, os.fstat(file.fileno()))  # It may have been exchanged meanwhile.
            content = file.read(TEXT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # A ValueError is a path with a null byte in it.
        reason = error.strerror if isinstance(error, OSError) else error
        raise TextFileError(f"{path}: expected a file, but it cannot be read: {reason}") from error
    if len(content) > TEXT_BYTES_MAX:
        raise TextFileError(f"{path}: expected at most {TEXT_BYTES_MAX} bytes, found more")
    return content


def _expect_regular(path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "something else")
        raise TextFileError(f"{path}: expected a file, found {kind}")
