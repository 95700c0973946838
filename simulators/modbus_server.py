"""A Modbus TCP server for simulated units: functions 1-6, 15, 16, and every way of failing.

Own code, because a server under test must never invent data when it is slow, must keep silent
for units that are not there, and must fail in chosen ways.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from simulators.device import Stand
from simulators.faults import FaultPanel
from simulators.modbus_frame import (
    Deframer,
    ExceptionCode,
    Frame,
    FrameError,
    ModbusRefusal,
    Read,
    Table,
    Write,
    decode_request,
    encode_exception,
    encode_reading,
)

CONNECTIONS_MAX = 64
PENDING_MAX = 16  # slow answers in flight on one connection
CHUNK_BYTES = 4096
DRAIN_TIMEOUT_S = 5.0
WIRE_FAULTS = (
    "silent",
    "slow",
    "late_reply",
    "wrong_request_id",
    "wrong_value",
    "exception",
    "refuse_set",
    "torn_reply",
    "disconnect",
)
NONSENSE_WORD = 0x7FFF  # as a float32 pair: NaN; as a number: far above any range


class Unit(ABC):
    """A Modbus unit: four tables of address → value, refreshed by ``step``. Holes answer exception 2."""

    def __init__(self, own_faults: tuple[str, ...] = ()) -> None:
        self._faults = FaultPanel(WIRE_FAULTS + own_faults)
        self.tables: dict[Table, dict[int, int]] = {table: {} for table in Table}
        self.writes_refused = 0

    @property
    def faults(self) -> FaultPanel:
        """Its fault switches."""
        return self._faults

    @abstractmethod
    def step(self, now_s: float) -> None:
        """Move to ``now_s`` and refresh the tables."""

    @abstractmethod
    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Change the world around the unit. Raises ControlError for an unknown name or value."""

    def accept(self, table: Table, address: int, values: tuple[int, ...]) -> None:
        """Carry out a write to addresses that exist, all of it or nothing.

        Raises:
            ModbusRefusal: the unit will not.
        """
        raise ModbusRefusal(ExceptionCode.ILLEGAL_FUNCTION)

    def state(self) -> dict[str, Any]:
        """Describe the unit."""
        return {"faults": self.faults.listed(), "writes_refused": self.writes_refused}

    def execute(self, pdu: bytes) -> bytes:
        """Answer one request."""
        try:
            request = decode_request(pdu)
            if self.faults.on("exception"):
                raise ModbusRefusal(int(self.faults.numbers("exception")[0]))
            match request:
                case Read():
                    return encode_reading(request, self._read(request))
                case Write():
                    self._write(request)
                    return pdu[:1] + request.echo
        except ModbusRefusal as refusal:
            return encode_exception(pdu[0], refusal.code)

    def _read(self, read: Read) -> list[int]:
        table = self.tables[read.table]
        try:
            values = [table[address] for address in range(read.address, read.address + read.count)]
        except KeyError:
            raise ModbusRefusal(ExceptionCode.ILLEGAL_ADDRESS) from None
        if self.faults.on("wrong_value"):
            return [NONSENSE_WORD if read.table in (Table.INPUTS, Table.HOLDINGS) else 1] * len(values)
        return values

    def _write(self, write: Write) -> None:
        table = self.tables[write.table]
        try:
            if any(address not in table for address in range(write.address, write.address + len(write.values))):
                raise ModbusRefusal(ExceptionCode.ILLEGAL_ADDRESS)
            if self.faults.on("refuse_set"):
                raise ModbusRefusal(ExceptionCode.DEVICE_FAILURE)
            self.accept(write.table, write.address, write.values)
        except ModbusRefusal:
            self.writes_refused += 1
            raise


class ModbusServer:
    """Units by id on one TCP port. A unit that is not there is not answered for."""

    def __init__(self, units: Mapping[int, Unit], stand: Stand) -> None:
        self._units = dict(units)
        self._stand = stand
        self._connections: set[asyncio.StreamWriter] = set()
        self._talks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.requests = 0
        self.frames_broken = 0

    @asynccontextmanager
    async def serve(self, port: int, host: str = "127.0.0.1") -> AsyncIterator["ModbusServer"]:
        """Listen until the block ends; port 0 takes a free one, told by ``port``."""
        server = await asyncio.start_server(self._talk, host, port)
        self.port = int(server.sockets[0].getsockname()[1])
        try:
            yield self
        finally:
            server.close()
            self.drop_connections()
            await asyncio.gather(*self._talks)
            await server.wait_closed()

    def drop_connections(self) -> None:
        """Close every connection, as a restart of the device does."""
        for writer in list(self._connections):
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= CONNECTIONS_MAX:
            writer.close()
            return
        self._connections.add(writer)
        talk = asyncio.current_task()
        assert talk is not None
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        connection = _Connection(writer)
        deframer = Deframer()
        try:
            # Ends with the client's end of file or when the server closes the connection.
            while data := await reader.read(CHUNK_BYTES):
                for frame in deframer.receive(data):
                    await self._take(frame, connection)
                async with asyncio.timeout(DRAIN_TIMEOUT_S):
                    await writer.drain()
        except FrameError:
            self.frames_broken += 1
        except (ConnectionError, TimeoutError):
            pass  # the client left, or does not read its answers
        finally:
            connection.close()
            self._connections.discard(writer)

    async def _take(self, frame: Frame, connection: "_Connection") -> None:
        """Execute a request at once; what happens to the answer is up to the faults."""
        self.requests += 1
        unit = self._units.get(frame.unit)
        if unit is None:
            return
        self._stand.step()
        faults = unit.faults
        if faults.on("silent"):
            return
        if faults.on("disconnect"):
            connection.close()
            return
        answer = unit.execute(frame.pdu)
        self._stand.step()
        transaction = (frame.transaction + 1) & 0xFFFF if faults.on("wrong_request_id") else frame.transaction
        data = Frame(transaction, frame.unit, answer).encode()
        if faults.on("torn_reply"):
            data = data[: len(data) // 2]
        if faults.on("late_reply"):
            connection.hold_back(data)
        elif faults.on("slow"):
            await connection.send_later(data, faults.seconds("slow"))
        else:
            connection.send(data)


class _Connection:
    """The answering half of a connection. Slow answers wait here without stopping the next request."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._held: bytes | None = None
        self._timers: set[asyncio.TimerHandle] = set()

    def send(self, data: bytes) -> None:
        """Send now, after whatever was held back."""
        if self._held is not None:
            self._writer.write(self._held)
            self._held = None
        self._writer.write(data)

    def hold_back(self, data: bytes) -> None:
        """Keep an answer until the next one."""
        if self._held is not None:
            self._writer.write(self._held)
        self._held = data

    async def send_later(self, data: bytes, delay_s: float) -> None:
        """Send after a delay; over PENDING_MAX the connection itself waits."""
        if len(self._timers) >= PENDING_MAX:
            await asyncio.sleep(delay_s)
            self.send(data)
            return

        def fire() -> None:
            self._timers.discard(timer)
            self.send(data)

        timer = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(timer)

    def close(self) -> None:
        """Close; answers still waiting are lost."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._writer.close()
