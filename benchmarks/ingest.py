"""How many changes a second the fleet manager makes durable, beside the bare store."""

import asyncio
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.model.identity import GatewayId
from agent.wire import envelope
from agent.wire.demotrust import make_demo_trust
from agent.wire.envelope import digest
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import Ack, decode
from agent.wire.topics import up
from benchmarks.bench import Run
from benchmarks.child import BenchError
from benchmarks.table import Table
from benchmarks.town import CITY
from benchmarks.voice import batch_of, birth, chain
from fleet.control_room import ControlRoom
from fleet.engine import open_database
from fleet.folder import read_trust
from fleet.ingest import Arrival

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
    "last link. The bound writes exactly the same rows into the same tables with plain `sqlite3`, in transactions of "
    f"{GROUP_LINKS} links, and verifies, decodes and acknowledges nothing."
)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What arrives: births first, then links in the order they come in."""

    births: list[Arrival]
    links: list[tuple[int, int, Arrival]]
    samples: int


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
        links = run.count(200_000, 20_000) // samples // GATEWAYS
        traffic = _traffic(signers, links, samples)
        ours, bare = [], []
        for round_ in range(rounds):
            run.advance(f"batches of {samples}", number * rounds + round_, len(BATCHES) * rounds)
            ours.append(asyncio.run(_ingest_rate(run.new_folder("i"), trust, traffic)))
            bare.append(_bare_rate(run.new_folder("i"), traffic))
        target = "≥ 100,000" if samples == 100 else ""
        table.add(f"manager, batches of {samples}", "changes/s", ours, target)
        table.add(f"bare store, batches of {samples}", "changes/s", bare)
        ratios = [mine / bound for mine, bound in zip(ours, bare, strict=True)]
        table.add(f"manager : bare store, batches of {samples}", "ratio of rates", ratios, "≥ 0.5")
    return table


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


async def _ingest_rate(folder: Path, trust: Path, traffic: Traffic) -> float:
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
        began_s = time.perf_counter()
        for _, _, arrival in traffic.links:
            while room.writer.waiting > WAITING_MAX:  # noqa: ASYNC110 - looks from outside
                await asyncio.sleep(0.001)
            room.writer.arrived(arrival)
        try:
            async with asyncio.timeout(DONE_S):
                await done.wait()
        except TimeoutError as error:
            raise BenchError(f"{len(behind)} gateways were not acknowledged; {room.writer.problem}") from error
        took_s = time.perf_counter() - began_s
        running.cancel()
    if room.ingest.tally.samples != len(traffic.links) * traffic.samples:
        raise BenchError(f"{room.ingest.tally.samples} changes stored of {len(traffic.links) * traffic.samples}")
    return len(traffic.links) * traffic.samples / took_s


def _bare_rate(folder: Path, traffic: Traffic) -> float:
    """The same rows, made beforehand."""
    groups = [
        _rows(traffic, start, traffic.links[start : start + GROUP_LINKS])
        for start in range(0, len(traffic.links), GROUP_LINKS)
    ]
    engine = open_database(folder / "fleet.db")
    with closing(engine.raw_connection()) as connection:
        database = connection.driver_connection  # The sqlite3 connection, with the manager's own settings.
        assert isinstance(database, sqlite3.Connection)
        began_s = time.perf_counter()
        for group in groups:
            for table, rows in group.items():
                marks = ",".join("?" * len(rows[0]))
                database.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)
            database.commit()
        took_s = time.perf_counter() - began_s
    engine.dispose()
    return len(traffic.links) * traffic.samples / took_s


Rows = dict[str, Sequence[tuple[object, ...]]]


def _rows(traffic: Traffic, start: int, links: Sequence[tuple[int, int, Arrival]]) -> Rows:
    stored: list[tuple[object, ...]] = []
    samples: list[tuple[object, ...]] = []
    heads: dict[int, tuple[object, ...]] = {}
    latest: dict[int, tuple[object, ...]] = {}
    for number, (place, seq, arrival) in enumerate(links, start + 1):
        batch = batch_of(GatewayId("gw"), "state", seq, bytes(32), traffic.samples, 1_800_000_000_000)
        hash_ = digest(arrival.data)
        stored.append((number, place, "state", 1, seq, hash_, batch.t0_ms, arrival.data))
        heads[place] = (place, "state", 1, seq, hash_)
        for n, value in enumerate(batch.values):
            point = place * traffic.samples + n
            text = json.dumps(value)
            samples.append((place, number, n, point, batch.t0_ms + batch.dt_ms[n], 0, text))
            latest[point] = (point, batch.t0_ms + batch.dt_ms[n], 0, text)
    return {"links": stored, "samples": samples, "heads": list(heads.values()), "latest": list(latest.values())}
