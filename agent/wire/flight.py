"""What is on its way to the broker: how much may be, and how long its answer may take. Sans-IO.

Whatever is handed over waits in buffers behind what was handed over before, an alarm too, and who waits too long takes
the connection for dead and begins again with nothing gained. So no more is on its way than the line carries in a second
or two: it grows while answers come soon, and is halved when they come late. "Late" counts from the soonest answer of
this connection, so that a line which is only long is not taken for one that is slow.
"""

from collections.abc import Sequence
from itertools import accumulate

from agent.wire.envelope import ENVELOPE_BYTES_MAX
from agent.wire.streams import Link

MESSAGES_MAX = 64
"""Links handed to the client and not yet answered by the broker."""
BYTES_FIRST = 4_096
"""What a new connection begins with: one second of the slowest line there is sense in; doubled with every round trip."""
BYTES_MIN = 256
"""Below any link: one at a time."""
BYTES_MAX = ENVELOPE_BYTES_MAX
"""1 MB/s over a round trip of a quarter of a second: more than a cabinet has to say."""
SOON_MS, LATE_MS = 1_000, 2_000
ANSWER_MS = 10_000
"""For the broker's answer, beside the time the line needs for the bytes."""
BYTES_PER_S_MIN, BYTES_PER_S_MAX = 512, 4_096
"""What a line is taken to carry, at least and at most, when its silence is judged: optimism would end good connections."""
KEEPALIVE_S_MIN = 20
"""A dead link is noticed within 1.5 of it; half of what a mobile operator's NAT forgets after."""
LINK_BYTES_MAX = 61_440
"""The largest link our own ledger seals."""


def fitting(links: Sequence[Link], room_bytes: int) -> Sequence[Link]:
    """The first of some links that are no more than there is room for; always one of them."""
    ends = accumulate(len(link.sealed) for link in links)
    return links[: 1 + sum(end < room_bytes for end in ends)]


class Flight:
    """One broker's line. What is known of its speed outlasts a connection."""

    def __init__(self) -> None:
        self._bytes_per_s = BYTES_PER_S_MAX
        self._tickets = 0
        self._begin()

    def _begin(self) -> None:
        self._away: dict[int, tuple[int, int]] = {}  # Ticket -> bytes, since when; the oldest first.
        self._away_bytes = 0
        self._window_bytes = BYTES_FIRST
        self._soonest_ms: int | None = None
        self._answer_ms = 0
        self._answered_at_ms = 0
        self._busy: tuple[int, int] | None = None  # Since when answers are waited for, and the bytes answered since.

    @property
    def room_bytes(self) -> int:
        """How much more may be handed over now; 0 or less for nothing."""
        return 0 if len(self._away) >= MESSAGES_MAX else self._window_bytes - self._away_bytes

    @property
    def keepalive_s(self) -> int:
        """For a new connection: the largest link may pass in twice this, because nothing else does meanwhile."""
        return max(KEEPALIVE_S_MIN, LINK_BYTES_MAX // (2 * self._bytes_per_s))

    def answer_ms(self, now_ms: int) -> int:
        """How long answers take at present; whoever waits for the other end waits longer than this."""
        oldest = next(iter(self._away.values()), None)
        return self._answer_ms if oldest is None else max(self._answer_ms, now_ms - oldest[1])

    def is_stuck(self, now_ms: int) -> bool:
        """Nothing was answered for longer than the oldest message alone may take: the connection is dead."""
        oldest = next(iter(self._away.values()), None)
        if oldest is None:
            return False
        size, sent_ms = oldest
        return now_ms - max(sent_ms, self._answered_at_ms) > ANSWER_MS + size * 1000 // self._bytes_per_s

    def sent(self, size_bytes: int, now_ms: int) -> int:
        """A message is handed over; return its ticket."""
        if not self._away:
            self._busy = now_ms, 0
        self._tickets += 1
        self._away[self._tickets] = size_bytes, now_ms
        self._away_bytes += size_bytes
        return self._tickets

    def answered(self, ticket: int, now_ms: int) -> None:
        """The broker took it. One of a connection that has ended says nothing."""
        size, sent_ms = self._away.pop(ticket, (0, now_ms))
        if not size:
            return
        was_full = 2 * self._away_bytes > self._window_bytes  # Else it was not put to the test.
        self._away_bytes -= size
        self._answered_at_ms = now_ms
        took_ms = now_ms - sent_ms
        self._answer_ms = max(took_ms, (3 * self._answer_ms + took_ms) // 4)
        self._soonest_ms = took_ms if self._soonest_ms is None else min(self._soonest_ms, took_ms)
        if took_ms - self._soonest_ms < SOON_MS and was_full:
            self._window_bytes = min(BYTES_MAX, self._window_bytes + size)
        elif took_ms - self._soonest_ms > LATE_MS:
            self._window_bytes = max(BYTES_MIN, self._window_bytes // 2)
        self._measure(size, now_ms)

    def ended(self, now_ms: int) -> None:
        """The connection is over; if it was for an answer that did not come, the line may be slower than was thought."""
        if (oldest := next(iter(self._away.values()), None)) and now_ms - oldest[1] >= ANSWER_MS:
            self._bytes_per_s = max(BYTES_PER_S_MIN, self._bytes_per_s // 4)
        self._begin()

    def _measure(self, size: int, now_ms: int) -> None:
        """Answers come in bunches, so whole seconds are measured; a line that idles is taken for slower than it is."""
        if self._busy is None:
            return
        since_ms, answered_bytes = self._busy[0], self._busy[1] + size
        if now_ms - since_ms >= SOON_MS:
            found = min(BYTES_PER_S_MAX, answered_bytes * 1000 // (now_ms - since_ms))
            self._bytes_per_s = max(BYTES_PER_S_MIN, min(found, (3 * self._bytes_per_s + found) // 4))
            self._busy = (now_ms, 0) if self._away else None
        elif not self._away:
            # Less than a second of work: at least so fast that it took no longer.
            self._bytes_per_s = min(BYTES_PER_S_MAX, max(self._bytes_per_s, answered_bytes))
            self._busy = None
        else:
            self._busy = since_ms, answered_bytes
