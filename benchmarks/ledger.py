"""How fast a cabinet's journal takes in what changed, beside a bare database."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from agent.ledger.ledger import Ledger
from agent.model.observation import PointValue, Quality
from agent.process.clock import Clock
from agent.runtime.journal import Journal
from agent.wire.keyfile import Signer
from benchmarks.bench import Run
from benchmarks.child import written_bytes
from benchmarks.table import Table
from benchmarks.town import CITY

GATEWAY = "gw-1"
SEED = bytes(range(32))
BATCHES = (1, 20, 100)
TOGETHER = 16
METHOD = (
    "Samples are sealed (numbered, chained, signed) and stored in a ledger in one thread; every call returns when its "
    "transaction is on disk (WAL, `synchronous=FULL`). *Journal* is the same ledger behind its writer thread as the agent "
    f"uses it, with {TOGETHER} tasks that each wait for one sample's commit before the next: they share transactions. The "
    "bound is a bare table that stores as many rows, one by one in as many transactions, and signs nothing. "
    "*Written to disk* is what the kernel counts for this process (`write_bytes`), the log's checkpoint included: the wear of "
    "a flash memory before its own amplification. "
    "An fsync here costs what this machine's disk says; a gateway's flash memory is slower."
)


def measure(run: Run) -> Table:
    """Ledger and bound for each size of batch, then the journal."""
    table = Table("The journal in the cabinet", METHOD)
    rounds = run.count(5, 2)
    for number, batch in enumerate(BATCHES):
        ours, bare, wear = [], [], []
        calls = run.count(500, 50)
        for round_ in range(rounds):
            run.advance(f"batches of {batch}", number * rounds + round_, (len(BATCHES) + 1) * rounds)
            rate, written = _ledger_rate(run.new_folder("l"), batch, calls)
            ours.append(rate)
            wear.append(written)
            bare.append(_bare_rate(run.new_folder("l"), batch, calls))
        table.add(f"ledger, batches of {batch}", "samples/s", ours)
        table.add(f"bare table, batches of {batch}", "rows/s", bare)
        table.add(f"ledger, batches of {batch}: written to disk", "B/sample", wear)
        table.add(
            f"ledger : bare table, batches of {batch}",
            "ratio of rates",
            [a / b for a, b in zip(ours, bare, strict=True)],
        )
    together = []
    for round_ in range(rounds):
        run.advance("journal", len(BATCHES) * rounds + round_, (len(BATCHES) + 1) * rounds)
        together.append(asyncio.run(_journal_rate(run.new_folder("l"), run.count(100, 20))))
    table.add(f"journal, {TOGETHER} tasks, one sample a call", "samples/s", together)
    return table


def _samples(batch: int) -> list[PointValue]:
    now_ms = time.time_ns() // 1_000_000
    return [PointValue(f"device-{n // 20}/point_{n % 20}", 230.0 + 0.1 * n, Quality.GOOD, now_ms) for n in range(batch)]


def _signer() -> Signer:
    return Signer.from_seed(f"{GATEWAY}/agent/1", SEED)


def _ledger_rate(folder: Path, batch: int, calls: int) -> tuple[float, float]:
    """Samples a second, and bytes written to disk for each."""
    samples = _samples(batch)
    before = written_bytes()
    with closing(Ledger(folder / "l.db", _signer(), CITY, GATEWAY, ("audit", "tele"), Clock())) as ledger:
        began_s = time.perf_counter()
        for _ in range(calls):
            ledger.append_samples("tele", samples)
        took_s = time.perf_counter() - began_s
    return calls * batch / took_s, (written_bytes() - before) / (calls * batch)


def _bare_rate(folder: Path, batch: int, calls: int) -> float:
    rows = [(sample.point, sample.value, sample.source_ms) for sample in _samples(batch)]
    with closing(sqlite3.connect(folder / "b.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE samples (no INTEGER PRIMARY KEY, point TEXT, value REAL, t_ms INTEGER)")
        began_s = time.perf_counter()
        for _ in range(calls):
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO samples (point, value, t_ms) VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
        return calls * batch / (time.perf_counter() - began_s)


async def _journal_rate(folder: Path, calls: int) -> float:
    samples = _samples(1)
    async with Journal(folder / "j.db", _signer(), CITY, GATEWAY, Clock()) as journal:

        async def append() -> None:
            for _ in range(calls):
                await journal.append_samples("tele", samples)

        began_s = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for _ in range(TOGETHER):
                group.create_task(append())
        return TOGETHER * calls / (time.perf_counter() - began_s)
