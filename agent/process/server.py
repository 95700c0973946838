"""The unix socket both processes serve: who may speak is decided by the kernel's peer credentials."""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from agent.wire.errors import WireError
from agent.wire.local import FRAME_BYTES_MAX, LENGTH_BYTES, Failed, Reply, Request, decode_request, frame

IDLE_TIMEOUT_S = 60.0
REPLY_TIMEOUT_S = 15.0  # a bollard's read-back is the slowest thing asked for
CLIENTS_MAX = 16
_UCRED = struct.Struct("3i")
_SO_PEERGROUPS = 59  # Linux 4.13, asm-generic/socket.h; Python has no name for it
_PEER_GROUPS_BYTES_MAX = 1024  # what Python reads at most: 256 groups
_GID_BYTES = 4

_log = logging.getLogger("armoire.socket")

Answer = Callable[[Request], Awaitable[Reply]]


class LocalServer:
    """Serve requests one at a time per connection; count what was turned away.

    When all places are taken, whoever has waited longest for its own next request makes room: connections held open
    for nothing keep nobody out. Only if all are being answered is a newcomer turned away.

    Args:
        answer: makes the reply. It raises nothing but our own bugs.
        groups: numeric group ids whose members may speak, besides root and our own user; see ``group_of``.
    """

    def __init__(self, path: Path, answer: Answer, groups: frozenset[int] = frozenset()) -> None:
        self._path = path
        self._answer = answer
        self._groups = groups
        self._clients: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Task[None], None] = {}  # For a request; who has waited longest comes first.
        self._listener: asyncio.AbstractServer | None = None
        self._trouble = ""
        self.rejected: dict[str, int] = {"peer": 0, "frame": 0, "busy": 0, "slow": 0, "displaced": 0}

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen for as long as the context lasts. A socket left by a dead process is replaced."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._listener = await self._listen()
        try:
            yield
        finally:
            self._listener.close()
            self._listener = None
            for client in self._clients:
                client.cancel()
            await asyncio.gather(*self._clients, return_exceptions=True)
            self._path.unlink(missing_ok=True)

    async def look(self) -> None:
        """Listen again if somebody has deleted the socket file; who is connected stays so. One stat, else nothing.

        Call it every few seconds. What stands there instead is left alone: it may be another process's socket.
        """
        if self._listener is None or os.path.lexists(self._path):
            return
        try:
            listener = await self._listen()
        except OSError as error:
            if self._trouble != str(error):
                _log.warning("%s was deleted and cannot be put back: %s", self._path.name, error)
            self._trouble = str(error)
            return
        self._listener.close()
        self._listener, self._trouble = listener, ""
        _log.warning("%s was deleted; it is there again", self._path.name)

    async def _listen(self) -> asyncio.AbstractServer:
        listener = await asyncio.start_unix_server(self._serve, str(self._path), limit=FRAME_BYTES_MAX)
        try:
            for group in self._groups:
                with contextlib.suppress(PermissionError):  # We are no member: then the file lets nobody else in.
                    os.chown(self._path, -1, group)
            self._path.chmod(0o660)
        except OSError:
            listener.close()
            raise
        return listener

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            # We are closing, at whatever point: the stream protocol would log a cancelled handler as a fault.
            await self._attend(reader, writer)

    async def _attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if not self.may_speak(*_credentials(writer)):
                self.rejected["peer"] += 1
            elif not self._has_room():
                self.rejected["busy"] += 1
            else:
                self._clients.add(task)
                await self._converse(task, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # The peer went away; it has no claim on an answer.
        finally:
            self._clients.discard(task)
            writer.close()
            try:
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()
            except (OSError, TimeoutError):
                writer.transport.abort()  # It never read our last answer: nothing of it may stay.

    def _has_room(self) -> bool:
        """Whether there is a place for one more, if need be that of whoever has waited longest."""
        if len(self._clients) < CLIENTS_MAX:
            return True
        oldest = next(iter(self._waiting), None)
        if oldest is None:
            return False
        del self._waiting[oldest]
        self._clients.discard(oldest)
        self.rejected["displaced"] += 1
        oldest.cancel()
        return True

    def may_speak(self, uid: int, gids: frozenset[int]) -> bool:
        """Root, our own user, or a member of an allowed group."""
        return uid in (0, os.getuid()) or not self._groups.isdisjoint(gids)

    async def _converse(
        self, task: "asyncio.Task[None]", reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:  # Until the peer closes, falls silent, breaks the grammar, or makes room.
            self._waiting[task] = None
            try:
                async with asyncio.timeout(IDLE_TIMEOUT_S):
                    length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                    if length > FRAME_BYTES_MAX:
                        self.rejected["frame"] += 1
                        return
                    body = await reader.readexactly(length)
            except TimeoutError:
                self.rejected["slow"] += 1
                return
            finally:
                self._waiting.pop(task, None)
            writer.write(frame(await self._reply(body)))
            try:
                async with asyncio.timeout(REPLY_TIMEOUT_S):
                    await writer.drain()
            except TimeoutError:
                self.rejected["slow"] += 1
                writer.transport.abort()  # It does not read: what waits for it would wait for ever.
                return

    async def _reply(self, body: bytes) -> Reply:
        try:
            request = decode_request(body)
        except WireError as error:
            self.rejected["frame"] += 1
            return Failed(f"{error}; nothing was done")
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await self._answer(request)
        except TimeoutError:
            self.rejected["slow"] += 1
            return Failed("no answer in time; if a command was under way its outcome is in the log")


def group_of(folder: Path) -> frozenset[int]:
    """The group that owns a state folder, if the folder lets its group in: its members may speak to the sockets there.

    Raises:
        OSError: there is no such folder.
    """
    found = folder.stat()
    return frozenset({found.st_gid}) if found.st_mode & stat.S_IXGRP else frozenset()


def _credentials(writer: asyncio.StreamWriter) -> tuple[int, frozenset[int]]:
    """User and groups of the peer, filled in by the kernel at connect, so nobody can claim them."""
    sock = writer.get_extra_info("socket")
    _pid, uid, gid = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    try:
        others = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _PEER_GROUPS_BYTES_MAX)
    except OSError as error:
        if error.errno not in (errno.ERANGE, errno.ENOPROTOOPT):
            raise
        others = b""  # More groups than we read, or a kernel that does not tell: the primary one counts.
    return uid, frozenset({gid, *struct.unpack(f"={len(others) // _GID_BYTES}I", others)})
