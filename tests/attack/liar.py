"""Somebody between guard and controller, or the controller itself gone bad: true answers come in, lies go out.

A UDP relay. Each lie is a function from one true answer to the datagrams that are sent instead of it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from simulators.snmp_message import (
    COUNTER,
    INTEGER,
    NO_SUCH_INSTANCE,
    NULL,
    OBJECT_ID,
    SET,
    V2C,
    Value,
    decode,
    encode,
    integer,
    octets,
)

Lie = Callable[["Relay", bytes], list[bytes]]
PATTERN = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 1, 4, 14, 0)
CHANNELS = (1, 3, 6, 1, 4, 1, 1206, 4, 2, 1, 8, 4, 1)
GREENS = (*CHANNELS, 4)


class Relay(asyncio.DatagramProtocol):
    """The guard speaks to ``port``; what the controller at ``true_port`` answers is passed on through ``lie``."""

    def __init__(self, true_port: int) -> None:
        self._true = ("127.0.0.1", true_port)
        self.lie: Lie | None = None
        self.port = 0
        self.told = 0
        self.last: bytes = b""
        self.before: list[bytes] = []
        self._asker: tuple[str, int] | None = None
        self._face: asyncio.DatagramTransport | None = None
        self._back: asyncio.DatagramTransport | None = None
        self.other: asyncio.DatagramTransport | None = None

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A question of the guard, or an answer of the controller."""
        if addr != self._true:
            self._asker = addr
            if self._back is not None:
                self._back.sendto(data, self._true)
            return
        answers = [data]
        if self.lie is not None:
            answers = self.lie(self, data)
            self.told += 1
        self.before = [*self.before[-3:], data]
        for answer in answers:
            self.say(answer)

    def say(self, answer: bytes) -> None:
        """Send the guard a datagram from the controller's address."""
        if self._face is not None and self._asker is not None:
            self._face.sendto(answer, self._asker)

    def say_from_elsewhere(self, answer: bytes) -> None:
        """Send it from another port."""
        if self.other is not None and self._asker is not None:
            self.other.sendto(answer, self._asker)

    @classmethod
    @asynccontextmanager
    async def serve(cls, true_port: int) -> AsyncIterator["Relay"]:
        """Stand between until the block ends."""
        relay = cls(true_port)
        loop = asyncio.get_running_loop()
        ends = [(await loop.create_datagram_endpoint(lambda: relay, local_addr=("127.0.0.1", 0)))[0] for _ in range(3)]
        relay._face, relay._back, relay.other = ends
        relay.port = int(ends[0].get_extra_info("sockname")[1])
        try:
            yield relay
        finally:
            for end in ends:
                end.close()


def changed(data: bytes, **fields: object) -> bytes:
    """The answer with other fields."""
    return encode(replace(decode(data), **fields))  # type: ignore[arg-type]


def valued(data: bytes, value: Callable[[tuple[int, ...], Value], Value]) -> bytes:
    """The answer with other values; what was written is confirmed as it was, or a write would not get far."""
    message = decode(data)
    return encode(replace(message, varbinds=tuple((oid, value(oid, old)) for oid, old in message.varbinds)))


def numbers(number: int) -> Lie:
    """Every value is this number."""
    return lambda _relay, data: [valued(data, lambda _oid, _old: integer(number))]


def greens(mask: int) -> Lie:
    """The first eight channels show exactly these greens; everything else is true."""

    def lie(_relay: Relay, data: bytes) -> list[bytes]:
        def value(oid: tuple[int, ...], old: Value) -> Value:
            return integer(mask) if oid == (*GREENS, 1) else old

        return [valued(data, value)]

    return lie


def _late(relay: Relay, data: bytes) -> list[bytes]:
    """The answer to the question before this one."""
    answer, relay.last = relay.last, data
    return [answer] if answer else []


