"""Answers SNMP v1 and v2c requests for one controller. ``answer`` is pure; ``SnmpAgent`` adds the socket."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import cast

from simulators.faults import FaultPanel
from simulators.signal_controller.objects import Node, ObjectTable
from simulators.signal_controller.oids import UNIT_CONTROL, Oid
from simulators.snmp_message import (
    END_OF_MIB,
    GET,
    GET_BULK,
    GET_NEXT,
    INTEGER,
    NO_SUCH_INSTANCE,
    RESPONSE,
    SET,
    V1,
    Message,
    MessageError,
    Value,
    counter,
    decode,
    encode,
    encode_varbind,
    integer,
    octets,
)

DATAGRAM_BYTES_MAX = 1400
REPETITIONS_MAX = 64
READ_COMMUNITY, WRITE_COMMUNITY = "dijon-read", "dijon-write"  # not the defaults every attacker knows
UNIT_CONTROL_RESERVED = 0b11
NONSENSE = 0x7FFFFFFF  # what ``wrong_value`` answers for every number


class Status(IntEnum):
    """error-status."""

    NO_ERROR = 0
    TOO_BIG = 1
    NO_SUCH_NAME = 2
    BAD_VALUE = 3
    GEN_ERR = 5
    NO_ACCESS = 6
    WRONG_TYPE = 7
    WRONG_VALUE = 10
    NO_CREATION = 11
    NOT_WRITABLE = 17


V1_STATUS: dict[int, int] = {
    Status.NO_ACCESS: Status.NO_SUCH_NAME,
    Status.WRONG_TYPE: Status.BAD_VALUE,
    Status.WRONG_VALUE: Status.BAD_VALUE,
    Status.NO_CREATION: Status.NO_SUCH_NAME,
    Status.NOT_WRITABLE: Status.NO_SUCH_NAME,
}  # RFC 3584 §4.4


class _FailedError(Exception):
    """A request ends with an error-status on one varbind."""

    def __init__(self, status: int, index: int) -> None:
        super().__init__(f"status {status} at {index}")
        self.status, self.index = status, index


@dataclass(frozen=True, slots=True)
class Communities:
    """Who may read and who may write. Anybody else is not answered."""

    read: str = READ_COMMUNITY
    write: str = WRITE_COMMUNITY


class Responder:
    """Requests in, responses out, against one object table."""

    def __init__(self, table: ObjectTable, communities: Communities, faults: FaultPanel) -> None:
        self._table = table
        self._names = sorted(table.nodes)
        self._read, self._write = communities.read.encode(), communities.write.encode()
        self._faults = faults
        self.datagrams_broken = 0
        self.strangers = 0

    def answer(self, datagram: bytes) -> bytes | None:
        """Answer one datagram; None where a real agent keeps silent."""
        try:
            request = decode(datagram)
        except MessageError:
            self.datagrams_broken += 1
            return None
        if request.kind == RESPONSE or (request.kind == GET_BULK and request.version == V1):
            self.datagrams_broken += 1
            return None
        if request.community not in (self._read, self._write):
            self.strangers += 1
            return None
        response = self._respond(request)
        if self._faults.on("wrong_request_id"):
            response = replace(response, request_id=(response.request_id + 1) & 0x7FFFFFFF)
        encoded = encode(response)
        if len(encoded) > DATAGRAM_BYTES_MAX:
            too_big = Message(request.version, request.community, RESPONSE, response.request_id, (), Status.TOO_BIG)
            return encode(too_big)
        return encoded

    def _respond(self, request: Message) -> Message:
        try:
            if codes := self._faults.numbers("exception"):
                raise _FailedError(codes[0], 1)
            if request.kind == GET:
                varbinds = [self._get(index, oid, request.version) for index, (oid, _) in _counted(request)]
            elif request.kind == GET_NEXT:
                varbinds = [self._next(index, oid, request.version) for index, (oid, _) in _counted(request)]
            elif request.kind == SET:
                varbinds = self._set(request)
            else:
                varbinds = self._bulk(request)
        except _FailedError as failure:
            status = failure.status
            if request.version == V1:
                status = V1_STATUS.get(status, status)
            return replace(request, kind=RESPONSE, status=status, index=failure.index)
        return replace(request, kind=RESPONSE, varbinds=tuple(varbinds), status=0, index=0)

    def _value(self, node: Node) -> Value:
        content = node.get()
        if isinstance(content, bytes):
            return octets(content)
        if node.is_counter:
            return counter(content)
        if self._faults.on("wrong_value"):
            content = NONSENSE
        if self._faults.on("octet_string"):
            return octets(content.to_bytes(max(1, (content.bit_length() + 7) // 8), "big"))
        return integer(content)

    def _get(self, index: int, oid: Oid, version: int) -> tuple[Oid, Value]:
        node = self._table.nodes.get(oid)
        if node is not None:
            return oid, self._value(node)
        if version == V1:
            raise _FailedError(Status.NO_SUCH_NAME, index)
        return oid, Value(NO_SUCH_INSTANCE)

    def _next(self, index: int, oid: Oid, version: int) -> tuple[Oid, Value]:
        position = bisect_right(self._names, oid)
        if position < len(self._names):
            name = self._names[position]
            return name, self._value(self._table.nodes[name])
        if version == V1:
            raise _FailedError(Status.NO_SUCH_NAME, index)
        return oid, Value(END_OF_MIB)

    def _bulk(self, request: Message) -> list[tuple[Oid, Value]]:
        """Fill the datagram, no more: a manager asks again from where it ended."""
        oids = [oid for oid, _ in request.varbinds]
        single = max(0, min(request.status, len(oids)))
        answers = [self._next(0, oid, request.version) for oid in oids[:single]]
        repeated = oids[single:]
        room = DATAGRAM_BYTES_MAX - 100 - sum(len(encode_varbind(*answer)) for answer in answers)
        for _ in range(max(0, min(request.index, REPETITIONS_MAX))):
            row = [self._next(0, oid, request.version) for oid in repeated]
            room -= sum(len(encode_varbind(*answer)) for answer in row)
            if room < 0 or not row:
                break
            answers += row
            repeated = [oid for oid, _ in row]
        return answers

    def _set(self, request: Message) -> list[tuple[Oid, Value]]:
        """All or nothing: every varbind is checked before the first one acts."""
        changes = [(oid, self._check(index, oid, value, request)) for index, (oid, value) in _counted(request)]
        for oid, number in changes:
            self._table.commit(oid, number)
        return list(request.varbinds)

    def _check(self, index: int, oid: Oid, value: Value, request: Message) -> int:
        if request.community != self._write:
            raise _FailedError(Status.NO_ACCESS, index)
        node = self._table.nodes.get(oid)
        if node is None:
            raise _FailedError(Status.NO_CREATION, index)
        if node.put is None:
            raise _FailedError(Status.NOT_WRITABLE, index)
        if value.tag != INTEGER:
            raise _FailedError(Status.WRONG_TYPE, index)
        number = value.as_int()
        if not node.low <= number <= node.high or (oid == UNIT_CONTROL and number & UNIT_CONTROL_RESERVED):
            raise _FailedError(Status.WRONG_VALUE, index)
        if self._faults.on("refuse_set"):
            raise _FailedError(Status.GEN_ERR, index)
        return number


def _counted(request: Message) -> enumerate[tuple[Oid, Value]]:
    return enumerate(request.varbinds, start=1)


class SnmpAgent(asyncio.DatagramProtocol):
    """The UDP face: delays and drops as the faults say."""

    def __init__(self, responder: Responder, faults: FaultPanel, before: Callable[[], None]) -> None:
        self._responder = responder
        self._faults = faults
        self._before = before
        self._transport: asyncio.DatagramTransport | None = None
        self._held: tuple[bytes, tuple[str, int]] | None = None
        self._timers: set[asyncio.TimerHandle] = set()
        self.port = 0
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own class derives from neither
        self.port = int(transport.get_extra_info("sockname")[1])

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a request, or fail as told."""
        self.requests += 1
        self._before()
        if self._faults.on("silent") or self._faults.on("power_cut"):
            return
        answer = self._responder.answer(data)
        if answer is None:
            return
        if self._faults.on("late_reply"):
            held, self._held = self._held, (answer, addr)
            if held is not None:
                self._send(*held)
        elif self._faults.on("slow"):
            self._send_later(self._faults.seconds("slow"), answer, addr)
        else:
            if self._held is not None:
                self._send(*self._held)
                self._held = None
            self._send(answer, addr)

    def _send(self, answer: bytes, addr: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(answer, addr)

    def _send_later(self, delay_s: float, answer: bytes, addr: tuple[str, int]) -> None:
        def fire() -> None:
            self._timers.discard(timer)
            self._send(answer, addr)

        timer = asyncio.get_running_loop().call_later(delay_s, fire)
        self._timers.add(timer)

    def close(self) -> None:
        """Stop; answers still waiting are lost."""
        for timer in self._timers:
            timer.cancel()
        if self._transport is not None:
            self._transport.close()

    @asynccontextmanager
    async def serve(self, port: int, host: str = "127.0.0.1") -> AsyncIterator["SnmpAgent"]:
        """Listen until the block ends."""
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=(host, port))
        try:
            yield self
        finally:
            self.close()
