"""A TCP line between two programs, and all that goes wrong with one: resets, silence, one deaf way, slowness, half a close.

Bytes are never changed or repeated: TCP would not let that pass. What a silent line has taken in is delivered when it
speaks again, as retransmission would; what it has not stays with the sender, whose own buffers fill.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 4_096
ON_THE_WAY_MAX = 64
"""Chunks one way holds back: as much as a mobile network's buffers."""
CONNECT_TIMEOUT_S = 2.0
CONNECTIONS_MAX = 1_000
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close sends RST


class Way:
    """One direction of a line. Change its fields at any time; every connection obeys at once.

    Args:
        delay_s: how late each byte comes. bytes_per_s: how many pass, 0 for any number.
    """

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.bytes_per_s = 0
        self.passed = 0
        self._speaks = asyncio.Event()
        self._speaks.set()

    @property
    def is_silent(self) -> bool:
        """Nothing gets through, not even an end."""
        return not self._speaks.is_set()

    def silence(self, *, on: bool) -> None:
        """Swallow everything, or let it through again."""
        if on:
            self._speaks.clear()
        else:
            self._speaks.set()

    def heal(self) -> None:
        """A good line again."""
        self.delay_s, self.bytes_per_s = 0.0, 0
        self._speaks.set()

    async def wait_through(self, taken_s: float, size: int) -> None:
        """Come back when a chunk taken in at ``taken_s`` (the loop's time) has passed."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, taken_s + self.delay_s - loop.time()))
        if self.bytes_per_s:
            await asyncio.sleep(size / self.bytes_per_s)
        await self._speaks.wait()
        self.passed += size


class Line:
    """A line on a port of 127.0.0.1. Use ``async with Line.serve(port) as line``.

    Args:
        upstream: port of 127.0.0.1 that new connections lead to; may be changed.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = 0
        self.up, self.down = Way(), Way()
        self.connections = 0
        self._ends: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = {}
        self._ended: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def serve(cls, upstream: int, port: int = 0) -> AsyncIterator["Line"]:
        """Listen until the block ends; port 0 takes a free one, told by ``port``."""
        line = cls(upstream)
        server = await asyncio.start_server(line._accept, "127.0.0.1", port, limit=CHUNK_BYTES)
        line.port = int(server.sockets[0].getsockname()[1])
        try:
            yield line
        finally:
            server.close()
            for talk in list(line._talks):
                talk.cancel()
            await asyncio.gather(*line._talks, return_exceptions=True)
            await server.wait_closed()

    @property
    def open(self) -> int:
        """Connections at this moment."""
        return len(self._ends)

    def silence(self, *, on: bool) -> None:
        """Both ways."""
        self.up.silence(on=on)
        self.down.silence(on=on)

    def heal(self) -> None:
        """A good line again; connections that ended stay ended."""
        self.up.heal()
        self.down.heal()

    def reset(self) -> int:
        """Break every connection with a TCP reset to both ends; return how many there were."""
        broken = list(self._ends.items())
        for talk, ends in broken:
            for end in ends:
                _abort(end)
            talk.cancel()  # It may be waiting for a silent line to speak.
        return len(broken)

    def half_close(self) -> int:
        """Tell every client that the server says no more, while its own words still pass; return how many there were."""
        closed = 0
        for client, _ in list(self._ends.values()):
            if client not in self._ended:
                self._ended.add(client)
                with contextlib.suppress(OSError):
                    client.write_eof()
                closed += 1
        return closed

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._talks) >= CONNECTIONS_MAX:
            _abort(writer)
            return
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.current_task()
        assert talk is not None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.upstream, limit=CHUNK_BYTES)
        except (OSError, TimeoutError):
            _abort(writer)
            return
        self.connections += 1
        self._ends[talk] = (writer, far_writer)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_carry(reader, far_writer, self.up, self._ended))
                group.create_task(_carry(far_reader, writer, self.down, self._ended))
        except* OSError:
            pass  # One end broke: so does the other.
        finally:
            del self._ends[talk]
            self._ended.discard(writer)
            _abort(writer)
            _abort(far_writer)


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, ended: set[asyncio.StreamWriter]
) -> None:
    """Carry one way of one connection, to its end; what is meant for a writer that has ended is dropped."""
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(ON_THE_WAY_MAX)

    async def take() -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(CHUNK_BYTES):  # Ends with the sender's end.
            await chunks.put((loop.time(), data))
        await chunks.put((loop.time(), b""))

    async with asyncio.TaskGroup() as group:
        group.create_task(take())
        while True:  # Until the end has passed.
            taken_s, data = await chunks.get()
            await way.wait_through(taken_s, len(data))
            if not data:
                break
            if writer not in ended:
                writer.write(data)
                await writer.drain()
    with contextlib.suppress(OSError):
        writer.write_eof()


def _abort(end: asyncio.StreamWriter) -> None:
    """Close at once with RST."""
    if (plug := end.get_extra_info("socket")) is not None and not end.transport.is_closing():
        with contextlib.suppress(OSError):
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    end.transport.abort()
