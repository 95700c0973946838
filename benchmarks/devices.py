"""Many Modbus devices in one light process: ``python -m benchmarks.devices PORT...``.

Any unit id answers on every port, function 3 and 4 alike, and every register differs from what it was at the last read:
the worst case for whoever keeps changes only. No faults, no model: `simulators` has those.
"""

import asyncio
import struct
import sys
from typing import cast

HEADER = struct.Struct(">HHHBB")
REQUEST_BYTES = 12
WINDOW_STEPS = 8_192


class Devices(asyncio.Protocol):
    """One connection. Requests may come in one piece or many."""

    window = b"".join(struct.pack(">H", value % 0x10000) for value in range(WINDOW_STEPS * 2))
    offset = 0
    reads = 0

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._buffer += data
        while len(self._buffer) >= REQUEST_BYTES:
            request, self._buffer = self._buffer[:REQUEST_BYTES], self._buffer[REQUEST_BYTES:]
            transaction, _, _, unit, function = HEADER.unpack_from(request)
            count = int.from_bytes(request[10:12], "big")
            Devices.offset = (Devices.offset + 1) % WINDOW_STEPS
            Devices.reads += 1
            body = self.window[2 * self.offset : 2 * (self.offset + count)]
            head = HEADER.pack(transaction, 0, 3 + len(body), unit, function)
            self._transport.write(head + bytes((len(body),)) + body)


async def serve(ports: list[int]) -> None:
    """Listen until ended by a signal."""
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(Devices, "127.0.0.1", port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(serve([int(port) for port in sys.argv[1:]]))
