"""The whole synchronisation in virtual time: two gateways, two brokers, two managers, and everything that goes wrong.

    python -m tests.sync_simulation --seed 7            replay one run
    python -m tests.sync_simulation --seed 1 --runs 200

Ledger, envelopes, streams, gate and leadership are the real ones; only the network, the fleet's store and time are
simulated. The network drops, repeats, delays, reorders and is cut in parts; brokers, managers and gateways crash, also
with a write half on the disk; the leadership changes while the old manager still talks; stores and storage cards are put
back to copies; somebody says again what it heard, and forges. After the last fault everything must arrive: each record
once, in order; no command carried out twice, late, or by anybody it was not for; nothing forged believed.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.ledger.ledger import TAIL_LINKS
from tests.sync_keys import GATEWAYS
from tests.sync_parties import STREAMS, Gateway, Room
from tests.sync_trouble import trouble
from tests.sync_world import Weather, World

TROUBLE_MS = 25_000
"""How long things go wrong: some twelve faults."""
QUIET_MS_MAX = 300_000
"""Longest go-back pause 30 s, some of them in a row, and the minute between two epochs."""
RESTORED_MS = 90_000
"""How long an idle stream may take to notice that the fleet holds less: heartbeats that say so may be lost, too."""
MEMORY = Path("/dev/shm")
"""Where what the simulated disks hold is kept, if there is such a place: what reached them is decided here."""
HOUR_MS = 3_600_000


@dataclass(slots=True)
class Summary:
    """What one run, or many, came to."""

    seeds: int = 0
    virtual_ms: int = 0
    produced: int = 0
    links: int = 0
    delivered: int = 0
    lost: int = 0
    forged: int = 0
    commands: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, world: World, virtual_ms: int) -> "Summary":
        produced = sum(len(each) for gateway in world.gateways.values() for each in gateway.produced.values())
        tally = world.tally
        return cls(
            1,
            virtual_ms,
            produced,
            len(world.store.links),
            tally.delivered,
            tally.lost,
            tally.forged,
            len(world.executed),
            Counter(tally.faults),
        )

    def add(self, other: "Summary") -> None:
        self.faults += other.faults
        for name in ("seeds", "virtual_ms", "produced", "links", "delivered", "lost", "forged", "commands"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"{self.seeds} seeds, {self.virtual_ms / HOUR_MS:.2f} simulated hours: {self.produced} records in "
            f"{self.links} links, each there once; {self.delivered} messages delivered, {self.lost} lost, {self.forged} "
            f"forged and none believed; {self.commands} commands carried out, none twice\nfaults: {faults}"
        )


def check(world: World) -> None:
    """Each record once and in order; numbers whole; no command twice."""
    assert len(world.executed) == len(set(world.executed)), "a command was carried out twice"
    for gateway, stream in itertools.product(world.gateways.values(), STREAMS):
        where = f"{gateway.name} {stream}"
        keys = sorted(key for key in world.store.links if key[:2] == (gateway.name, stream))
        values = [value for key in keys for value in world.store.links[key][1]]
        produced = gateway.produced[stream]
        shed = sum(count for each, name, count in world.store.gaps if (each, name) == (gateway.name, stream))
        missing = set(produced) - set(values)
        assert not set(values) - set(produced), f"{where}: holds what was never produced, or never durable"
        for _, epoch in itertools.groupby(keys, key=lambda key: key[2]):
            inside = [value for key in epoch for value in world.store.links[key][1]]
            assert inside == sorted(set(inside)), f"{where}: out of order or repeated inside an epoch"
        if not world.was_restored and gateway.may_be_lost is None:
            assert values == sorted(set(values)), f"{where}: out of order or repeated"
        if gateway.may_be_lost is not None:
            missing -= {value for each, value in gateway.may_be_lost if each == stream}
        # What the fleet lost with its store comes again if the gateway keeps it, in the epoch it is in.
        is_kept = world.tail_links == TAIL_LINKS and stream not in world.quotas
        if not world.was_restored or (is_kept and gateway.may_be_lost is None):
            assert len(missing) <= shed, f"{where}: lacks {len(missing)}, {shed} were shed"


def simulate(seed: int, folder: Path, trouble_ms: int = TROUBLE_MS) -> World:
    """One run; raises AssertionError if a promise is broken."""
    world = World(seed)
    world.managers += (Room(world, 0), Room(world, 1))
    for name in GATEWAYS:
        world.gateways[name] = Gateway(world, name, folder / f"{name}.db")
    world.managers[0].lead()
    end_ms = world.clock.now_ms() + trouble_ms
    _keep_busy(world, end_ms)
    world.after(world.dice.uniform(0, 3000), lambda: trouble(world))
    world.run_until(end_ms)
    world.is_troubled, world.weather = False, Weather()
    world.after(8_000, world.cuts.clear)
    for broker in world.brokers:
        broker.is_up = True
    world.after(6_000, lambda: None if world.is_led() else world.managers[0].lead())
    for gateway in world.gateways.values():
        world.after(9_000, lambda gateway=gateway: gateway.connect(gateway.broker))  # type: ignore[misc]

    def is_done() -> bool:
        is_quiet = world.clock.now_ms() > end_ms + (RESTORED_MS if world.was_restored else 10_000)
        return is_quiet and all(each.is_up and not each.backlog for each in world.gateways.values())

    world.run_until(end_ms + QUIET_MS_MAX, is_done)
    left = {name: each.backlog for name, each in world.gateways.items()}
    assert is_done(), f"after {QUIET_MS_MAX} ms of quiet the backlog is {left}"
    check(world)
    for gateway in world.gateways.values():
        gateway.ledger.close()
    return world


def _keep_busy(world: World, end_ms: int) -> None:
    """Records and commands until ``end_ms``."""
    dice = world.dice

    def produce(gateway: Gateway) -> None:
        if world.clock.now_ms() < end_ms:
            gateway.produce()
            world.after(dice.uniform(40, 800), lambda: produce(gateway))

    def command() -> None:
        if world.clock.now_ms() < end_ms:
            dice.choice(world.managers).command(dice.choice(GATEWAYS))
            world.after(dice.uniform(300, 2000), command)

    for gateway in world.gateways.values():
        produce(gateway)
    command()


class BrokenPromiseError(AssertionError):
    """A seed found something, be it only an exception; says how to see it again."""


def run(seed: int, trouble_ms: int = TROUBLE_MS) -> Summary:
    """Simulate one seed in a folder of its own.

    Raises:
        BrokenPromiseError: whatever went wrong, with the command that replays it.
    """
    with tempfile.TemporaryDirectory(prefix="armsim-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        try:
            world = simulate(seed, Path(folder), trouble_ms)
        except Exception as error:  # Whatever it was, the seed must be told with it.
            more = "" if trouble_ms == TROUBLE_MS else f' ARGS="--trouble-s {trouble_ms / 1000:g}"'
            told = f"{type(error).__name__}: {error}"
            raise BrokenPromiseError(f"seed {seed}: {told}\nreplay it with: make sim SEED={seed}{more}") from error
    return Summary.of(world, world.clock.now_ms())


def _each(seeds: Iterable[int], trouble_ms: int, jobs: int) -> Iterator[Summary]:
    durations = itertools.repeat(trouble_ms)
    if jobs == 1:
        yield from map(run, seeds, durations)
        return
    with ProcessPoolExecutor(jobs) as pool:
        try:
            yield from pool.map(run, seeds, durations, chunksize=5)
        except BaseException:  # Whatever ended it, Ctrl-C too: the others need not go on.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def main() -> int:
    """Run seeds until one fails."""
    parser = argparse.ArgumentParser(
        description="Simulate the synchronisation in virtual time.",
        epilog="example: python -m tests.sync_simulation --seed 1 --runs 200; a seed that fails says how to replay it",
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds")
    parser.add_argument("--trouble-s", type=float, default=TROUBLE_MS / 1000, help="how long things go wrong in each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    asked = parser.parse_args()
    if min(asked.runs, asked.jobs, asked.trouble_s) <= 0:
        parser.error("--runs, --jobs and --trouble-s must be more than 0")
    total, began_s = Summary(), time.monotonic()
    seeds = range(asked.seed, asked.seed + asked.runs)
    which = f"seeds {seeds[0]} to {seeds[-1]}, each" if asked.runs > 1 else f"seed {asked.seed},"
    print(f"{which} with {asked.trouble_s:g} s of trouble", flush=True)
    try:
        with _progress(asked.runs) as advance:
            for each in _each(seeds, round(asked.trouble_s * 1000), min(asked.jobs, asked.runs)):
                total.add(each)
                advance()
    except BrokenPromiseError as error:
        if asked.runs == 1:
            traceback.print_exception(error.__cause__)
        print(f"FAILED after {total.seeds} good seeds: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"stopped after {total}", file=sys.stderr)
        return 130
    print(f"{total}\n{time.monotonic() - began_s:.1f} s")
    return 0


@contextmanager
def _progress(runs: int) -> Iterator[Callable[[], None]]:
    """A bar on standard error for whoever waits there."""
    if runs == 1 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("seeds", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("seeds", total=runs)
        yield lambda: bar.advance(task)


if __name__ == "__main__":
    sys.exit(main())
