"""A cabinet's records for hours of virtual time, while nobody acknowledges: ``python -m benchmarks.silent_gateway FOLDER HOURS``."""

import json
import sys
from pathlib import Path

from agent.ledger.ledger import Ledger
from agent.model.observation import PointValue, Quality
from agent.process.clock import Clock
from agent.wire.keyfile import Signer
from agent.wire.messages import Event
from agent.wire.streams import Lanes, Outbound, Pacer
from benchmarks.child import memory, written_bytes
from benchmarks.town import CITY

GATEWAY = "gw-1"
STREAMS = ("alarm", "state", "tele", "audit")
STATE_CHANGES, TELE_CHANGES, TELE_S = 5, 100, 5
BEGAN_UNIX_MS = 1_800_000_000_000
BACKLOG_BYTES_PER_S = 250_000


class VirtualTime:
    """Milliseconds since the beginning."""

    def __init__(self) -> None:
        self.now_ms = 0


def main(folder: Path, hours: int) -> None:
    """Fill a ledger; write what was seen to ``result.json``."""
    time = VirtualTime()
    clock = Clock(lambda: time.now_ms, lambda: BEGAN_UNIX_MS + time.now_ms)
    signer = Signer.from_seed(f"{GATEWAY}/agent/1", bytes(range(32)))
    path = folder / "agent.db"
    ledger = Ledger(path, signer, CITY, GATEWAY, STREAMS, clock)
    outbounds = {stream: Outbound(ledger.head(stream), 0) for stream in STREAMS}
    lanes = Lanes(outbounds.values(), Pacer(BACKLOG_BYTES_PER_S))
    seen: dict[str, list[float]] = {"rss_mb": [], "disk_mb": []}
    changes = 0
    written_before = written_bytes()
    for second in range(1, hours * 3600 + 1):
        time.now_ms = 1000 * second
        changes += _produce(ledger, second)
        for outbound in outbounds.values():
            outbound.committed(ledger.head(outbound.stream))
            outbound.tick(time.now_ms)
        lanes.want(time.now_ms)
        if second % 3600 == 0:
            seen["rss_mb"].append(memory("self").rss_mb)
            seen["disk_mb"].append(sum(each.stat().st_size for each in folder.glob("agent.db*")) / 1e6)
    seen["written_per_change"] = [(written_bytes() - written_before) / changes]
    seen["changes"] = [changes]
    seen["shed"] = [_shed(ledger)]
    ledger.close()
    (folder / "result.json").write_text(json.dumps(seen))


def _produce(ledger: Ledger, second: int) -> int:
    """One second of a large cabinet; return how many changes that was."""
    now_ms = BEGAN_UNIX_MS + 1000 * second
    values = [PointValue(f"cab/contact_{n}", (second + n) % 2 == 0, Quality.GOOD, now_ms) for n in range(STATE_CHANGES)]
    ledger.append_samples("state", values)
    if second % 60 == 0:
        ledger.append_events("alarm", [Event(0, "unavailable", "meter-1", "", "the meter does not answer", {})])
        ledger.next_number("conn")
    if second % TELE_S:
        return STATE_CHANGES
    values = [
        PointValue(f"meter-{n // 20}/point_{n % 20}", 230.0 + (second * 7 + n) % 50 / 10, Quality.GOOD, now_ms)
        for n in range(TELE_CHANGES)
    ]
    ledger.append_samples("tele", values)
    return STATE_CHANGES + TELE_CHANGES


def _shed(ledger: Ledger) -> int:
    """Changes that gap records stand for."""
    from agent.ledger.linking import batch_of
    from agent.wire.streams import gap_of

    count = 0
    for stream in ("state", "tele"):
        for link in ledger.sealed_after(stream, ledger.head(stream).epoch, 0, 1_000_000):
            gap = gap_of(batch_of(link.sealed))
            count += gap.count if gap is not None else 0
    return count


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
