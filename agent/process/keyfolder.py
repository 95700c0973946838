"""The key list in a folder that several write to: agent, guard and `armoire renew`. Its version only rises there.

Whoever replaces it holds the folder's lock from the reading of what is there to the replacing, so that nobody's newer
list is overwritten in between.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.process.trustfiles import KEYS_FILE, read_key_list, read_roots_file
from agent.wire.durablefile import replace_durably
from agent.wire.errors import KeyListError
from agent.wire.trust import KeyRing
from drivers.errors import TextFileError
from drivers.textfile import read_bytes

LOCK_TRIES, LOCK_PAUSE_S = 20, 0.05
"""Held for some milliseconds on a good disk. Whoever holds it for ever must not hold up the guard's disk thread."""


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only one who replaces files of this folder.

    Raises:
        OSError: EBUSY, another has been at it for a second; or the folder cannot be opened.
    """
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for _ in range(LOCK_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(LOCK_PAUSE_S)
        else:
            raise OSError(errno.EBUSY, "another process is replacing the key list", str(folder))
        yield
    finally:
        os.close(lock)


def newest_in(folder: Path, ring: KeyRing) -> KeyRing:
    """The list another has put there, or the one in force if it is the one there.

    Raises:
        KeyListError: what is there is older, or not to be believed.
    """
    try:
        found = read_bytes(folder / KEYS_FILE)
    except TextFileError as error:
        raise KeyListError(str(error)) from error
    return ring if found == ring.sealed else ring.replaced_by(found, read_roots_file(folder, ring.city))


def store(folder: Path, ring: KeyRing, sealed: bytes) -> tuple[KeyRing, str]:
    """Put a newer list on disk.

    Returns:
        The newest there is, and why it is not this one, empty if it is.

    Raises:
        TrustError: what is there is not to be believed. OSError: not written; what is there was there before.
    """
    with alone_in(folder):
        roots = read_roots_file(folder, ring.city)
        try:
            held = read_key_list(folder, roots)
        except KeyListError:
            held = ring  # Damaged since our start: what we believe is the better word.
        if held.version > ring.version:
            ring = ring.replaced_by(held.sealed, roots)
        try:
            newer = ring.replaced_by(sealed, roots)
        except KeyListError as error:
            return ring, str(error)
        if newer.sealed != held.sealed:
            replace_durably(folder / KEYS_FILE, sealed)
        return newer, ""
