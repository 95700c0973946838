"""Has the fleet lost what it once acknowledged? Sans-IO, for a sender that hears acks only through others.

Who carries acks could keep old ones and play them again. They cannot pass for a loss: a manager never stands lower than
before within one term, and a term rises with every start (``docs/wire.md`` 5.2).
"""

from agent.wire.messages import StreamHead
from agent.wire.streams import SUSPECT_MS


class Regression:
    """Watches the acks of one stream."""

    def __init__(self) -> None:
        self._sure_term = 0  # In this term the fleet has confirmed everything that we count as acknowledged.
        self._low_since_ms: int | None = None

    def lost_to(self, term: int, ack: StreamHead | None, own: StreamHead, acked: StreamHead, now_ms: int) -> int | None:
        """Take in one verified ack; return where the fleet stands if it stands there for good, else None.

        Args:
            ack: what it says of the stream, None if the fleet holds nothing of it.
            own: our newest link. acked: the newest one that counts as acknowledged.
            now_ms: monotonic.
        """
        seq = ack.seq if ack is not None and ack.epoch == own.epoch else 0
        is_newer_epoch = ack is not None and ack.epoch > own.epoch
        if seq >= acked.seq or is_newer_epoch:
            self._low_since_ms = None
            self._sure_term = max(term, self._sure_term)
            return None
        if term <= self._sure_term:
            return None
        if self._low_since_ms is None:
            self._low_since_ms = now_ms  # A late ack of before our restart looks the same: see whether it stays.
        return seq if now_ms - self._low_since_ms >= SUSPECT_MS else None
