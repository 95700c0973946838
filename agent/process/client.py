"""Speak to the other process over its unix socket: one request at a time, reconnecting on the next one."""

import asyncio
import contextlib
from pathlib import Path

from agent.wire.errors import WireError
from agent.wire.local import FRAME_BYTES_MAX, LENGTH_BYTES, Reply, Request, decode_reply, frame

REQUEST_TIMEOUT_S = 20.0  # longer than the server's own, so that its word arrives


class PeerDownError(Exception):
    """Root and only error: the other process did not answer. A command may or may not have been carried out."""


class LocalClient:
    """A connection kept open between requests; safe for several tasks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()

    async def ask(self, request: Request, timeout_s: float = REQUEST_TIMEOUT_S) -> Reply:
        """Send one request and wait for its reply.

        Raises:
            PeerDownError: not there, fell silent, or answered outside the grammar.
        """
        async with self._turn:
            try:
                async with asyncio.timeout(timeout_s):
                    return await self._exchange(request)
            except (OSError, asyncio.IncompleteReadError, TimeoutError, WireError) as error:
                self._drop()
                raise PeerDownError(
                    f"{self._path.name} did not answer: {str(error) or type(error).__name__}"
                ) from error
            except asyncio.CancelledError:
                self._drop()  # A half-read reply would be taken for the next one's.
                raise

    async def _exchange(self, request: Request) -> Reply:
        if self._streams is not None and self._streams[0].at_eof():
            self._drop()  # The server closed it while we were silent: nothing is lost, ask on a new one.
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(str(self._path), limit=FRAME_BYTES_MAX)
        reader, writer = self._streams
        writer.write(frame(request))
        await writer.drain()
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        if length > FRAME_BYTES_MAX:
            raise WireError(f"reply of {length} bytes")
        return decode_reply(await reader.readexactly(length))

    def _drop(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def close(self) -> None:
        """Close the connection."""
        if self._streams is not None:
            writer = self._streams[1]
            self._streams = None
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(1.0):
                    await writer.wait_closed()
