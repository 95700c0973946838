"""A million mutations for every parser of bytes from outside: ``python -m tests.attack.sync.fuzz``, or ``make fuzz``.

python -m tests.attack.sync.fuzz                          a million, on every core
python -m tests.attack.sync.fuzz --seed 7 --first 120     go on with chunk 120, after Ctrl-C or to replay one
python -m tests.attack.sync.fuzz --only "SNMP answer"     one parser alone
"""

import argparse
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.attack.sync import certificates, ingested
from tests.attack.sync.feeds import Feed
from tests.attack.sync.targets import Target, targets

RUNS = 1_000_000
CHUNK_RUNS = 5_000
SECONDS_MAX = 1.0
"""CPU time for one input. The largest is 300 kB; what takes longer is work an attacker gets for nothing."""
MEMORY_BYTES_MAX = 2**30
"""Address space beyond what a process begins with: a lying length that is believed ends as MemoryError, a fault."""
FAULTS_SHOWN_MAX = 5
HEX_SHOWN_MAX = 2_000
NICE = 10
EXIT_DONE, EXIT_FAULT, EXIT_INTERRUPTED = 0, 1, 130


@dataclass(slots=True)
class Tally:
    """What became of some inputs.

    Args:
        slowest: seconds and parser.
    """

    runs: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def add(self, other: "Tally") -> None:
        """Take in another's."""
        self.runs.update(other.runs)
        self.taken.update(other.taken)
        self.faults += other.faults
        self.slowest = max(self.slowest, other.slowest)


def everything(only: str = "") -> tuple[Target, ...]:
    """Every parser, or the one of that name."""
    every = (*targets(), *certificates.certificate_targets(), ingested.target())
    found = tuple(each for each in every if only in ("", each.name))
    if not found:
        raise SystemExit(f"no parser {only!r}; there are: " + ", ".join(each.name for each in every))
    return found


def run_chunk(which: tuple[int, int], only: str = "", runs: int = CHUNK_RUNS) -> Tally:
    """Some thousand inputs, always the same for (seed, chunk)."""
    seed, chunk = which
    rng, tally = random.Random(f"{seed}/{chunk}"), Tally()
    with ExitStack() as stack:
        feeds = {each.name: each.fresh(stack) for each in everything(only)}
        _feed(rng, everything(only), feeds, runs, f"seed {seed}, chunk {chunk}", tally)
    return tally


def _feed(
    rng: random.Random, chosen: Sequence[Target], feeds: dict[str, Feed], runs: int, where: str, tally: Tally
) -> None:
    for each in rng.choices(chosen, [each.share for each in chosen], k=runs):
        data = each.mutate(rng, rng.choice(each.seeds))
        began_s = time.thread_time()
        try:
            tally.taken[each.name] += feeds[each.name](data)
        except each.refusals:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault and told with its bytes
            shown = data[:HEX_SHOWN_MAX].hex() + ("..." if len(data) > HEX_SHOWN_MAX else "")
            tally.faults.append(f"{where}, {each.name}: {type(error).__name__}: {error!s:.300}\n  {shown}")
        took_s = time.thread_time() - began_s
        tally.slowest = max(tally.slowest, (took_s, each.name))
        if took_s > SECONDS_MAX:
            tally.faults.append(f"{where}, {each.name}: {took_s:.1f} s for {len(data)} bytes")
        tally.runs[each.name] += 1


def _begin() -> None:
    """A worker leaves Ctrl-C to the one who started it, and the machine to others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    everything()  # What it needs is loaded before its memory is bounded.
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY_BYTES_MAX,) * 2)


def _address_space() -> int:
    with open("/proc/self/statm") as file:  # noqa: PTH123 - one line of the kernel's
        return int(file.read().split()[0]) * resource.getpagesize()


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.attack.sync.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=1, help="which mutations (default: 1)")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"how many (default: {RUNS:,})")
    parser.add_argument("--first", type=int, default=0, metavar="CHUNK", help="skip the chunks before this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    parser.add_argument("--only", default="", metavar="PARSER", help="one parser, by its name in the table")
    asked = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(f"seed {asked.seed}, {asked.jobs} processes")
    everything(asked.only)
    chunks = [(asked.seed, chunk) for chunk in range(asked.first, -(-asked.runs // CHUNK_RUNS))]
    total, began_s, done = Tally(), time.monotonic(), asked.first
    columns = (TextColumn("mutations"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with multiprocessing.Pool(asked.jobs, _begin) as pool, Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(chunks) * CHUNK_RUNS)
        try:
            for tally in pool.imap(partial(run_chunk, only=asked.only), chunks):
                total.add(tally)
                done += 1
                bar.update(task, advance=CHUNK_RUNS)
                if len(total.faults) >= FAULTS_SHOWN_MAX:
                    break
        except KeyboardInterrupt:
            console.print(f"stopped; go on with --seed {asked.seed} --first {done}")
            return EXIT_INTERRUPTED
    _report(console, total, time.monotonic() - began_s)
    return EXIT_FAULT if total.faults else EXIT_DONE


def _report(console: Console, total: Tally, took_s: float) -> None:
    for fault in total.faults[:FAULTS_SHOWN_MAX]:
        console.print(fault, markup=False, style="red", soft_wrap=True)
    for name, runs in sorted(total.runs.items()):
        console.print(f"  {name:20} {runs:>9,} mutations, {total.taken[name]:,} of them taken as good")
    count = sum(total.runs.values())
    slowest_s, where = total.slowest
    console.print(
        f"{count:,} mutations in {took_s:.0f} s, {count / max(took_s, 0.001):,.0f} a second; "
        f"{len(total.faults)} faults; the slowest took {slowest_s * 1000:.0f} ms ({where})"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
