"""How many changes a second the fleet manager makes durable, beside the bare store."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import structlog

from agent.model.identity import GatewayId
from agent.wire import envelope
from agent.wire.demotrust import make_demo_trust
from agent.wire.envelope import digest
from agent.wire.fleetlog import link_entry
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import Ack, decode
from agent.wire.topics import up
from benchmarks.bench import Run
from benchmarks.child import BenchError
from benchmarks.table import Table
from benchmarks.town import CITY
from benchmarks.voice import batch_of, birth, chain
from fleet.arrival import Arrival
from fleet.control_room import ControlRoom
from fleet.engine import open_database
from fleet.folder import read_trust
from fleet.merkle_log import TILE

GATEWAYS = 50
BATCHES = (20, 100)
GROUP_LINKS = 500
"""The manager's own longest transaction (`fleet/writer.py`)."""
WAITING_MAX = 5_000
"""Links waiting in the manager's queue: kept full, never overfull."""
DONE_S = 120
METHOD = (
    f"Links of {GATEWAYS} gateways, sealed beforehand, are handed to the manager's writer as fast as it takes them, without "
    "a broker in between: it verifies, decodes, orders, stores envelope, history and newest values (SQLite, WAL, "
    "`synchronous=FULL`), commits, updates what the console sees, and signs cumulative acks; the end is the ack of the "
    "last link. Under such load it checks signatures in a process of its own, whose start is part of the time. The bound "
    "writes exactly the same rows, the log's among them, into the same tables with plain `sqlite3`, in transactions of "
    f"{GROUP_LINKS} links, and verifies, decodes and acknowledges nothing. CPU is counted apart because rates on two cores "
    "depend on who else wants the second one."
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives: births first, then links in the order they come in."""

    births: list[Arrival]
    links: list[tuple[int, int, Arrival]]
    samples: int


@dataclass(frozen=True, slots=True)
class Took:
    """How long the timed part took."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Spent:
    """One round: changes per second, and µs of CPU per change, of this process and of those it started."""

    rate: float
    own_us: float
    helpers_us: float


def measure(run: Run) -> Table:
    """Both sizes of batches, each with its bound."""
    table = Table("Fleet ingest: verified, durable, acknowledged", METHOD)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    gateways = [GatewayId(f"gw-{n}") for n in range(GATEWAYS)]
    trust = run.folder / "trust"
    make_demo_trust(trust, CITY, gateways, now_ms=time.time_ns() // 1_000_000)
    signers = {gateway: read_signer(trust / "gateways" / gateway / "agent.pem") for gateway in gateways}
    rounds = run.count(5, 1)
    for number, samples in enumerate(BATCHES):
        run.advance(f"sealing batches of {samples}", number * rounds, len(BATCHES) * rounds)
        links = run.count(600_000, 200_000) // samples // GATEWAYS
        traffic = _traffic(signers, links, samples)
        ours: list[Spent] = []
        bare: list[Spent] = []
        for round_ in range(rounds):
            run.advance(f"batches of {samples}", number * rounds + round_, len(BATCHES) * rounds)
            ours.append(_spent(traffic, partial(_ingest, run.new_folder("i"), trust)))
            bare.append(_spent(traffic, partial(_bare, run.new_folder("i"))))
        target = "≥ 100,000" if samples == 100 else ""
        table.add(f"manager, batches of {samples}", "changes/s", [each.rate for each in ours], target)
        table.add(f"bare store, batches of {samples}", "changes/s", [each.rate for each in bare])
        ratios = [mine.rate / bound.rate for mine, bound in zip(ours, bare, strict=True)]
        table.add(f"manager : bare store, batches of {samples}", "ratio of rates", ratios, "≥ 0.5")
        table.add(f"manager's CPU, batches of {samples}", "µs/change", [each.own_us for each in ours])
        table.add(f"its verifier's CPU, batches of {samples}", "µs/change", [each.helpers_us for each in ours])
        table.add(f"bare store's CPU, batches of {samples}", "µs/change", [each.own_us for each in bare])
    return table


def _spent(traffic: Traffic, work: Callable[[Traffic], Took]) -> Spent:
    """Run one of them; what it started has ended by then."""
    before = getrusage(RUSAGE_CHILDREN)
    took = work(traffic)
    after = getrusage(RUSAGE_CHILDREN)
    helpers_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    changes = len(traffic.links) * traffic.samples
    return Spent(changes / took.wall_s, took.cpu_s / changes * 1e6, helpers_s / changes * 1e6)


def _traffic(signers: dict[GatewayId, Signer], links: int, samples: int) -> Traffic:
    now_ms = time.time_ns() // 1_000_000
    births = [
        Arrival(str(up(CITY, gateway, "birth")), birth(gateway, signer, samples // 20 + 1, now_ms))
        for gateway, signer in signers.items()
    ]
    chains = [list(chain(gateway, signer, "state", links, samples, now_ms)) for gateway, signer in signers.items()]
    topics = [str(up(CITY, gateway, "state")) for gateway in signers]
    mixed = [
        (place, seq, Arrival(topics[place], chains[place][seq - 1]))
        for seq in range(1, links + 1)
        for place in range(len(topics))
    ]
    return Traffic(births, mixed, samples)


def _ingest(folder: Path, trust: Path, traffic: Traffic) -> Took:
    return asyncio.run(_ingest_all(folder, trust, traffic))


async def _ingest_all(folder: Path, trust: Path, traffic: Traffic) -> Took:
    room = ControlRoom("bench", folder, trust, read_trust(trust))
    last = max(seq for _, seq, _ in traffic.links)
    behind = {arrival.topic.split("/")[3] for arrival in traffic.births}
    done = asyncio.Event()

    def acknowledged(gateway: str, kind: str, sealed: bytes) -> None:
        if kind != "ack":
            return
        heads = decode(envelope.parse(sealed).payload, Ack).heads
        if any(head.stream == "state" and head.seq >= last for head in heads):
            behind.discard(gateway)
        if not behind:
            done.set()

    room.send = acknowledged
    async with asyncio.TaskGroup() as group:
        running = group.create_task(room.run())
        for each in traffic.births:
            room.writer.arrived(each)
        while room.ingest.tally.bytes < sum(len(each.data) for each in traffic.births):  # noqa: ASYNC110 - from outside
            await asyncio.sleep(0.01)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for _, _, arrival in traffic.links:
            while room.writer.waiting > WAITING_MAX:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.001)
            room.writer.arrived(arrival)
        try:
            async with asyncio.timeout(DONE_S):
                await done.wait()
        except TimeoutError as error:
            raise BenchError(f"{len(behind)} gateways were not acknowledged; {room.writer.problem}") from error
        took = Took(time.perf_counter() - began_s, time.process_time() - began_cpu_s)
        running.cancel()
    if room.ingest.tally.samples != len(traffic.links) * traffic.samples:
        raise BenchError(f"{room.ingest.tally.samples} changes stored of {len(traffic.links) * traffic.samples}")
    return took


def _bare(folder: Path, traffic: Traffic) -> Took:
    """The same rows, made beforehand."""
    groups = [
        _rows(traffic, start, traffic.links[start : start + GROUP_LINKS])
        for start in range(0, len(traffic.links), GROUP_LINKS)
    ]
    engine = open_database(folder / "fleet.db")
    with closing(engine.raw_connection()) as connection:
        database = connection.driver_connection  # The sqlite3 connection, with the manager's own settings.
        assert isinstance(database, sqlite3.Connection)
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        for group in groups:
            for table, rows in group.items():
                marks = ",".join("?" * len(rows[0]))
                database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
            database.commit()
        took = Took(time.perf_counter() - began_s, time.process_time() - began_cpu_s)
    engine.dispose()
    return took


Rows = dict[str, Sequence[tuple[object, ...]]]


def _rows(traffic: Traffic, start: int, links: Sequence[tuple[int, int, Arrival]]) -> Rows:
    stored: list[tuple[object, ...]] = []
    samples: list[tuple[object, ...]] = []
    heads: dict[int, tuple[object, ...]] = {}
    latest: dict[int, tuple[object, ...]] = {}
    log: list[tuple[object, ...]] = []
    tiles: list[tuple[object, ...]] = []
    for number, (place, seq, arrival) in enumerate(links, start + 1):
        batch = batch_of(GatewayId("gw"), "state", seq, bytes(32), traffic.samples, 1_800_000_000_000)
        hash_ = digest(arrival.data)
        stored.append((number, place, "state", 1, seq, hash_, batch.t0_ms, arrival.data))
        entry = link_entry(f"gw-{place}", "state", 1, seq, batch.t0_ms, hash_)
        log.append((number - 1, number, None, entry))
        if number % TILE == 0:
            tiles.append((0, number // TILE - 1, hash_, hash_ * TILE))
        heads[place] = (place, "state", 1, seq, hash_)
        for n, value in enumerate(batch.values):
            point = place * traffic.samples + n
            text = json.dumps(value)
            samples.append((place, number, n, point, batch.t0_ms + batch.dt_ms[n], 0, text))
            latest[point] = (point, batch.t0_ms + batch.dt_ms[n], 0, text)
    rows: Rows = {"links": stored, "samples": samples, "log_entries": log}
    rows |= {"heads": list(heads.values()), "latest": list(latest.values())}
    return rows | ({"log_tiles": tiles} if tiles else {})
