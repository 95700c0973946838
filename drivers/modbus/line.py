"""One Modbus TCP endpoint: a connection, one exchange at a time, and a breaker for each unit behind it."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from agent.model.site import Address
from drivers.base import Recheck
from drivers.errors import (
    ApprovalLapsedError,
    DeviceNonsenseError,
    DeviceRefusedError,
    DeviceSilentError,
    LinkDownError,
)
from drivers.modbus.breaker import Breaker
from drivers.modbus.profile import COILS, DISCRETES, HOLDINGS, INPUTS
from drivers.modbus.reply import EXCEPTION_BIT, Reply, judge_reply

TIMEOUT_S = 0.5  # a PLC answers within 100 ms; five times that is silence
RECONNECT_S_MIN, RECONNECT_S_MAX = 0.2, 5.0
UNITS_MAX = 256
BUFFER_BYTES_MAX = 0x10000  # pymodbus throws away 265 and more, so that a late answer would cost the next one too
NONSENSE_CODE = 0xFF  # no exception of the protocol; ours, to end a wait at once
UNIT_UNREACHABLE_CODES = (0x0A, 0x0B)  # a gateway speaks for a unit that it cannot reach
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal address",
    3: "illegal value",
    4: "device failure",
    5: "acknowledged, not done",
    6: "busy",
    8: "memory parity error",
}

T = TypeVar("T")

# It logs each time-out of each poll as an error; ours are exceptions, logged once when something changes.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class LineCounters:
    """What happened on a line since the start."""

    requests: int = 0
    silences: int = 0
    refusals: int = 0
    nonsense: int = 0
    late_bytes: int = 0
    connections: int = 0
    connections_failed: int = 0


class ModbusLine:
    """The only owner of one endpoint. Connects on demand; has no task of its own.

    Args:
        address: host and port; 502 by custom.
        timeout_s: how long to wait for a connection and for each answer.
        seed: for the jitter of reconnections and probes.
    """

    def __init__(self, address: Address, timeout_s: float = TIMEOUT_S, seed: int | None = None) -> None:
        self.address = address
        self.counters = LineCounters()
        self._timeout_s = timeout_s
        self._random = random.Random(seed)
        self._turn = asyncio.Lock()
        self._client: AsyncModbusTcpClient | None = None
        self._breakers: dict[int, Breaker] = {}
        self._reconnect_at_s = 0.0
        self._reconnect_s = RECONNECT_S_MIN
        self._sent = b""
        self._nonsense = False

    async def read(self, unit: int, fc: int, address: int, count: int) -> Sequence[int]:
        """Read ``count`` bits or registers by function code 1..4.

        Returns:
            At least ``count`` bits (True, False) or exactly ``count`` registers (0..65535).

        Raises:
            LinkDownError: no connection; nothing was sent.
            DeviceSilentError: no answer in time, or the breaker of the unit is open and it was not asked.
            DeviceRefusedError: the unit answered with an exception.
            DeviceNonsenseError: the answer cannot follow from the request.
        """

        def send(client: AsyncModbusTcpClient) -> Awaitable[ModbusPDU]:
            match fc:
                case _ if fc == COILS:
                    return client.read_coils(address, count=count, device_id=unit)
                case _ if fc == DISCRETES:
                    return client.read_discrete_inputs(address, count=count, device_id=unit)
                case _ if fc == HOLDINGS:
                    return client.read_holding_registers(address, count=count, device_id=unit)
                case _ if fc == INPUTS:
                    return client.read_input_registers(address, count=count, device_id=unit)
                case _:
                    raise ValueError(f"function code 1..4, not {fc}")

        answer = await self._exchange(unit, send, insist=False)
        return answer.bits if fc in (COILS, DISCRETES) else answer.registers

    async def write_coil(
        self, unit: int, address: int, value: bool, *, insist: bool = False, recheck: Recheck | None = None
    ) -> None:
        """Write one coil. ``insist`` asks even a unit believed dead.

        Args:
            recheck: asked when the line is ours and the write would go out next.

        Raises:
            ApprovalLapsedError: ``recheck`` refused; nothing was sent.
            Others as ``read``. After DeviceSilentError the write may or may not have arrived.
        """
        await self._exchange(
            unit, lambda client: client.write_coil(address, value, device_id=unit), insist=insist, recheck=recheck
        )

    async def write_registers(
        self, unit: int, address: int, words: Sequence[int], *, insist: bool = False, recheck: Recheck | None = None
    ) -> None:
        """Write registers, one by function 6 and several by 16. Arguments and errors as ``write_coil``."""

        def send(client: AsyncModbusTcpClient) -> Awaitable[ModbusPDU]:
            if len(words) == 1:
                return client.write_register(address, words[0], device_id=unit)
            return client.write_registers(address, list(words), device_id=unit)

        await self._exchange(unit, send, insist=insist, recheck=recheck)

    async def close(self) -> None:
        """Close the connection; a later request opens it again."""
        async with self._turn:
            self._drop()

    async def _exchange(
        self,
        unit: int,
        send: Callable[[AsyncModbusTcpClient], Awaitable[ModbusPDU]],
        *,
        insist: bool,
        recheck: Recheck | None = None,
    ) -> ModbusPDU:
        async with self._turn:  # bounded: whoever holds it waits for one connection and one answer at most
            breaker = self._breaker(unit)
            now_s = asyncio.get_running_loop().time()
            if not insist and not breaker.lets_through(now_s):
                raise DeviceSilentError(f"unit {unit} at {self.address} is silent and was not asked again yet")
            client = await self._connected()
            if recheck is not None and (refused := recheck()):
                raise ApprovalLapsedError(refused)
            self.counters.requests += 1
            self._nonsense = False
            try:
                answer = await _heeding(send(client))
            except ModbusException as error:
                self.counters.silences += 1
                if not client.connected:
                    raise DeviceSilentError(f"{self.address} hung up before unit {unit} answered") from error
                breaker.record_silence(asyncio.get_running_loop().time(), self._random.random())
                raise DeviceSilentError(f"unit {unit} at {self.address} did not answer") from error
            if self._nonsense:
                # Where the next frame starts is unknown after that, so start with an empty connection.
                self._drop()
                self.counters.nonsense += 1
                raise DeviceNonsenseError(f"unit {unit} at {self.address} answered what was not asked")
            self._reconnect_s = RECONNECT_S_MIN
            return self._believe(unit, answer, breaker)

    def _believe(self, unit: int, answer: ModbusPDU, breaker: Breaker) -> ModbusPDU:
        if not answer.isError():
            breaker.record_answer()
            return answer
        code = answer.exception_code
        meaning = f"exception {code:02d}, {EXCEPTIONS.get(code, 'of the maker')}"
        if code in UNIT_UNREACHABLE_CODES:
            self.counters.silences += 1
            breaker.record_silence(asyncio.get_running_loop().time(), self._random.random())
            raise DeviceSilentError(f"unit {unit} behind the gateway {self.address} did not answer ({meaning})")
        breaker.record_answer()
        self.counters.refusals += 1
        raise DeviceRefusedError(f"unit {unit} at {self.address} answered no: {meaning}")

    def _breaker(self, unit: int) -> Breaker:
        if not 0 <= unit < UNITS_MAX:
            raise ValueError(f"unit is 0..{UNITS_MAX - 1}, got {unit}")
        return self._breakers.setdefault(unit, Breaker())

    async def _connected(self) -> AsyncModbusTcpClient:
        """Return the open connection, or open one unless it failed only just now."""
        if self._client is not None and self._client.connected:
            return self._client
        self._drop()
        now_s = asyncio.get_running_loop().time()
        if now_s < self._reconnect_at_s:
            raise LinkDownError(f"no connection to {self.address}; it was tried a moment ago")
        client = AsyncModbusTcpClient(
            self.address.host,
            port=self.address.port,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,  # no task of its own behind our back
            trace_packet=self._watch,
        )
        client.ctx.max_buffer_size = BUFFER_BYTES_MAX
        # Set before the attempt, so that a peer which accepts and hangs up is not hammered either.
        self._reconnect_at_s = now_s + self._reconnect_s * (0.5 + self._random.random() / 2)
        self._reconnect_s = min(RECONNECT_S_MAX, 2 * self._reconnect_s)
        try:
            is_open = await _heeding(client.connect())
        except asyncio.CancelledError:
            client.close()
            raise
        if not is_open:
            client.close()
            self.counters.connections_failed += 1
            raise LinkDownError(f"no connection to {self.address}")
        self.counters.connections += 1
        self._client = client
        return client

    def _watch(self, sending: bool, data: bytes) -> bytes:
        """See every frame before pymodbus does; replace what it would trip over by an exception code of ours."""
        if sending:
            self._sent = data
            return data
        if not self._sent:
            return b""
        reply, late_bytes = judge_reply(self._sent, data)
        if reply is Reply.ANSWER:
            self.counters.late_bytes += late_bytes
            return data
        if reply is Reply.WAIT:
            return b""
        self._nonsense = True
        head, function = self._sent[:2] + b"\0\0\0\3" + self._sent[6:7], self._sent[7]
        return head + bytes((function | EXCEPTION_BIT, NONSENSE_CODE))

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
            self._sent = b""


async def _heeding(awaited: Awaitable[T]) -> T:
    """Wait for pymodbus without losing a cancellation.

    It waits by ``asyncio.wait_for``, which in Python 3.11 forgets a cancellation that comes together with the answer
    (bpo-37658): a poll that is told to stop would go on for ever.
    """
    task = asyncio.current_task()
    assert task is not None
    asked = task.cancelling()
    try:
        return await awaited
    finally:
        if task.cancelling() > asked:
            raise asyncio.CancelledError
