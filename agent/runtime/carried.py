"""Whom a courier carries for, as the courier sees it."""

from typing import Protocol

from agent.wire.messages import Birth, Heartbeat, StreamHead
from agent.wire.rejections import Notice
from agent.wire.topics import Topic


class Carried(Protocol):
    """Whom the courier carries for: the agent."""

    async def birth(self, conn: int, heads: list[StreamHead], floors: list[StreamHead]) -> Birth:
        """What to say on a new connection."""

    async def heartbeat(self, conn: int, beat: int, heads: list[StreamHead]) -> Heartbeat:
        """What to say every HEARTBEAT_S."""

    async def command(self, sealed: bytes, topic: str) -> bytes | None:
        """Have a sealed command judged and carried out; the sealed result, None if nobody is to be answered."""

    async def key_list(self, sealed: bytes) -> None:
        """A key list arrived; verify it before believing it."""

    async def desired(self, topic: Topic, sealed: bytes) -> None:
        """A desired state arrived. Raises WireError or TrustError if it is not believed or not newer."""

    async def link_changed(self, text: str, *, is_up: bool) -> None:
        """The connection came or went. Called on change only."""

    def rejected(self, notice: Notice) -> None:
        """What was not believed on one topic; at most once a minute for each."""
