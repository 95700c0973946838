"""The desired state in force, on disk: whole or not at all, also when power fails."""

from pathlib import Path

from agent.wire.durablefile import replace_durably
from agent.wire.envelope import ENVELOPE_BYTES_MAX


def read_sealed(path: Path) -> bytes:
    """The envelope as it was taken; empty if there never was one.

    Raises:
        OSError: the disk does not give it.
    """
    try:
        with path.open("rb") as file:
            return file.read(ENVELOPE_BYTES_MAX + 1)
    except FileNotFoundError:
        return b""


def write_sealed(path: Path, sealed: bytes) -> None:
    """Replace it; on return the new one is on disk, name and all.

    Raises:
        OSError: it may be the old or the new one; never a part of either.
    """
    replace_durably(path, sealed)
