"""The officers of a demonstration city: they sign the next key list, with somebody taken out or in."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from agent.wire.demotrust import KEYS_FILE, ROOTS_FILE, sign_key_list
from agent.wire.keyfile import read_signer
from agent.wire.messages import decode
from agent.wire.roots import read_bundle, read_roots
from agent.wire.trust import KeyEntry, KeyList, KeyRing, load_key_list


class Officers:
    """Args: trust: the city's folder, as ``make_demo_trust`` made it."""

    def __init__(self, trust: Path) -> None:
        self.keys = [read_signer(path) for path in sorted((trust / "offline").glob("root-*.pem"))]
        self.roots = read_roots((trust / ROOTS_FILE).read_text())
        self.first = (trust / KEYS_FILE).read_bytes()
        self.newest = decode(read_bundle(self.first).key_list.payload, KeyList)

    def sign(
        self, *, without: Iterable[str] = (), more: Iterable[KeyEntry] = (), expires_ms: int = 0, version: int = 0
    ) -> bytes:
        """The next list.

        Args:
            without: kids taken out. expires_ms, version: those that follow if 0.
        """
        gone = set(without)
        keys = [entry for entry in self.newest.keys if entry.kid not in gone]
        self.newest = msgspec.structs.replace(
            self.newest,
            version=version or self.newest.version + 1,
            expires_ms=expires_ms or self.newest.expires_ms,
            keys=[*keys, *more],
        )
        return sign_key_list(self.newest, self.keys[:2])

    def ring(self, sealed: bytes) -> KeyRing:
        """What a list is to whoever knows these officers."""
        return load_key_list(sealed, self.roots)
