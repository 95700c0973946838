"""The Modbus server on a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulators.cabinet import Cabinet
from simulators.modbus_frame import Deframer, Frame

pytestmark = pytest.mark.hil

READ_MODE = bytes.fromhex("0300700001")
REMOTE = bytes.fromhex("03020002")
SILENCE_S = 0.1


class Line:
    """A bare client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self._deframer = Deframer()
        self._frames: list[Frame] = []

    def send(self, transaction: int, pdu: bytes, unit: int = 1) -> None:
        self.writer.write(Frame(transaction, unit, pdu).encode())

    async def receive(self, timeout_s: float = 2.0) -> Frame:
        async with asyncio.timeout(timeout_s):
            while not self._frames:
                data = await self._reader.read(4096)
                if not data:
                    raise EOFError
                self._frames += self._deframer.receive(data)
        return self._frames.pop(0)


@asynccontextmanager
async def line_to(cabinet: Cabinet) -> AsyncIterator[Line]:
    reader, writer = await asyncio.open_connection("127.0.0.1", cabinet.port)
    try:
        yield Line(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


async def test_pipelined_requests_are_each_answered_under_their_own_number() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        for transaction in range(50):
            line.send(transaction, READ_MODE)
        answers = [await line.receive() for _ in range(50)]
        assert answers == [Frame(transaction, 1, REMOTE) for transaction in range(50)]


async def test_a_unit_that_is_not_there_is_not_answered_for() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        line.send(1, READ_MODE, unit=9)
        line.send(2, READ_MODE)
        assert (await line.receive()).transaction == 2


async def test_a_silent_unit_says_nothing_and_speaks_again_afterwards() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        cabinet.fault("silent")
        line.send(1, READ_MODE)
        with pytest.raises(TimeoutError):
            await line.receive(SILENCE_S)
        cabinet.fault("silent", on=False)
        line.send(2, READ_MODE)
        assert await line.receive() == Frame(2, 1, REMOTE)


async def test_a_slow_unit_answers_late_and_delays_no_other() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        cabinet.fault("slow:0.2")
        line.send(1, READ_MODE)
        line.send(2, bytes.fromhex("0400000002"), unit=2)
        assert (await line.receive()).transaction == 2
        assert await line.receive() == Frame(1, 1, REMOTE)


async def test_a_late_reply_comes_before_the_next_answer() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        cabinet.fault("late_reply")
        line.send(1, READ_MODE)
        with pytest.raises(TimeoutError):
            await line.receive(SILENCE_S)
        cabinet.fault("late_reply", on=False)
        line.send(2, READ_MODE)
        assert [(await line.receive()).transaction for _ in range(2)] == [1, 2]


@pytest.mark.parametrize(
    ("fault", "answer"),
    [
        ("wrong_request_id", Frame(8, 1, REMOTE)),
        ("exception:6", Frame(7, 1, bytes.fromhex("8306"))),
        ("wrong_value", Frame(7, 1, bytes.fromhex("03027fff"))),
    ],
)
async def test_a_fault_of_the_answer_is_what_it_says(fault: str, answer: Frame) -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        cabinet.fault(fault)
        line.send(7, READ_MODE)
        assert await line.receive() == answer


async def test_refused_writes_leave_reads_alone() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        cabinet.fault("refuse_set")
        line.send(1, bytes.fromhex("0500000000"))
        assert (await line.receive()).pdu == bytes.fromhex("8504")
        line.send(2, READ_MODE)
        assert (await line.receive()).pdu == REMOTE
        assert all(cabinet.model.coils)


@pytest.mark.parametrize("fault", ["disconnect", "garbage"])
async def test_a_closed_line_can_be_opened_again(fault: str) -> None:
    async with Cabinet.serve() as cabinet:
        async with line_to(cabinet) as line:
            if fault == "garbage":
                line.writer.write(b"GET / HTTP/1.0\r\n\r\n")
            else:
                cabinet.fault(fault)
                line.send(1, READ_MODE)
            with pytest.raises(EOFError):
                await line.receive()
        cabinet.fault("all", on=False)
        async with line_to(cabinet) as line:
            line.send(3, READ_MODE)
            assert await line.receive() == Frame(3, 1, REMOTE)


async def test_a_torn_reply_is_never_completed() -> None:
    async with Cabinet.serve() as cabinet, line_to(cabinet) as line:
        cabinet.fault("torn_reply")
        line.send(1, READ_MODE)
        with pytest.raises(TimeoutError):
            await line.receive(SILENCE_S)
