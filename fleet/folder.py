"""What the manager holds on disk: whom it believes, its own key, the operators' keys, the database.

    roots.toml  keys.sealed       the officers' keys, and the key list they signed
    fleet/director.pem            signs acks and the fleet's state
    operators/<name>.pem          sign commands; the manager holds them for its operators

The operators' keys lie here only until operators carry their own (security keys): whoever owns this machine can sign
what they can, and no more. What that is stays bounded by the key list and by every cabinet's kernel.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.wire.errors import TrustError
from agent.wire.keyfile import Signer, read_signer
from agent.wire.roots import Roots, read_roots
from agent.wire.trust import KeyEntry, KeyRing, load_key_list
from fleet.errors import FolderError

ROOTS_FILE = "roots.toml"
KEYS_FILE = "keys.sealed"
DIRECTOR_FILE = "fleet/director.pem"
OPERATORS_FOLDER = "operators"
DATABASE_FILE = "fleet.db"
LOCK_FILE = "fleet.lock"
FILE_BYTES_MAX = 4_000_000


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who may command."""

    name: str
    signer: Signer


@dataclass(frozen=True, slots=True)
class Trust:
    """Everything the manager signs and verifies with."""

    roots: Roots
    ring: KeyRing
    director: Signer
    operators: dict[str, Operator] = field(default_factory=dict)


def read_trust(folder: Path) -> Trust:
    """Read keys and key list.

    Raises:
        FolderError: something is missing, malformed, or readable by others.
    """
    try:
        roots = read_roots(_read(folder / ROOTS_FILE).decode())
        ring = load_key_list(_read(folder / KEYS_FILE), roots)
        director = read_signer(folder / DIRECTOR_FILE)
        entry = _entry(ring, director)
        if not {"ack", "state"} <= set(entry.capabilities):
            raise FolderError(f"{folder / DIRECTOR_FILE}: the key list does not let {entry.kid} sign acks and state")
        operators = {}
        for path in sorted((folder / OPERATORS_FOLDER).glob("*.pem")):
            signer = read_signer(path)
            operators[path.stem] = Operator(_entry(ring, signer).subject, signer)
    except (TrustError, UnicodeDecodeError) as error:
        raise FolderError(f"{folder}: {error}") from error
    return Trust(roots, ring, director, operators)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Keep any second manager off this folder: two would give out the same numbers. The lock dies with the process.

    Raises:
        FolderError: one runs already, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (folder / LOCK_FILE).open("w")
    except OSError as error:
        raise FolderError(f"{folder}: {error.strerror or error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FolderError(f"{folder}: a manager runs on this folder already: stop it, or use another") from error
        yield


def newer_ring(folder: Path, trust: Trust, ring: KeyRing) -> KeyRing | None:
    """The key list on disk if it differs from the one in force, None if it does not.

    Raises:
        FolderError: there is one, and it is not to be believed.
    """
    try:
        sealed = _read(folder / KEYS_FILE)
        return None if sealed == ring.sealed else ring.replaced_by(sealed, trust.roots)
    except TrustError as error:
        raise FolderError(f"{folder / KEYS_FILE}: {error}") from error


def _entry(ring: KeyRing, signer: Signer) -> KeyEntry:
    for entry in ring.entries():
        if entry.kid.encode() == signer.kid and entry.public_key == signer.public_key:
            return entry
    raise FolderError(f"key {signer.kid.decode()!r} is not in key list {ring.version}: nobody would believe it")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise FolderError(f"{path}: {error.strerror}") from error
    if len(data) > FILE_BYTES_MAX:
        raise FolderError(f"{path}: larger than {FILE_BYTES_MAX} bytes")
    return data
