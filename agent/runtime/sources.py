"""Where the courier gets links from: the agent's own journal, and the guard behind its socket."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from agent.ledger.errors import LedgerError
from agent.process.client import LocalClient, PeerDownError
from agent.runtime.journal import STREAMS, Journal
from agent.wire import envelope
from agent.wire.local import GetSafetyRecords, SafetyRecords, TellFleetSeen
from agent.wire.messages import StreamHead
from agent.wire.streams import NO_HASH, WINDOW_LINKS, Link

GUARD_POLL_S = 0.5
"""How often the guard is asked for new records; an alarm of its own waits that long at most."""
GUARD_PAUSE_S_MAX = 4.0
"""A guard that does not answer is asked after pauses that double up to this."""
GUARD_ROUND_S = 0.02
"""Between two rounds, whatever happened: each ask is a read in the one thread that writes the guard's latches."""
GUARD_TIMEOUT_S = 5.0
DISK_TIMEOUT_S = 5.0
"""For each question to our own journal. Beyond it the journal counts as away, like a guard that does not answer."""
SAID_MAX = 16
"""Fleet messages waiting for the guard."""

T = TypeVar("T")
U = TypeVar("U")


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
    """The agent's own streams. A disk that refuses, fails or hangs is a source that is away; the connection stays.

    An ack that cannot be stored is stored with the next one.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._owed: dict[str, StreamHead] = {}  # At most one for each stream.

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
        return await self._ask(self._journal.floors(), [])

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> Sequence[Link]:
        """Links above ``seq``, oldest first."""
        return await self._ask(self._journal.sealed_after(stream, epoch, seq, limit), [])

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """The hash of one link, None if it is not kept."""
        return await self._ask(self._journal.hash_at(stream, epoch, seq), None)

    async def acknowledged(self, ack: StreamHead) -> None:
        """Trim, or begin a new epoch."""
        self._owed[ack.stream] = ack
        for owed in list(self._owed.values()):
            if await self._ask(self._journal.acknowledged(owed), None) is None:
                break  # The disk takes nothing yet.
            if self._owed.get(owed.stream) is owed:
                del self._owed[owed.stream]

    async def fleet_message(self, topic: str, sealed: bytes) -> None:
        """Verified by the courier already."""

    async def regressed(self, stream: str, seq: int) -> None:
        """Count what is kept after ``seq`` as not acknowledged."""
        await self._ask(self._journal.regressed(stream, seq), None)

    async def follow(self, changed: Callable[[], None]) -> None:
        """The journal calls after each commit."""
        self._journal.listen(changed)
        await asyncio.Event().wait()  # For ever: until the courier is stopped.

    async def _ask(self, answer: Awaitable[T], otherwise: U) -> T | U:
        try:
            async with asyncio.timeout(DISK_TIMEOUT_S):
                return await answer
        except (LedgerError, TimeoutError):
            return otherwise  # Counted by the journal, and told by the recorder, whose records wait.


class GuardLinks:
    """The guard's safety stream. The guard seals, verifies acks and trims; here it is only carried.

    One task talks to the guard and everything else reads what it brought: while the guard is away or slow its stream
    stands still, and nothing else does.
    """

    def __init__(self, client: LocalClient) -> None:
        self._client = client
        self._head: StreamHead | None = None
        self._acked: StreamHead | None = None
        self._links: deque[Link] = deque()
        self._said: deque[tuple[str, bytes]] = deque(maxlen=SAID_MAX)
        self._something_said = asyncio.Event()

    @property
    def heads(self) -> Sequence[StreamHead]:
        """The guard's newest record, once it has answered."""
        return [] if self._head is None else [self._head]

    @property
    def acked(self) -> Sequence[StreamHead]:
        """The guard's newest record that the fleet acknowledged."""
        return [] if self._acked is None else [self._acked]

    async def floors(self) -> Sequence[StreamHead]:
        """Not for us to say: a fleet that holds less is answered by the guard itself, with a new epoch."""
        return []

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> Sequence[Link]:
        """Links above ``seq``, as far as the guard has handed them over."""
        if self._head is None or self._head.epoch != epoch:
            return []
        return [link for link in self._links if link.seq > seq][:limit]

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        """Known for what was handed over; the guard compares the others itself."""
        if self._head is None or self._head.epoch != epoch:
            return None
        return next((link.hash for link in self._links if link.seq == seq), None)

    async def acknowledged(self, ack: StreamHead) -> None:
        """The guard opens the ack itself, see ``fleet_message``."""

    async def fleet_message(self, topic: str, sealed: bytes) -> None:
        """Hand the guard what the fleet said, soon. Acks are cumulative and states repeat: the newest are enough."""
        self._said.append((topic, sealed))
        self._something_said.set()

    async def regressed(self, stream: str, seq: int) -> None:
        """The guard hears the acks itself, and begins a new epoch."""

    async def follow(self, changed: Callable[[], None]) -> None:
        """Tell the guard what the fleet said and fetch what the guard recorded, again and again."""
        silences = 0
        while True:  # Until the courier is stopped.
            self._something_said.clear()
            before = (self._head, len(self._links))
            has_more = False
            try:
                for _ in range(len(self._said)):
                    await self._client.ask(TellFleetSeen(*self._said.popleft()), GUARD_TIMEOUT_S)
                has_more = await self._fetch()
                silences = 0
            except PeerDownError:
                self._said.clear()
                silences += 1
            if (self._head, len(self._links)) != before:
                changed()
            if silences:
                await asyncio.sleep(min(GUARD_PAUSE_S_MAX, GUARD_POLL_S * 2 ** min(silences - 1, 8)))
                continue  # What the fleet says meanwhile waits: it would be lost on a guard that is away.
            await asyncio.sleep(GUARD_ROUND_S)
            if not has_more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(GUARD_POLL_S):
                        await self._something_said.wait()

    async def _fetch(self) -> bool:
        """Take what follows the links we hold; begin anew if the guard's epoch is another.

        Returns:
            Whether to go on at once: links came or were acknowledged, there are more, and room for them.
        """
        head = self._head or StreamHead("safety", 0, 0, NO_HASH)
        after = self._links[-1].seq if self._links else (self._acked.seq if self._acked else 0)
        room = WINDOW_LINKS * 2 - len(self._links)
        reply = await self._client.ask(GetSafetyRecords(head.epoch, after, max(1, room)), GUARD_TIMEOUT_S)
        if not isinstance(reply, SafetyRecords):
            raise PeerDownError(f"the guard answered with {type(reply).__name__}")
        if reply.head.epoch != head.epoch:
            self._links.clear()
        elif room > 0:
            self._links.extend(
                Link(seq, envelope.digest(sealed), sealed)
                for seq, sealed in reply.records
                if not self._links or seq > self._links[-1].seq
            )
        newest, kept = (self._links[-1].seq if self._links else after), len(self._links)
        self._head, self._acked = reply.head, reply.acked
        while self._links and self._links[0].seq <= reply.acked.seq:
            self._links.popleft()
        is_moving = newest > after or len(self._links) < kept
        return is_moving and newest < reply.head.seq and len(self._links) < WINDOW_LINKS * 2
