"""The table of ``docs/mutants.md``: faults no test can notice, each with its reason."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = "docs/mutants.md"
COLUMNS = 6


@dataclass(frozen=True, slots=True)
class Survivor:
    """One row: where, the statement, what becomes what, which of several, and why nothing can tell."""

    where: str
    statement: str
    before: str
    after: str
    nth: int
    reason: str

    @property
    def name(self) -> tuple[str, str, str, str, int]:
        """As ``Mutant.name``."""
        return (self.where, self.statement, self.before, self.after, self.nth)


def row(name: tuple[str, str, str, str, int], reason: str) -> str:
    """A survivor as a line of the page."""
    where, statement, before, after, nth = name
    cells = [f"`{_escaped(cell)}`" for cell in (where, statement, before, after)]
    return f"| {' | '.join(cells)} | {nth + 1} | {_escaped(reason)} |"


def _escaped(words: str) -> str:
    return words.replace("|", r"\|")


def listed(root: Path) -> list[Survivor]:
    """Every row of the page."""
    return list(_rows((root / PAGE).read_text(encoding="utf-8"))) if (root / PAGE).exists() else []


def _rows(page: str) -> Iterator[Survivor]:
    for line in page.splitlines():
        cells = [_plain(cell) for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == COLUMNS and cells[4].isdigit():
            yield Survivor(cells[0], cells[1], cells[2], cells[3], int(cells[4]) - 1, cells[5])


def _plain(cell: str) -> str:
    return re.sub(r"^`+ ?(.*?) ?`+$", r"\1", cell.strip()).replace(r"\|", "|")