def _torn(_relay: Relay, data: bytes) -> list[bytes]:
    return [data[: len(data) * 2 // 3]]


def _half(_relay: Relay, data: bytes) -> list[bytes]:
    message = decode(data)
    return [encode(replace(message, varbinds=message.varbinds[: len(message.varbinds) // 2]))]


def _elsewhere(relay: Relay, data: bytes) -> list[bytes]:
    relay.say_from_elsewhere(data)
    return []


def _reordered(_relay: Relay, data: bytes) -> list[bytes]:
    message = decode(data)
    return [encode(replace(message, varbinds=message.varbinds[::-1]))]


def _more(_relay: Relay, data: bytes) -> list[bytes]:
    """Greens of channels nobody asked for, behind the true ones."""
    message = decode(data)
    return [encode(replace(message, varbinds=(*message.varbinds, ((*GREENS, 2), integer(255)))))]


def _endless_length(_relay: Relay, data: bytes) -> list[bytes]:
    return [b"\x30\x84\xff\xff\xff\xff" + data[2:]]


def _deep(_relay: Relay, _data: bytes) -> list[bytes]:
    return [b"\x30\x80" * 700]


LIES: dict[str, Lie] = {
    "torn in the middle": _torn,
    "half the objects": _half,
    "the answer to the question before": _late,
    "another number": lambda _relay, data: [changed(data, request_id=decode(data).request_id ^ 1)],
    "number 0": lambda _relay, data: [changed(data, request_id=0)],
    "from another port": _elsewhere,
    "another community": lambda _relay, data: [changed(data, community=b"public")],
    "another version": lambda _relay, data: [changed(data, version=V2C)],
    "a question instead of an answer": lambda _relay, data: [changed(data, kind=SET)],
    "an error with values": lambda _relay, data: [changed(data, status=5, index=1)],
    "an error of no kind": lambda _relay, data: [changed(data, status=255, index=0)],
    "an error at an object that is not there": lambda _relay, data: [changed(data, status=2, index=99)],
    "no such name, each time": lambda _relay, data: [changed(data, status=2, index=1)],
    "too big": lambda _relay, data: [changed(data, status=1, index=0, varbinds=())],
    "octet strings that are too long": lambda _relay, data: [valued(data, lambda *_: octets(b"\1\2\3\4"))],
    "empty octet strings": lambda _relay, data: [valued(data, lambda *_: octets(b""))],
    "nothing as values": lambda _relay, data: [valued(data, lambda *_: Value(NULL))],
    "no such instance": lambda _relay, data: [valued(data, lambda *_: Value(NO_SUCH_INSTANCE))],
    "names as values": lambda _relay, data: [valued(data, lambda *_: Value(OBJECT_ID, b"\x2b\x06\x01"))],
    "counters of 65 bits": lambda _relay, data: [valued(data, lambda *_: Value(COUNTER, b"\x01" + bytes(8)))],
    "negative numbers": numbers(-1),
    "the least number": numbers(-(2**31)),
    "huge numbers": numbers(2**31 - 1),
    "numbers without a byte": lambda _relay, data: [valued(data, lambda *_: Value(INTEGER))],
    "the objects in another order": _reordered,
    "more objects than asked": _more,
    "a length without end": _endless_length,
    "nested without end": _deep,
    "a datagram as large as there is": lambda _relay, data: [data + bytes(60_000)],
    "empty": lambda _relay, _data: [b""],
    "noise": lambda relay, data: [bytes((byte * 7 + relay.told) & 0xFF for byte in data)],
    "nothing": lambda _relay, _data: [],
}
"""Lies in which nothing may be believed."""

HARMLESS: dict[str, Lie] = {
    "each answer twice": lambda _relay, data: [data, data],
    "the answers before, then the true one": lambda relay, data: [*relay.before, data],
    "noise, then the true one": lambda _relay, data: [b"\x30\x03\x02\x01\x00", b"", bytes(100), data],
    "a forged answer with another number first": lambda _relay, data: [
        changed(valued(data, lambda *_: integer(255)), request_id=7),
        data,
    ],
}
"""The truth is among them, and it is found."""
