"""A process's keys as they lie in ``<state>/keys``: its own private key, the roots, the key list."""

from dataclasses import dataclass
from pathlib import Path

from agent.model.identity import CityId
from agent.wire.errors import KeyListError
from agent.wire.keyfile import Signer, read_signer
from agent.wire.roots import Roots, read_roots
from agent.wire.trust import KeyRing, load_key_list
from drivers.errors import TextFileError
from drivers.textfile import read_bytes, read_text

ROOTS_FILE, KEYS_FILE = "roots.toml", "keys.sealed"


@dataclass(frozen=True, slots=True)
class Trust:
    """Who we are and whom we believe."""

    signer: Signer
    ring: KeyRing


def read_trust(folder: Path, name: str, city: CityId, *, no_token: str = "") -> Trust:
    """Read ``<name>.pem``, ``roots.toml`` and ``keys.sealed``.

    Args:
        no_token: as in ``read_signer``.

    Raises:
        TrustError: a file is missing, readable by others, not signed as it must be, or of another city.
    """
    roots = read_roots_file(folder, city)
    ring = read_key_list(folder, roots)
    return Trust(read_signer(folder / f"{name}.pem", no_token=no_token), ring)


def read_roots_file(folder: Path, city: CityId) -> Roots:
    """The officers' keys the gateway was enrolled with.

    Raises:
        KeyListError: missing, malformed, or of another city.
    """
    try:
        roots = read_roots(read_text(folder / ROOTS_FILE))
    except TextFileError as error:
        raise KeyListError(f"{error}; enrol the gateway first") from error
    if roots.city != city:
        raise KeyListError(f"{folder}: keys of {roots.city}, but the site is in {city}")
    return roots


def read_key_list(folder: Path, roots: Roots) -> KeyRing:
    """The key list on disk.

    Raises:
        KeyListError: missing, or not signed as it must be.
    """
    try:
        return load_key_list(read_bytes(folder / KEYS_FILE), roots)
    except TextFileError as error:
        raise KeyListError(f"{error}; enrol the gateway first") from error
