"""The tables in ``docs/benchmarks.md``: each between its own markers, replaced whole."""

import re
from datetime import datetime
from pathlib import Path
from textwrap import fill

from benchmarks.machine import ROOT, Machine
from benchmarks.table import HEADINGS, Table

PAGE = ROOT / "docs" / "benchmarks.md"
WIDTH = 120


def write(name: str, table: Table, machine: Machine, loads: list[float], started: datetime, path: Path = PAGE) -> None:
    """Replace one benchmark's part of the page; a part that is not there yet goes to the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    part = f"{begin}\n{_part(table, machine, loads, started)}{end}"
    text = path.read_text()
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    text = pattern.sub(lambda _: part, text) if pattern.search(text) else f"{text.rstrip()}\n\n{part}\n"
    path.write_text(text)


def _part(table: Table, machine: Machine, loads: list[float], started: datetime) -> str:
    lines = [
        f"## {table.title}",
        "",
        fill(table.method, WIDTH),
        "",
        _line(HEADINGS),
        _line(["---"] * 2 + ["--:"] * 5 + ["---"]),
    ]
    lines += [_line(row.cells()) for row in table.rows]
    lines += ["", *(f"- {remark}" for remark in table.remarks)]
    if table.remarks:
        lines.append("")
    lines.append(f"*{started:%Y-%m-%d %H:%M} UTC, load average {loads[0]} → {loads[1]}. {machine.sentence()}.*")
    return "\n".join(lines) + "\n"


def _line(cells: list[str] | tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
