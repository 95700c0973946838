"""The key list in force at a running manager: read when the officers publish another, and passed on to the gateways."""

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection

from agent.wire.roots import KEY_LIST_BYTES_MAX
from agent.wire.trust import KeyRing
from fleet.errors import FolderError, StoreError
from fleet.exhaustion import is_exhausted
from fleet.folder import newer_ring
from fleet.ingest import Ingest

if TYPE_CHECKING:
    from fleet.control_room import ControlRoom

KEY_LIST_S = 1.0
AGAIN_MS = 30_000
"""A gateway that says in its heartbeats that it has not the newest list is sent it again, and not each time."""


class KeysInForce:
    """Args: folder: where keys.sealed is published."""

    def __init__(self, folder: Path, room: "ControlRoom") -> None:
        self._folder = folder
        self._room = room
        self._sent_ms: dict[str, int] = {}
        self._log = structlog.get_logger("fleet")

    async def watch(self) -> None:
        """Take each newer list, for as long as the manager runs."""
        room, problem = self._room, ""
        while True:  # As long as the manager runs.
            await asyncio.sleep(KEY_LIST_S)
            try:
                ring = await asyncio.to_thread(newer_ring, self._folder, room.trust, room.ring)
                if ring is not None:
                    await room.writer.transact(partial(_use, room.ingest, ring), is_fenced=False)
                    if room.leading.may_write:
                        await room.checkpoints.log_key_list(ring, _unix_ms())
            except (FolderError, StoreError) as error:
                if not is_exhausted(error) and problem != (problem := str(error)):
                    self._log.error("key-list.refused", reason=problem)
                continue  # Without a free descriptor the list is looked for again in a second.
            problem = ""
            if ring is not None:
                self._log.info("key-list.taken", version=ring.version)
                self._tell_unknown(ring)
                for gateway in room.registry.gateways:
                    self.send(gateway)

    def send(self, gateway: str) -> None:
        """Pass the list on to a gateway that goes by an older one; one that does not say was enrolled with our first."""
        room, ring = self._room, self._room.ring
        held = room.registry.gateway(gateway).key_list or room.trust.ring.version
        if ring.version > held and room.leading.is_leading and len(ring.sealed) <= KEY_LIST_BYTES_MAX:
            self._sent_ms[gateway] = _unix_ms()
            room.send(gateway, "keys", ring.sealed)

    def beaten(self, gateway: str, version: int) -> None:
        """A gateway said which version it goes by, 0 if it did not say: it may not have got ours."""
        if version and _unix_ms() - self._sent_ms.get(gateway, 0) > AGAIN_MS:
            self.send(gateway)

    def _tell_unknown(self, ring: KeyRing) -> None:
        """Say which of our own keys nobody believes any more."""
        trust = self._room.trust
        if ring.entry(trust.director.kid) is None:
            self._log.error("director.not-in-key-list", kid=trust.director.kid.decode())
        for name, operator in trust.operators.items():
            if ring.entry(operator.signer.kid) is None:
                self._log.warning("operator.not-in-key-list", name=name)


def _use(ingest: Ingest, ring: KeyRing, _connection: Connection) -> None:
    """Change the key list between two transactions, in the thread that uses it."""
    ingest.use(ring)


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000
