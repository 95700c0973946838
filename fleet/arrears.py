"""What a gateway has announced and we do not hold yet, and since when: its older values may no longer be true.

Every heartbeat names the newest sealed link of each stream. What is on its way at that moment arrives within a beat or
two; what does not is in a backlog, behind a fork, or lost. Pure.
"""

from collections import deque

from agent.wire.messages import HEARTBEAT_S, StreamHead

BEHIND_AFTER_MS = round(2 * HEARTBEAT_S * 1000)
"""Longer than this nothing is merely on its way: what a lost packet delays is sent again within seconds."""
KEPT_MAX = 16
"""Announcements remembered per stream: older ones than this many beats make a stream late anyway."""


class Arrears:
    """One gateway's announcements that we do not hold, oldest first."""

    def __init__(self) -> None:
        self._due: dict[str, deque[tuple[StreamHead, int]]] = {}

    def announced(self, head: StreamHead, stored: StreamHead | None, at_ms: int) -> None:
        """The gateway has sealed this much.

        Args:
            stored: what we hold of the stream.
        """
        due = self._due.setdefault(head.stream, deque())
        if holds(stored, head):
            due.clear()
        elif not due or due[-1][0] != head:
            if len(due) == KEPT_MAX:
                _, at_ms = due.pop()
            due.append((head, at_ms))

    def arrived(self, stored: StreamHead) -> None:
        """We hold this much now."""
        due = self._due.get(stored.stream)
        while due and holds(stored, due[0][0]):
            due.popleft()

    def is_late(self, stream: str, now_ms: int) -> bool:
        """True if something announced should have arrived by now."""
        due = self._due.get(stream)
        return bool(due) and now_ms - due[0][1] >= BEHIND_AFTER_MS  # type: ignore[index]

    def late(self, now_ms: int) -> dict[str, int]:
        """Every late stream, with when the oldest of what is missing was announced."""
        return {stream: due[0][1] for stream, due in self._due.items() if self.is_late(stream, now_ms)}


def holds(stored: StreamHead | None, head: StreamHead) -> bool:
    """True if ``head``, as announced, is no newer than what we hold of its stream."""
    return head.seq == 0 or (stored is not None and (stored.epoch, stored.seq) >= (head.epoch, head.seq))
