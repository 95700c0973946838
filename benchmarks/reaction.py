"""From a conflict on the lamps to the guard's flash request at the controller, and how well the guard keeps its beat."""

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.wire.demotrust import make_demo_trust
from benchmarks.bench import Run
from benchmarks.child import BenchError, Child, busy_cores
from benchmarks.street import BOLLARD_GATEWAY, JUNCTION_GATEWAY, PRIORITY
from benchmarks.table import Table
from benchmarks.town import CITY

JUNCTIONS = 8
"""To a guard: more work than any cabinet has for it, and eight conflicts measured for each start."""
ENOUGH = 1_000
"""Below this many, the 99.9th percentile would only be another word for the maximum."""
LOOK_S = 0.2
CORES = 2
METHOD = (
    f"The guard as a process of its own polls {JUNCTIONS} simulated controllers of the reference junction over real UDP "
    "every 100 ms. At a random moment of its beat an output of one sticks on green against a green that is lit "
    "(`stuck_green`); the lamps show the conflict at once. The simulator notes, by one clock, that moment, each question "
    "for the greens it answers and each SET it carries out; the end is the SET of systemPatternControl to 255 in its log. "
    "The second observation is the second answer after the conflict began: no request may go out before it. The junctions "
    "of one guard have their conflict one after the other; then come fresh controllers and a fresh guard (new state "
    "folder, same keys), because a latch is cleared only by hand on site. *FIFO*: the guard as it runs where permitted "
    '(SCHED_FIFO 10, memory locked); *ordinary*: with `realtime = "off"`. *Busy*: two processes spin on the two cores '
    f"meanwhile, at ordinary priority. The simulated controllers stand for other machines and run at SCHED_FIFO {PRIORITY}, "
    "so that what is measured is the guard's waiting and not theirs. *Late ticks* and memory are the guard's own figures "
    "and `/proc`, over a minute with one junction, or with three Modbus bollards and no SNMP; `MALLOC_ARENA_MAX=1` as in its systemd unit; MB are 10⁶ bytes."
)


@dataclass(frozen=True, slots=True)
class Condition:
    """How the guard runs, and beside what."""

    is_busy: bool
    is_fifo: bool

    def __str__(self) -> str:
        return f"{'busy' if self.is_busy else 'alone'}, {'FIFO' if self.is_fifo else 'ordinary'}"

    @property
    def options(self) -> tuple[str, ...]:
        """For the street."""
        return ("--realtime", "if-permitted" if self.is_fifo else "off")


CONDITIONS = tuple(Condition(is_busy, is_fifo) for is_busy in (True, False) for is_fifo in (True, False))
Told = list[dict[str, Any]]


def measure(run: Run) -> Table:
    """Both cores busy first, which is what the targets are for; then nothing of ours beside it."""
    table = Table("Reaction: conflict on the lamps → flash request at the controller (100 ms scan)", METHOD)
    make_demo_trust(run.folder / "trust", CITY, [JUNCTION_GATEWAY, BOLLARD_GATEWAY], now_ms=time.time_ns() // 1_000_000)
    for condition in CONDITIONS:
        with busy_cores(CORES, run.folder / "busy.log") if condition.is_busy else nullcontext():
            _measure(run, table, condition)
    for what, words, most in (("beat", "one SNMP junction", 45), ("bollards", "three Modbus bollards", 36)):
        told = _street(run, f"memory, {words}", what, run.count(20, 3), Condition(is_busy=False, is_fifo=True))
        table.add(f"guard, {words}: RSS", "MB", [told[-1]["rss_mb"]], f"≤ {most}")
        table.add(f"guard, {words}: PSS", "MB", [told[-1]["pss_mb"]])
    return table


def _measure(run: Run, table: Table, condition: Condition) -> None:
    told = _street(run, f"{condition}: beat", "beat", run.count(60, 3), condition)[-1]
    if refused := [warning for warning in told["warnings"] if "SCHED_FIFO" in warning]:
        table.remarks.append(f"{condition}: left out: {refused[0]}")
        return
    count = run.count(ENOUGH if condition.is_busy else 400, JUNCTIONS)
    times = _street(run, f"{condition}: conflicts", "conflicts", count, condition, "--junctions", str(JUNCTIONS))
    after_ms = [each["after_second"] for each in times]
    table.add(f"{condition}: conflict → flash request", "ms", [each["whole"] for each in times], "≤ 300")
    table.add(f"{condition}: conflict → second observation", "ms", [each["second"] for each in times])
    table.add(f"{condition}: second observation → flash request", "ms", after_ms)
    if len(after_ms) >= ENOUGH:
        late_ms = sorted(after_ms)[len(after_ms) * 999 // 1000 - 1]
        table.add(f"{condition}: the same, p99.9 of {len(after_ms)}", "ms", [late_ms], "≤ 50")
    table.add(f"{condition}: flash requests per conflict", "", [each["sets"] for each in times], "1")
    words = f"{condition}: of {told['ticks']} ticks in {run.count(60, 3)} s"
    table.add(f"{words}, more than 20 ms late", "", [told["late ticks"]], "0" if condition.is_fifo else "")
    table.add(f"{words}, worst since the start", "ms", [told["lateness worst"]])


def _street(run: Run, words: str, what: str, number: int, condition: Condition, *options: str) -> Told:
    """Run one measurement in a process of its own; return what it told, one row for each thing measured."""
    log: Path = run.new_folder("s") / "log"
    arguments = ("-m", "benchmarks.street", str(run.folder), what, str(number), *condition.options, *options)
    with Child(arguments, log) as child:
        while (ended := child.process.poll()) is None:
            run.advance(words, len(_told(child)), number)
            time.sleep(LOOK_S)
        if ended != 0:
            raise BenchError(child.said()[-2000:])
        return _told(child)


def _told(child: Child) -> Told:
    lines = child.said().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]
