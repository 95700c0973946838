"""``make chaos SEED=7 ARGS="--minutes 10"``: storms over a small city of real parts, and what was counted afterwards."""

import argparse
import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.storm import draw
from tests.chaos.trial import Advance, run
from tests.conftest import PROGRAM_PATH

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main() -> int:
    """Run seeds until one fails."""
    parser = argparse.ArgumentParser(
        prog="make chaos",
        description="Real brokers, manager and cabinets; kills, freezes and bad lines drawn from a seed; then the count.",
        epilog='Example: make chaos SEED=7 ARGS="--minutes 10"',
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each storm lasts, 0.1..600")
    parser.add_argument("--short", action="store_true", help="as in the tests: end it by killing everything at once")
    parser.add_argument("--plan", action="store_true", help="print the faults of the first seed and do nothing")
    asked = parser.parse_args()
    seconds = 60 * asked.minutes
    if not 6 <= seconds <= 36_000 or asked.runs < 1:
        parser.error("--minutes must be 0.1..600 and --runs at least 1")
    if asked.plan:
        print(*draw(asked.seed, seconds), sep="\n")
        return EXIT_DONE
    found = shutil.which("mosquitto", path=PROGRAM_PATH)
    if found is None:
        print("make chaos needs the program mosquitto: apt-get install mosquitto", file=sys.stderr)
        return EXIT_USAGE
    for seed in range(asked.seed, asked.seed + asked.runs):
        print(f"seed {seed}", file=sys.stderr, flush=True)
        try:
            with progress() as advance:
                print(asyncio.run(run(seed, seconds, Path(found), advance, is_short=asked.short)), flush=True)
        except AssertionError as error:
            print(
                f'FAILED: {error}\nreplay: make chaos SEED={seed} ARGS="--minutes {asked.minutes:g}"', file=sys.stderr
            )
            return EXIT_FAILED
    return EXIT_DONE


@contextmanager
def progress() -> Iterator[Advance]:
    """A bar on standard error for whoever waits there."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting the city", total=None)

        def advance(what: str, done: float, total: float) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield advance


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # Every process of ours was ended on the way here.
        sys.exit(EXIT_INTERRUPTED)
