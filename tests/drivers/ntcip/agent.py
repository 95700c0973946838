"""An SNMP agent on a real UDP socket, with every way of answering wrongly a test may want.

Its messages are coded by the simulators' own code, so the drivers' coding is checked by somebody else's.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from agent.model.site import Address, SnmpLink
from simulators.snmp_message import (
    GET,
    NO_SUCH_INSTANCE,
    RESPONSE,
    SET,
    V1,
    Message,
    Value,
    decode,
    encode,
    integer,
    octets,
)

Twist = Callable[[Message, bytes], list[bytes]]
"""Request and the right answer to the datagrams really sent, in order."""


def honest(_: Message, answer: bytes) -> list[bytes]:
    return [answer]


class Agent(asyncio.DatagramProtocol):
    """A table of OID → value, served to ``public`` and written by ``private``."""

    def __init__(self, values: dict[str, int | bytes]) -> None:
        self.values = values
        self.twist: Twist = honest
        self.requests: list[Message] = []
        self.writes: list[tuple[str, int]] = []
        self.address = Address("127.0.0.1", 0)
        self._transport: asyncio.DatagramTransport | None = None

    def link(self, version: str = "1") -> SnmpLink:
        return SnmpLink(self.address, version, "public", "private")

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        request = decode(data)
        self.requests.append(request)
        if request.community != (b"private" if request.kind == SET else b"public"):
            return
        assert self._transport is not None
        for datagram in self.twist(request, encode(self._respond(request))):
            self._transport.sendto(datagram, addr)

    def _respond(self, request: Message) -> Message:
        binds = []
        for index, (oid, value) in enumerate(request.varbinds, start=1):
            name = ".".join(map(str, oid))
            if request.kind == SET and name in self.values:
                self.values[name] = value.as_int()
                self.writes.append((name, value.as_int()))
                binds.append((oid, value))
            elif request.kind == GET and name in self.values:
                stored = self.values[name]
                binds.append((oid, octets(stored) if isinstance(stored, bytes) else integer(stored)))
            elif request.version == V1 or request.kind == SET:
                return replace(request, kind=RESPONSE, status=2, index=index)
            else:
                binds.append((oid, Value(NO_SUCH_INSTANCE)))
        return replace(request, kind=RESPONSE, varbinds=tuple(binds), status=0, index=0)

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator["Agent"]:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self._transport = transport
        self.address = Address("127.0.0.1", transport.get_extra_info("sockname")[1])
        try:
            yield self
        finally:
            transport.close()
            await asyncio.sleep(0)  # the socket closes on the loop's next turn; until then it swallows datagrams
