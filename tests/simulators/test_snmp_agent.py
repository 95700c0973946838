"""The SNMP agent on a real socket: how it fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from simulators.signal_controller import oids
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.snmp_message import GET, V2C, Message, Value, decode, encode
from tests.referee import wired

pytestmark = pytest.mark.hil
SILENCE_S = 0.15


class Poller(asyncio.DatagramProtocol):
    """A bare manager of the SNMP kind."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Message] = asyncio.Queue(maxsize=100)
        self.transport: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answers.put_nowait(decode(data))

    def send(self, request_id: int) -> None:
        assert self.transport is not None
        name = (oids.UNIT_FLASH_STATUS, Value(0x05))
        self.transport.sendto(encode(Message(V2C, b"dijon-read", GET, request_id, (name,))))

    async def receive(self, timeout_s: float = 2.0) -> int:
        async with asyncio.timeout(timeout_s):
            return (await self.answers.get()).request_id


@asynccontextmanager
async def junction() -> AsyncIterator[tuple[SignalCabinet, Poller]]:
    async with wired(lambda monitor: SignalCabinet.serve(started=True, monitor=monitor)) as (cabinet, _):
        loop = asyncio.get_running_loop()
        transport, manager = await loop.create_datagram_endpoint(Poller, remote_addr=("127.0.0.1", cabinet.port))
        manager.transport = transport
        try:
            yield cabinet, manager
        finally:
            transport.close()


async def until_asked(cabinet: SignalCabinet, requests: int) -> None:
    async with asyncio.timeout(2):
        while cabinet.agent.requests < requests:  # noqa: ASYNC110 - another party's state, seen from outside
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["silent", "power_cut"])
async def test_a_silent_controller_answers_again_afterwards(fault: str) -> None:
    async with junction() as (cabinet, manager):
        cabinet.fault(fault)
        manager.send(1)
        with pytest.raises(TimeoutError):
            await manager.receive(SILENCE_S)
        cabinet.fault(fault, on=False)
        manager.send(2)
        assert await manager.receive() == 2


async def test_a_slow_controller_is_overtaken_by_its_own_next_answer() -> None:
    async with junction() as (cabinet, manager):
        cabinet.fault("slow:0.2")
        manager.send(1)
        await until_asked(cabinet, 1)
        cabinet.fault("slow", on=False)
        manager.send(2)
        assert [await manager.receive(), await manager.receive()] == [2, 1]


async def test_a_late_reply_comes_with_the_next_request() -> None:
    async with junction() as (cabinet, manager):
        cabinet.fault("late_reply")
        manager.send(1)
        with pytest.raises(TimeoutError):
            await manager.receive(SILENCE_S)
        manager.send(2)
        assert await manager.receive() == 1


async def test_garbage_is_counted_and_not_answered() -> None:
    async with junction() as (cabinet, manager):
        assert manager.transport is not None
        for noise in (b"\x00", b"\x30\x80\x00\x00", bytes(1400)):
            manager.transport.sendto(noise)
        manager.send(5)
        assert await manager.receive() == 5
        assert cabinet.responder.datagrams_broken == 3
