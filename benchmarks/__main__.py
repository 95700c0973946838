"""``python -m benchmarks``: measure, print tables, append JSON lines under ``build/bench``."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as Drawn

from benchmarks import page
from benchmarks.bench import Advance, Run
from benchmarks.child import BenchError
from benchmarks.machine import ROOT, Machine, load, this_machine
from benchmarks.table import HEADINGS, Table

NAMES = (
    "idle",
    "start",
    "change",
    "reaction",
    "polling",
    "kernel",
    "envelope",
    "ledger",
    "ingest",
    "failover",
    "outage",
    "long_outage",
)
EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED = 0, 1, 130
WIDTH = 160
"""Columns when nobody watches: a table in a file should not be folded."""


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="one benchmark; may be given several times")
    parser.add_argument(
        "--quick", action="store_true", help="few repetitions: does everything work? No figures to keep"
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    asked = parser.parse_args(arguments)
    if asked.quick and asked.write:
        parser.error("--quick gives no figures to keep: not together with --write")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # An installed gateway has its bytecode and compiles nothing.
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    machine = this_machine()
    console.print(machine.sentence(), highlight=False)
    failed = []
    for name in asked.only or NAMES:
        started = datetime.now(UTC)
        loads = [load()]
        try:
            with tempfile.TemporaryDirectory(prefix="armb-") as folder, progress(console) as advance:
                table: Table = import_module(f"benchmarks.{name}").measure(Run(asked.quick, Path(folder), advance))
        except BenchError as error:
            console.print(f"{name}: {error}", style="red", markup=False)
            failed.append(name)
            continue
        loads.append(load())
        draw(console, table, loads)
        record(name, table, machine, loads, started, quick=asked.quick)
        if asked.write:
            page.write(name, table, machine, loads, started)
    return EXIT_FAILED if failed else EXIT_DONE


@contextmanager
def progress(console: Console) -> Iterator[Advance]:
    """A bar for as long as it takes."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def advance(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield advance


def draw(console: Console, table: Table, loads: list[float]) -> None:
    """Print one table."""
    drawn = Drawn(title=table.title, title_justify="left", caption=f"load average {loads[0]} → {loads[1]}")
    for heading in HEADINGS:
        drawn.add_column(heading, justify="left" if heading in ("figure", "unit", "target") else "right")
    for row in table.rows:
        drawn.add_row(*row.cells())
    console.print(drawn)
    for remark in table.remarks:
        console.print(f"· {remark}", highlight=False, markup=False)


def record(name: str, table: Table, machine: Machine, loads: list[float], started: datetime, *, quick: bool) -> None:
    """Append every row, with all its values, to the day's file."""
    path = ROOT / "build" / "bench" / f"{started:%Y-%m-%d}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for row in table.rows:
            line = {
                "bench": name,
                "name": row.name,
                "unit": row.unit,
                "values": [round(value, 6) for value in row.values],
                "target": row.target,
                "at": started.isoformat(timespec="seconds"),
                "quick": quick,
                "load": loads,
                "machine": machine.fields(),
            }
            file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # Every process of ours was ended on the way here.
        raise SystemExit(EXIT_INTERRUPTED) from None
