"""A TCP peer on a real socket that answers whatever a test tells it to, well formed or not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from agent.model.site import Address

Answer = Callable[[bytes], bytes | None]
"""Request frame to the bytes sent back; None hangs up."""


def answer_to(request: bytes, pdu: bytes) -> bytes:
    """A well-formed frame for a request."""
    return request[:2] + b"\0\0" + (len(pdu) + 1).to_bytes(2) + request[6:7] + pdu


class Peer:
    """Takes one request per segment, which is how a client with one exchange at a time sends them."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.requests: list[bytes] = []
        self.connections = 0
        self.address = Address("127.0.0.1", 0)
        self._writers: set[asyncio.StreamWriter] = set()
        self._idle = asyncio.Event()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        self._idle.clear()
        try:
            while request := await reader.read(1024):
                self.requests.append(request)
                answer = self.answer(request)
                if answer is None:
                    break
                writer.write(answer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            self._writers.discard(writer)
            if not self._writers:
                self._idle.set()

    def hang_up(self) -> None:
        for writer in list(self._writers):
            writer.close()

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator["Peer"]:
        server = await asyncio.start_server(self._talk, "127.0.0.1", port)
        self.address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        self._idle.set()
        try:
            yield self
        finally:
            server.close()
            self.hang_up()
            await server.wait_closed()
            async with asyncio.timeout(5):
                await self._idle.wait()
