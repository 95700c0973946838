"""``python -m tests.proof``: attack the kernel for minutes, and search the reference junctions to the end.

python -m tests.proof                           ten million cases, a hundred thousand sealed messages, the search
python -m tests.proof --seed 7 --cases 1000000  another campaign; the same seed gives the same cases
python -m tests.proof --seed 7 --first 120      go on with chunk 120, after Ctrl-C or to replay one
python -m tests.proof --only search --full      also the searches that take many minutes
"""

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.proof.campaign import CHUNK_CASES, Tally, run_chunk
from tests.proof.gate_campaign import GATE_CASES, run_gate_chunk
from tests.proof.references import IN_FULL, SEARCHES
from tests.proof.search import Sought

CASES = 10_000_000
GATE_TOTAL = 100_000
NICE = 10
PARTS = ("judge", "gate", "search")
EXIT_DONE, EXIT_FAULT, EXIT_INTERRUPTED = 0, 1, 130
Work = Callable[[tuple[int, int]], Tally]


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="which campaign (default: 1)")
    parser.add_argument("--cases", type=int, default=CASES, help=f"cases for the kernel (default: {CASES:,})")
    parser.add_argument("--gate-cases", type=int, default=GATE_TOTAL, help=f"sealed messages (default: {GATE_TOTAL:,})")
    parser.add_argument("--first", type=int, default=0, metavar="CHUNK", help="skip the chunks before this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one for each core)")
    parser.add_argument("--only", action="append", choices=PARTS, help="one part; may be given several times")
    parser.add_argument("--full", action="store_true", help="also the searches that take many minutes")
    asked = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    console.print(f"seed {asked.seed}, {asked.jobs} processes")
    parts = asked.only or PARTS
    ended = EXIT_DONE
    try:
        if "judge" in parts:
            ended |= _attack(console, asked, "kernel", _judge_chunk, asked.cases, CHUNK_CASES)
        if "gate" in parts:
            ended |= _attack(console, asked, "gate and kernel", _gate_chunk, asked.gate_cases, GATE_CASES)
        if "search" in parts:
            ended |= _search(console, asked.jobs, is_full=asked.full)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return ended


def _judge_chunk(which: tuple[int, int]) -> Tally:
    return run_chunk(*which)


def _gate_chunk(which: tuple[int, int]) -> Tally:
    return run_gate_chunk(*which)


def _begin() -> None:
    """A worker leaves Ctrl-C to the one who started it, and the machine to others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)


def _attack(console: Console, asked: argparse.Namespace, what: str, work: Work, cases: int, chunk_cases: int) -> int:
    chunks = [(asked.seed, chunk) for chunk in range(asked.first, -(-cases // chunk_cases))]
    total, began = Tally(), time.monotonic()
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    done = asked.first
    with multiprocessing.Pool(asked.jobs, _begin) as pool, Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=len(chunks) * chunk_cases)
        try:
            for tally in pool.imap(work, chunks):
                total.add(tally)
                done += 1
                bar.update(task, advance=chunk_cases)
                if total.faults:
                    break
        except KeyboardInterrupt:
            console.print(f"{what}: stopped; go on with --seed {asked.seed} --first {done}")
            raise
    took_s = time.monotonic() - began
    for fault in total.faults:
        console.print(fault, markup=False, style="red")
    each = f", {total.judge_s / total.cases * 1e6:.1f} µs for a judgement" if total.judge_s else ""
    console.print(
        f"{what}: {total.cases:,} cases in {took_s:.0f} s, {total.cases / max(took_s, 0.001):,.0f} a second{each}; "
        f"{sum(total.approved.values()):,} approved, {sum(total.refused.values()):,} refused, "
        f"{len(total.faults)} promises broken"
    )
    for name, counts in (("approved", total.approved), ("refused", total.refused)):
        console.print(f"  {name}: " + ", ".join(f"{key} {count:,}" for key, count in sorted(counts.items())))
    return EXIT_FAULT if total.faults else EXIT_DONE


def _search_one(name: str) -> Sought:
    return {**SEARCHES, **IN_FULL}[name]()


def _search(console: Console, jobs: int, *, is_full: bool) -> int:
    names = [*SEARCHES, *IN_FULL] if is_full else [*SEARCHES]
    found = []
    with multiprocessing.Pool(jobs, _begin) as pool:
        for sought in pool.imap(_search_one, names):
            console.print(str(sought), markup=False, soft_wrap=True)
            found.append(sought)
    states, transitions = (sum(getattr(each, name) for each in found) for name in ("states", "transitions"))
    console.print(f"search: {states:,} states, {transitions:,} transitions in {len(found)} searches")
    return EXIT_FAULT if any(not sought.is_as_expected for sought in found) else EXIT_DONE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
