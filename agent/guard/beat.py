"""How well the scans keep their beat: a small fixed histogram of lateness, and the collector's pauses."""

import gc
import time
from bisect import bisect_left

from agent.wire.messages import Value

LATE_MS = 20
"""A slot begun later than this is counted as late: a fifth of the usual period. Ours."""
EDGES_MS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)
"""Upper ends of the histogram's parts; one more part is beyond the last."""
_NS_PER_MS = 1_000_000


class Beat:
    """Counts slots by how late they began. As small after a year as after a minute."""

    def __init__(self) -> None:
        self._counts = [0] * (len(EDGES_MS) + 1)
        self.slots = 0
        self.late = 0
        self.skipped = 0
        self.worst_ms = 0
        self.collection_ns_max = 0
        self._collecting_since_ns = 0

    def begun(self, late_ms: int) -> None:
        """A slot began so long after its time."""
        self._counts[bisect_left(EDGES_MS, late_ms)] += 1
        self.slots += 1
        self.late += late_ms > LATE_MS
        self.worst_ms = max(self.worst_ms, late_ms)

    def next_ms(self, slot_ms: int, now_ms: int, period_ms: int) -> int:
        """When the next slot is due: on the beat, with those skipped and counted that have gone by meanwhile."""
        periods = max(1, -(-(now_ms - slot_ms) // period_ms))
        self.skipped += periods - 1
        return slot_ms + periods * period_ms

    def within_ms(self, share: float) -> int:
        """A lateness that so large a share of the slots did not exceed; exact to the histogram's parts."""
        left = share * self.slots
        for count, edge_ms in zip(self._counts, EDGES_MS, strict=False):
            left -= count
            if left <= 0:
                return min(edge_ms, self.worst_ms)
        return self.worst_ms

    def watch_collector(self) -> None:
        """Time every garbage collection from now on."""
        gc.callbacks.append(self._collected)

    def leave_collector(self) -> None:
        """Stop timing."""
        gc.callbacks.remove(self._collected)

    def _collected(self, phase: str, _about: dict[str, int]) -> None:
        if phase == "start":
            self._collecting_since_ns = time.perf_counter_ns()
        else:
            took_ns = time.perf_counter_ns() - self._collecting_since_ns
            self.collection_ns_max = max(self.collection_ns_max, took_ns)

    def figures(self) -> dict[str, Value]:
        """For the status page."""
        return {
            "ticks": self.slots,
            "late ticks": self.late,
            "skipped ticks": self.skipped,
            "lateness p99, ms at most": self.within_ms(0.99),
            "lateness worst, ms": self.worst_ms,
            "longest collection, ms": round(self.collection_ns_max / _NS_PER_MS, 3),
        }
