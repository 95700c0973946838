"""Checkpoints of the manager's log: made once a minute if it has grown, told in every state, compared with what gateways remember.

A gateway never forgets the newest checkpoint it has seen. So a database that was put back to a backup, or rewritten,
contradicts the city, and an honest manager says so itself; a dishonest one is caught by whoever brings the gateway's
file to ``armoire-fleet audit verify --checkpoint``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from agent.model.identity import CityId
from agent.wire.checkpoint import Checkpoint, seal_checkpoint
from agent.wire.fleetlog import KEYS, other_entry
from agent.wire.keyfile import Signer
from agent.wire.messages import Birth, Heartbeat
from agent.wire.trust import KeyRing
from fleet import merkle_log, schema
from fleet.commands import Transact
from fleet.engine import add_rows
from fleet.errors import StoreError
from fleet.fence import DeposedError
from fleet.ingest import Ingest
from fleet.merkle_log import StoredTree

CHECKPOINT_S = 60.0
TOLD_MAX = 1_000
"""Heartbeats waiting to be compared: a whole city's, ten seconds' worth."""
BEHIND = "log.behind"
CONTRADICTED = "log.contradicted"

Record = Callable[[str, str, str, int], Awaitable[None]]
"""Records an event: gateway, kind, text, Unix time."""


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose log it is, and who signs for it."""

    city: CityId
    fleet: str
    signer: Signer


class Checkpoints:
    """The newest checkpoint of one manager's log.

    Args:
        transact: runs work in the writer's thread. ingest: holds the log.
        record: records an event.
    """

    def __init__(self, whose: Whose, transact: Transact, ingest: Ingest, record: Record) -> None:
        self._whose = whose
        self._transact = transact
        self._ingest = ingest
        self._record = record
        self._believed: dict[str, tuple[int, bytes]] = {}  # What each gateway told last and was found right.
        self._doubted: set[str] = set()  # One event per gateway and start: whoever repeats it says nothing new.
        self._log = structlog.get_logger("fleet")
        self._told: asyncio.Queue[Heartbeat] = asyncio.Queue(TOLD_MAX)
        self.note = ""

    async def run(self, unix_ms: Callable[[], int]) -> None:
        """Make checkpoints and compare what gateways tell, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._make_often(unix_ms))
            tasks.create_task(self._compare(unix_ms))

    def note_told(self, message: Birth | Heartbeat) -> None:
        """A gateway has told something; compared soon. What finds no room comes again with the next heartbeat."""
        if isinstance(message, Heartbeat) and message.log_size and not self._told.full():
            self._told.put_nowait(message)

    async def make(self, now_ms: int) -> str:
        """Publish a checkpoint if the log has grown since the newest one; return the newest.

        Raises:
            StoreError: it was not stored, and is not told to anybody.
        """

        def work(connection: Connection) -> str:
            log = self._ingest.standing.log
            if held := merkle_log.note_at(connection, log.size):
                return held
            whose = self._whose
            note = seal_checkpoint(whose.signer, Checkpoint(whose.city, whose.fleet, log.size, log.root()))
            add_rows(connection, schema.log_checkpoints, [(log.size, now_ms, note)])
            return note

        self.note = await self._transact(work)
        return self.note

    async def log_key_list(self, ring: KeyRing, now_ms: int) -> None:
        """Add the key list in force to the log, unless the newest one there is the same.

        Raises:
            StoreError: it was not stored.
        """

        def work(connection: Connection) -> None:
            digest = merkle_log.digest_of(ring.sealed)
            if merkle_log.newest_digest(connection, KEYS) != digest:
                log, link_no = self._ingest.standing.log, self._ingest.standing.link_no
                log.append(other_entry(KEYS, now_ms, digest, number=ring.version), link_no, KEYS)

        await self._transact(work)

    async def told(self, message: Heartbeat, now_ms: int) -> None:
        """A gateway says which checkpoint of our log it remembers."""
        gateway, told = message.gateway, (message.log_size, message.log_root)
        if not message.log_size or self._believed.get(gateway) == told or gateway in self._doubted:
            return

        def work(connection: Connection) -> bytes | None:
            tree = StoredTree(connection)
            return tree.root(message.log_size) if message.log_size <= tree.size else None

        try:
            root = await self._transact(work)
        except StoreError as error:
            self._log.warning("log.not-compared", gateway=gateway, reason=str(error))
            return
        if root == message.log_root:
            self._believed[gateway] = told
            return
        self._doubted.add(gateway)
        kind = BEHIND if root is None else CONTRADICTED
        text = (
            f"remembers a checkpoint of {message.log_size} entries of our log, which "
            + ("has fewer: the database was lost or restored" if root is None else "another root: it was rewritten")
            + ", or the gateway is not to be believed"
        )
        self._log.error(kind, gateway=gateway, size=message.log_size)
        await self._record(gateway, kind, text, now_ms)

    async def _make_often(self, unix_ms: Callable[[], int]) -> None:
        while True:  # As long as the manager runs.
            try:
                await self.make(unix_ms())
            except DeposedError:
                self.note = ""  # It is for whoever leads to say how long the shared log is.
            except StoreError as error:
                self._log.warning("checkpoint.not-made", reason=str(error))
            await asyncio.sleep(CHECKPOINT_S)

    async def _compare(self, unix_ms: Callable[[], int]) -> None:
        while True:  # As long as the manager runs.
            await self.told(await self._told.get(), unix_ms())
