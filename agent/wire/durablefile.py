"""A small file put in another's place: whole or not at all, and on disk, name and all, when that is said.

For what must survive a power cut in the middle: key lists, documents in force, checkpoints, authorities' files.
"""

import os
import threading
from pathlib import Path


def replace_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put a file in another's place; may be called by several threads and processes, and the last one wins.

    Args:
        mode: the new file's permissions.

    Raises:
        OSError: the old one is as it was, or, if only the folder could not be synced, the new one is in place and may
            be gone after a power cut; never a part of either.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    try:
        part.unlink(missing_ok=True)  # Left by a power cut under the same number; its permissions are not ours.
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
