"""A city's officers, with the command line they work with."""

from pathlib import Path

from agent.wire.demotrust import make_demo_trust
from agent.wire.roots import read_roots
from agent.wire.trust import KeyRing, load_key_list
from fleet.cli import main
from tests.fleet.standin import unix_ms

CITY, GATEWAY = "dijon", "gw-darcy"


class OfficersDesk:
    """A city's trust folder, and what officers type."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.trust = folder, folder / "trust"
        make_demo_trust(self.trust, CITY, [GATEWAY], now_ms=unix_ms())
        self._numbers = iter(range(1_000))

    def run(self, *words: str | Path, expected: int = 0) -> None:
        assert main(["keys", *map(str, words)]) == expected, words

    def new(self, kid: str, subject: str) -> Path:
        file = self.folder / f"{kid.replace('/', '-')}.pem"
        self.run("new", kid, "--subject", subject, "--out", file)
        return file

    def draft(self, *options: str | Path) -> Path:
        file = self.folder / f"draft-{next(self._numbers)}"
        self.run("draft", "--trust", self.trust, "--out", file, *options)
        return file

    def sign(self, draft: Path, *keys: Path, root: Path | None = None) -> list[Path]:
        files = []
        for key in keys:
            files.append(self.folder / f"signed-{next(self._numbers)}")
            with_root = ("--root", root) if root is not None else ()
            self.run("sign", draft, "--key", key, "--trust", self.trust, "--out", files[-1], *with_root)
        return files

    def officer(self, n: int) -> Path:
        return self.trust / f"offline/root-{n}.pem"

    @property
    def ring(self) -> KeyRing:
        """As a gateway sees it that was enrolled before any of this."""
        roots = read_roots((self.trust / "roots.toml").read_text())
        return load_key_list((self.trust / "keys.sealed").read_bytes(), roots)

    def publish(self, *options: str | Path) -> None:
        """Draft, sign by enough officers, and put in force."""
        self.run("publish", *self.sign(self.draft(*options), self.officer(1), self.officer(2)), "--trust", self.trust)


def public_of(desk: OfficersDesk, n: int) -> Path:
    """The public half of a demonstration officer's key, as `keys new` would have left it."""
    text = (desk.trust / "roots.toml").read_text()
    file = desk.folder / f"root-{n}.pub"
    file.write_text("[[anchor]]" + text.split("[[anchor]]")[n])
    return file
