"""One reading of everything worth watching."""

from collections import Counter
from typing import TYPE_CHECKING

from fleet.metrics import Figures

if TYPE_CHECKING:
    from fleet.control_room import ControlRoom


def read(room: "ControlRoom") -> Figures:
    """Read the figures of one manager."""
    tally, writer = room.ingest.tally, room.writer
    counters = {
        "batches": tally.batches,
        "samples": tally.samples,
        "events": tally.events,
        "duplicates": tally.duplicates,
        "ahead": tally.ahead,
        "received_bytes": tally.bytes,
        "dropped": writer.dropped,
        "commits": writer.commits,
        "commit_seconds": writer.commit_s,
        "acks": room.link.acks,
        "reconnects": room.link.reconnects,
    }
    gauges = {
        "waiting": writer.waiting,
        "browsers": len(room.broadcast),
        "leading": room.leading.is_leading,
        "term": room.term,
        "broker_connected": room.link.is_connected,
        "store_healthy": not writer.problem,
    }
    links = Counter(gateway.link for gateway in room.gateways())
    shown = {name: float(value) for name, value in gauges.items()}
    return Figures(dict(counters), shown, dict(room.rejections), links, dict(room.publishes_refused))
