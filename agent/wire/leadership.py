"""Which fleet manager leads, and since when it was heard. Sans-IO; agent and guard each keep one.

Two managers may run. The one with the higher term leads; acks of a lower term are not believed. A retained state is
only a memory of the broker's: the fleet counts as heard when its beat moves on.
"""

from typing import TypeVar

import msgspec

from agent.wire.messages import Birth, FleetState, Heartbeat

Presence = TypeVar("Presence", Birth, Heartbeat)

FLEET_STALE_MS = 90_000
"""Sync.md 3.6: after 90 s without a state that moves on the fleet is silent: autonomous, not a failure."""


class Leadership:
    """What is known of the fleet."""

    def __init__(self) -> None:
        self.leader: FleetState | None = None
        self.heard_at_ms: int | None = None
        self.is_disputed = False
        self.log_seen: tuple[int, bytes] = (0, b"")  # Size and root of the newest checkpoint seen of the leader's log.
        self._is_repetition_expected = True

    @property
    def term(self) -> int:
        """The highest term seen."""
        return 0 if self.leader is None else self.leader.term

    def receive(self, state: FleetState, now_ms: int, unix_ms: int | None = None, earliest_ms: int = 0) -> bool:
        """Take in one verified state; True if another manager leads from now on.

        Args:
            now_ms: monotonic.
            unix_ms: our clock, None while unknown; a state from longer ago than FLEET_STALE_MS does not count as heard.
            earliest_ms: it is not before this: what is older was played again, also while our clock is unknown.
        """
        leader = self.leader
        if leader is not None and state.term < leader.term:
            return False
        if leader is not None and state.term == leader.term and state.fleet != leader.fleet:
            self.is_disputed = True  # Two managers under one term: the lease failed. The first one stays.
            return False
        is_change = leader is None or state.term > leader.term
        is_newer = is_change or (leader is not None and state.beat > leader.beat)
        if not is_newer:
            return False
        if is_change:
            self.is_disputed = False
        is_recent = unix_ms is not None and abs(unix_ms - state.issued_ms) < FLEET_STALE_MS
        is_old = (unix_ms is not None and not is_recent) or state.issued_ms < earliest_ms - FLEET_STALE_MS
        # The first state after connecting may be years old; without a clock only the next beat proves life.
        if (is_recent or not self._is_repetition_expected) and not is_old:
            self.heard_at_ms = now_ms
        self._is_repetition_expected = False
        self.leader = state
        return is_change

    def tell(self, message: Presence) -> Presence:
        """Add which state is followed, so that a manager that has forgotten it learns what it must go above."""
        leader = self.leader
        if leader is None:
            return message
        told = msgspec.structs.replace(message, fleet_term=leader.term, fleet_issued_ms=leader.issued_ms)
        if isinstance(told, Heartbeat):
            told = msgspec.structs.replace(told, log_size=self.log_seen[0], log_root=self.log_seen[1])
        return told

    def connected(self) -> None:
        """A new connection: the broker will repeat its retained state first."""
        self._is_repetition_expected = True

    def accepts(self, term: int) -> bool:
        """True if an ack of this term is by the leader, or by a newer one whose state is still on its way."""
        return term >= self.term

    def is_silent(self, now_ms: int) -> bool:
        """True if the fleet was not heard for FLEET_STALE_MS, or never."""
        return self.heard_at_ms is None or now_ms - self.heard_at_ms > FLEET_STALE_MS
