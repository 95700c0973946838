"""A process's keys as they lie in ``<state>/keys``: its own private key, the roots, the key list."""

from dataclasses import dataclass
from pathlib import Path

from agent.model.identity import CityId
from agent.wire.errors import KeyListError
from agent.wire.keyfile import Signer, read_signer
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from drivers.errors import TextFileError
from drivers.textfile import read_bytes, read_text


@dataclass(frozen=True, slots=True)
class Trust:
    """Who we are and whom we believe."""

    signer: Signer
    ring: KeyRing


def read_trust(folder: Path, name: str, city: CityId) -> Trust:
    """Read ``<name>.pem``, ``roots.toml`` and ``keys.sealed``.

    Raises:
        TrustError: a file is missing, readable by others, not signed as it must be, or of another city.
    """
    try:
        roots_text = read_text(folder / "roots.toml")
        sealed = read_bytes(folder / "keys.sealed")
    except TextFileError as error:
        raise KeyListError(f"{error}; enrol the gateway first") from error
    roots = read_roots(roots_text)
    if roots.city != city:
        raise KeyListError(f"{folder}: keys of {roots.city}, but the site is in {city}")
    return Trust(read_signer(folder / f"{name}.pem"), load_key_list(sealed, roots))
