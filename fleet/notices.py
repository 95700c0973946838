"""What the manager itself notices and does: as events, and, where it concerns who commands the city, in its log too."""

from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from agent.wire.fleetlog import other_entry
from fleet import event_rows, schema
from fleet.answers import EventAnswer
from fleet.commands import Transact
from fleet.engine import add_rows
from fleet.errors import StoreError
from fleet.ingest import Ingest
from fleet.leading import Leading
from fleet.merkle_log import digest_of

LEAD_TAKEN, LEAD_YIELDED = "lead.taken", "lead.yielded"


class Notices:
    """Records them.

    Args:
        transact: runs work in the writer's thread. ingest: gives out the events' numbers there, and holds the log.
        told: called with each event once it is durable.
    """

    def __init__(
        self, transact: Transact, ingest: Ingest, told: Callable[[EventAnswer], None], leading: Leading
    ) -> None:
        self._transact = transact
        self._ingest = ingest
        self._told = told
        self._leading = leading
        self._log = structlog.get_logger("fleet")

    async def record(self, gateway: str, kind: str, text: str, now_ms: int) -> None:
        """Record an event, if it is for us to do so. A disk that does not take it is told in the log output."""
        if not self._leading.may_write:
            return  # Whoever leads notices it too, and records it in the store we share.
        try:
            await self._happened(gateway, kind, text, now_ms)
        except StoreError as error:
            self._log.warning("event.not-recorded", kind=kind, reason=str(error))

    async def lead(self, kind: str, fleet: str, who: str, reason: str, now_ms: int) -> None:
        """Record who leads from now on, or no longer, and why.

        Raises:
            StoreError: it is not recorded.
        """
        term = self._ingest.term
        entry = other_entry(kind, now_ms, digest_of(reason.encode()), name=fleet, number=term, who=who)
        done = "leads" if kind == LEAD_TAKEN else "gives up the lead"
        await self._happened("", kind, f"{fleet} {done}, term {term}. {who}: {reason}", now_ms, entry)

    async def _happened(self, gateway: str, kind: str, text: str, now_ms: int, entry: bytes = b"") -> None:
        def work(connection: Connection) -> EventAnswer:
            standing = self._ingest.standing  # In the writer's thread, which alone gives out numbers.
            standing.event_no += 1
            event = event_rows.noticed(standing.event_no, gateway, kind, text, now_ms)
            add_rows(connection, schema.events, [event_rows.to_row(event)])
            if entry:
                standing.log.append(entry, standing.link_no, kind)
            return event

        self._told(await self._transact(work))
