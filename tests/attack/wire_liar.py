"""Somebody on the line between guard and PLC, or the PLC itself gone bad: true frames come in, lies go out. A TCP relay."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from simulators.modbus_frame import Deframer, Frame

Pieces = list[bytes] | None
Lie = Callable[["WireRelay", Frame, Frame], Pieces]
"""From question and true answer to the pieces that are sent instead, each in a packet of its own; None hangs up."""
PIECES_MAX = 400


class WireRelay:
    """The guard speaks to ``port``; what the PLC at ``true_port`` answers is passed on through ``lie``."""

    def __init__(self, true_port: int) -> None:
        self._true_port = true_port
        self.lie: Lie | None = None
        self.told = 0
        self.port = 0
        self.last: dict[int, Frame] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def _stand_between(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back: asyncio.StreamWriter | None = None
        try:
            true_reader, back = await asyncio.open_connection("127.0.0.1", self._true_port)
            asked, answered = Deframer(), Deframer()
            while data := await reader.read(4096):  # Ends with the guard's connection.
                for question in asked.receive(data):
                    back.write(question.encode())
                    answer = await self._one(true_reader, answered)
                    if answer is None or not await self._tell(writer, question, answer):
                        return
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for end in (writer, back):
                if end is not None:
                    end.transport.abort()

    async def _one(self, reader: asyncio.StreamReader, deframer: Deframer) -> Frame | None:
        while data := await reader.read(4096):
            if frames := deframer.receive(data):
                return frames[0]
        return None

    async def _tell(self, writer: asyncio.StreamWriter, question: Frame, answer: Frame) -> bool:
        pieces: Pieces = [answer.encode()]
        if self.lie is not None:
            pieces = self.lie(self, question, answer)
            self.told += 1
        self.last[answer.unit] = answer
        if pieces is None:
            return False
        for piece in pieces[:PIECES_MAX]:
            writer.write(piece)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            await asyncio.sleep(0)
        return True

    @classmethod
    @asynccontextmanager
    async def serve(cls, true_port: int) -> AsyncIterator["WireRelay"]:
        """Stand between until the block ends."""
        relay = cls(true_port)
        server = await asyncio.start_server(relay._stand_between, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()
            for task in relay._tasks:
                task.cancel()
            await asyncio.gather(*relay._tasks, return_exceptions=True)


def framed(answer: Frame, pdu: bytes, *, transaction: int | None = None, unit: int | None = None) -> bytes:
    """The answer with other inside, or another envelope."""
    number = answer.transaction if transaction is None else transaction
    return Frame(number & 0xFFFF, answer.unit if unit is None else unit, pdu).encode()


def headed(answer: Frame, *, protocol: int = 0, length: int | None = None) -> bytes:
    """The answer under a header that lies."""
    size = len(answer.pdu) + 1 if length is None else length
    return struct.pack(">HHHB", answer.transaction, protocol, size, answer.unit) + answer.pdu


def refusal(code: int) -> Lie:
    """Every request is answered by this exception."""
    return lambda _relay, question, answer: [framed(answer, bytes((question.pdu[0] | 0x80, code)))]


LIES: dict[str, Lie] = {
    "another transaction": lambda _r, _q, a: [framed(a, a.pdu, transaction=a.transaction + 1)],
    "transaction 0": lambda _r, _q, a: [framed(a, a.pdu, transaction=0)],
    "another unit": lambda _r, _q, a: [framed(a, a.pdu, unit=a.unit ^ 3)],
    "another function": lambda _r, _q, a: [framed(a, bytes((a.pdu[0] ^ 7,)) + a.pdu[1:])],
    "an exception of another function": lambda _r, q, a: [framed(a, bytes(((q.pdu[0] ^ 1) | 0x80, 4)))],
    "fewer bytes than it counts": lambda _r, _q, a: [framed(a, a.pdu[:-1])],
    "more bytes than it counts": lambda _r, _q, a: [framed(a, a.pdu + b"\0\1")],
    "a count that lies": lambda _r, _q, a: [framed(a, a.pdu[:1] + bytes((a.pdu[1] ^ 0x55,)) + a.pdu[2:])],
    "a function and nothing more": lambda _r, _q, a: [framed(a, a.pdu[:1])],
    "a storm of exceptions": refusal(4),
    "an exception of no kind": refusal(0),
    "an exception of the maker's": refusal(255),
    "the unit cannot be reached": refusal(11),
    "another protocol": lambda _r, _q, a: [headed(a, protocol=7)],
    "a frame without end": lambda _r, _q, a: [headed(a, length=0xFFFF), *[b"\0" * 64] * 200],
    "a frame of no length": lambda _r, _q, a: [headed(a, length=0)],
    "half a frame": lambda _r, _q, a: [a.encode()[: len(a.encode()) // 2]],
    "one byte": lambda _r, _q, a: [a.encode()[:1]],
    "noise": lambda r, _q, a: [bytes((byte * 7 + r.told) & 0xFF for byte in a.encode())],
    "the answer before": lambda r, _q, a: [r.last[a.unit].encode()] if a.unit in r.last else [],
    "old answers without end": lambda r, _q, a: [r.last[a.unit].encode()] * 100 if a.unit in r.last else [],
    "nothing": lambda _r, _q, _a: [],
    "hanging up": lambda _r, _q, _a: None,
}
"""Lies in which nothing may be believed."""

HARMLESS: dict[str, Lie] = {
    "byte by byte": lambda _r, _q, a: [bytes((byte,)) for byte in a.encode()],
    "a late answer before the true one": lambda r, _q, a: [
        (r.last[a.unit].encode() if a.unit in r.last else b"") + a.encode()
    ],
}
"""The truth is among them, and it is found."""
