"""A gateway of which a disk image is left, and files of its journal as an exporter or a forger writes them."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from agent.ledger.at_rest import LedgerAtRest
from agent.ledger.ledger import Ledger
from agent.ledger.linking import batch_of
from agent.model.observation import PointValue, Quality
from agent.process.clock import Clock
from agent.wire.blackbox import Header, JournalHeader, Writer
from agent.wire.demotrust import KEYS_FILE, ROOTS_FILE
from agent.wire.keyfile import Signer, read_signer
from agent.wire.messages import SCHEMA, Event
from agent.wire.streams import gap_of
from tests.cli.canned import CITY, GATEWAY

if TYPE_CHECKING:
    from tests.cli.conftest import Said, Type

STREAMS = ("alarm", "state", "tele", "audit")
FOREIGN = "gw-liberation"
QUOTA_BYTES = 20_000
Rows = list[tuple[int, int, bytes]]


def signer(city: Path, gateway: str = GATEWAY) -> Signer:
    return read_signer(city / "gateways" / gateway / "agent.pem")


@contextlib.contextmanager
def ledger(path: Path, key: Signer, gateway: str = GATEWAY, tail_links: int = 2_000) -> Iterator[Ledger]:
    quotas = {"tele": QUOTA_BYTES}
    opened = Ledger(path, key, CITY, gateway, STREAMS, Clock(), quotas=quotas, tail_links=tail_links)
    try:
        yield opened
    finally:
        opened.close()


def fill(agent: Ledger) -> None:
    """Some hours of a cabinet: two epochs of alarms, states, and so much telemetry that some had to go."""
    now_ms = time.time_ns() // 1_000_000
    with agent.atomic():
        for number in range(100):
            agent.append_events("alarm", [Event(-7_200_000, "link.lost", "m-1", "", f"old {number}", {})])
    agent.raise_epoch("alarm", 0, "forked: for the test", 90)
    agent.append_events("alarm", [Event(0, "link.back", "m-1", "", "back", {})])
    for number in range(90):
        samples = [PointValue(f"m-1/p{n}", number + n, Quality.GOOD, now_ms) for n in range(20)]
        agent.append_samples("tele", samples)
        agent.append_samples("state", samples[:2])
    agent.append_events("audit", [Event(0, "agent.start", "", "", "pid 1", {})])


def rows_of(path: Path, stream: str) -> Rows:
    return LedgerAtRest(path).page(stream, (0, 0), 10_000).rows


def journal_of(city: Path, parts: dict[str, Rows], gateway: str = GATEWAY) -> bytes:
    """A file as our exporter writes it, or a forger who knows the format."""
    pieces = [JournalHeader(SCHEMA, CITY, gateway, list(parts)).bytes]
    for stream, rows in parts.items():
        writer = Writer(Header(SCHEMA, CITY, gateway, stream, (city / KEYS_FILE).read_bytes()))
        pieces.append(writer.begin())
        for epoch, seq, sealed in rows:
            pieces.append(writer.link(epoch, seq, sealed, gap_of(batch_of(sealed))))
        pieces.append(writer.end())
    return b"".join(pieces)


def verified(type_: "Type", file: Path, city: Path, *more: str) -> "Said":
    return type_("journal verify", str(file), "--keys", str(city / KEYS_FILE), "--root", str(city / ROOTS_FILE), *more)


def told(type_: "Type", file: Path, city: Path, data: bytes) -> tuple[int, str]:
    """Exit code and everything said of other bytes in the file's place."""
    file.write_bytes(data)
    said = verified(type_, file, city)
    return said.exit, said.out
