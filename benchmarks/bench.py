"""What a benchmark is given, and the list of all of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Advance = Callable[[str, int, int], None]
"""Told again and again: what is going on, how much of it is done, how much there is."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the benchmarks.

    Args:
        quick: few repetitions: shows that everything works, gives no figures to keep.
        folder: for whatever must be written; short, because a unix socket's path has 107 bytes.
    """

    quick: bool
    folder: Path
    advance: Advance

    def count(self, full: int, quick: int) -> int:
        """How often to repeat."""
        return quick if self.quick else full

    def new_folder(self, name: str) -> Path:
        """A folder nobody has used in this run."""
        for number in range(10_000):
            path = self.folder / f"{name}{number}"
            if not path.exists():
                path.mkdir()
                return path
        raise AssertionError("too many folders")
