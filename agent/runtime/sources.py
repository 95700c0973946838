"""Where the courier gets links from: the agent's own journal, and the guard behind its socket."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from agent.process.client import LocalClient, PeerDownError
from agent.runtime.journal import STREAMS, Journal
from agent.wire import envelope
from agent.wire.local import GetSafetyRecords, SafetyRecords, TellFleetSeen
from agent.wire.messages import StreamHead
from agent.wire.streams import NO_HASH, Link

GUARD_POLL_S = 0.5
"""How often the guard is asked for new records; an alarm of its own waits that long at most."""
GUARD_TIMEOUT_S = 5.0


class LinkSource(Protocol):
    """Sealed streams, wherever they are kept. Every answer may be out of date at once; numbers say which it was."""

    @property
    def heads(self) -> Sequence[StreamHead]:
        """The newest link of each stream, as last heard."""

    @property
    def acked(self) -> Sequence[StreamHead]:
        """The newest link of each stream that the fleet acknowledged."""

    async def floors(self) -> Sequence[StreamHead]:
        """Per stream the newest link no longer kept."""

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> Sequence[Link]:
        """Links above ``seq``, oldest first; empty if the epoch is over or the source is away."""

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """The hash of one link, None if it is not known."""

    async def acknowledged(self, ack: StreamHead) -> None:
        """One stream's head from a verified ack."""

    async def fleet_message(self, topic: str, sealed: bytes) -> None:
        """A verified ack or state as it came, for a source that verifies itself."""

    async def regressed(self, stream: str, seq: int) -> None:
        """The fleet has lost what it acknowledged after ``seq``."""

    async def follow(self, changed: Callable[[], None]) -> None:
        """Run for ever; call ``changed`` whenever ``heads`` may have moved."""


class JournalLinks:
    """The agent's own streams."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @property
    def heads(self) -> Sequence[StreamHead]:
        """The newest link of each stream."""
        return [self._journal.heads[stream] for stream in STREAMS]

    @property
    def acked(self) -> Sequence[StreamHead]:
        """The newest link of each stream that the fleet acknowledged."""
        return [self._journal.acked[stream] for stream in STREAMS]

    async def floors(self) -> Sequence[StreamHead]:
        """Per stream the newest link no longer kept."""
        return await self._journal.floors()

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> Sequence[Link]:
        """Links above ``seq``, oldest first."""
        return await self._journal.sealed_after(stream, epoch, seq, limit)

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """The hash of one link, None if it is not kept."""
        return await self._journal.hash_at(stream, epoch, seq)

    async def acknowledged(self, ack: StreamHead) -> None:
        """Trim, or begin a new epoch."""
        await self._journal.acknowledged(ack)

    async def fleet_message(self, topic: str, sealed: bytes) -> None:
        """Verified by the courier already."""

    async def regressed(self, stream: str, seq: int) -> None:
        """Count what is kept after ``seq`` as not acknowledged."""
        await self._journal.regressed(stream, seq)

    async def follow(self, changed: Callable[[], None]) -> None:
        """The journal calls after each commit."""
        self._journal.listen(changed)
        await asyncio.Event().wait()  # For ever: until the courier is stopped.


class GuardLinks:
    """The guard's safety stream. The guard seals, verifies acks and trims; here it is only carried.

    While the guard is away its stream stands still; nothing else does.
    """

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._head: StreamHead | None = None
        self._acked: StreamHead | None = None

    @property
    def heads(self) -> Sequence[StreamHead]:
        """The guard's newest record, once it has answered."""
        return [] if self._head is None else [self._head]

    @property
    def acked(self) -> Sequence[StreamHead]:
        """The guard's newest record that the fleet acknowledged."""
        return [] if self._acked is None else [self._acked]

    async def floors(self) -> Sequence[StreamHead]:
        """What was acknowledged is the guard's to keep or drop: it is not sent again."""
        return self.acked

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> Sequence[Link]:
        """Links above ``seq``; none while the guard is away."""
        records = await self._ask(epoch, seq, limit)
        if records is None or records.head.epoch != epoch:
            return []
        return [Link(number, envelope.digest(sealed), sealed) for number, sealed in records.records]

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """Known for the newest record only: the guard compares the others itself."""
        head = self._head
        return head.hash if head is not None and (head.epoch, head.seq) == (epoch, seq) else None

    async def acknowledged(self, ack: StreamHead) -> None:
        """The guard opens the ack itself, see ``fleet_message``."""

    async def fleet_message(self, topic: str, sealed: bytes) -> None:
        """Hand the guard what the fleet said."""
        try:
            await self._client.ask(TellFleetSeen(topic, sealed), GUARD_TIMEOUT_S)
        except PeerDownError:
            return  # It asks for nothing and misses nothing: acks are cumulative, states repeat.

    async def regressed(self, stream: str, seq: int) -> None:
        """Nothing kept here to send again."""

    async def follow(self, changed: Callable[[], None]) -> None:
        """Ask the guard again and again."""
        while True:  # Until the courier is stopped.
            before = self._head
            head = before or StreamHead("safety", 0, 0, NO_HASH)
            await self._ask(head.epoch, head.seq, 1)
            if self._head != before:
                changed()
            await asyncio.sleep(GUARD_POLL_S)

    async def _ask(self, epoch: int, seq: int, limit: int) -> SafetyRecords | None:
        try:
            reply = await self._client.ask(GetSafetyRecords(epoch, seq, limit), GUARD_TIMEOUT_S)
        except PeerDownError:
            return None
        if not isinstance(reply, SafetyRecords):
            return None
        self._head, self._acked = reply.head, reply.acked
        return reply
