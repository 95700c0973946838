"""The newest checkpoint of each fleet manager's log that this gateway has seen, one file each, and never an older one.

A manager that rewrites its history must contradict what it has signed for every gateway. A technician can carry the
file away and compare (``armoire-fleet audit verify --checkpoint FILE``); the heartbeat tells it too.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from agent.wire.checkpoint import NOTE_CHARACTERS_MAX, Checkpoint, open_checkpoint, parse_note
from agent.wire.durablefile import replace_durably
from agent.wire.errors import TrustError, WireError
from agent.wire.trust import KeyRing

LOGS_MAX = 8
"""A city has two managers; a stranger's names must not fill the disk."""
SUFFIX = ".note"

_log = logging.getLogger("armoire.courier")


class SeenCheckpoints:
    """What this gateway remembers.

    Args:
        folder: made when the first checkpoint comes. ring: returns the key ring in force.
    """

    def __init__(self, folder: Path, ring: Callable[[], KeyRing]) -> None:
        self._folder = folder
        self._ring = ring
        self._newest: dict[str, Checkpoint] = {}
        self._told: dict[str, str] = {}
        self._log_of: dict[str, str] = {}
        for path in sorted(folder.glob(f"*{SUFFIX}"))[:LOGS_MAX]:
            self._read(path)

    def newest(self, fleet: str) -> tuple[int, bytes]:
        """Size and root of the newest checkpoint seen of the log a manager told last; 0 and nothing if there is none."""
        held = self._newest.get(self._log_of.get(fleet, fleet))
        return (0, b"") if held is None else (held.size, held.root)

    def take(self, fleet: str, note: str) -> str:
        """Take in what a manager's state told; return why it was not believed, empty if it was or is nothing new.

        A larger log is believed without proof that it contains the smaller one; the proof is made from both files. Two
        managers on one store keep one log, under the name of the first.
        """
        if not note or self._told.get(fleet) == note or (fleet not in self._told and len(self._told) >= LOGS_MAX):
            return ""
        self._told[fleet] = note
        try:
            checkpoint = open_checkpoint(self._ring(), note)
        except (WireError, TrustError) as error:
            return error.reason
        log = self._log_of[fleet] = checkpoint.fleet
        held = self._newest.get(log)
        if held is None and len(self._newest) >= LOGS_MAX:
            return ""
        if held is not None and checkpoint.size < held.size:
            return "checkpoint-older"
        if held is not None and checkpoint.size == held.size:
            return "" if checkpoint.root == held.root else "checkpoint-contradicts"
        self._newest[log] = checkpoint
        self._write(log, note)
        return ""

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                note = file.read(4 * NOTE_CHARACTERS_MAX).decode()
            checkpoint = parse_note(note).checkpoint
        except (OSError, UnicodeDecodeError, WireError) as error:
            _log.warning("%s is no checkpoint and is begun anew: %s", path, error)
            return
        if path.name == checkpoint.fleet + SUFFIX:
            self._newest[checkpoint.fleet] = checkpoint

    def _write(self, fleet: str, note: str) -> None:
        """Whole or not at all, also when power fails."""
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            replace_durably(self._folder / f"{fleet}{SUFFIX}", note.encode())
        except OSError as error:
            _log.warning("the checkpoint is remembered in memory only: %s", error)
