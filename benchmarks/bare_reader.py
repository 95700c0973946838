"""The bound for polling: ``python -m benchmarks.bare_reader PERIOD_MS UNITS REGISTERS PORT...``.

Reads what the agent reads, as often, with a hand-made asyncio Modbus client, and keeps the newest values in a dict. No
profile, no quality, no journal, no signature, no fleet: what polling costs in Python before any of that.
"""

import asyncio
import struct
import sys
import time

REQUEST = struct.Struct(">HHHBBHH")
HEAD_BYTES = 9


class Reader:
    """One connection with its units, polled one after the other on a fixed beat."""

    def __init__(self, port: int, units: int, registers: int, latest: dict[tuple[int, int], tuple[int, ...]]) -> None:
        self._port = port
        self._units = units
        self._registers = registers
        self._words = struct.Struct(f">{registers}H")
        self._latest = latest
        self.reads = 0

    async def run(self, period_s: float) -> None:
        """Poll until cancelled; a missed beat is skipped."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        transaction = 0
        next_s = time.monotonic()
        while True:  # Until the process is ended.
            for unit in range(1, self._units + 1):
                transaction = (transaction + 1) % 0x10000
                writer.write(REQUEST.pack(transaction, 0, 6, unit, 4, 0, self._registers))
                answer = await reader.readexactly(HEAD_BYTES + 2 * self._registers)
                self._latest[self._port, unit] = self._words.unpack_from(answer, HEAD_BYTES)
                self.reads += 1
            now_s = time.monotonic()
            next_s += period_s * max(1, -(-(now_s - next_s) // period_s))
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))


async def main(period_ms: int, units: int, registers: int, ports: list[int]) -> None:
    """Read for ever; say twice a second how many reads there were."""
    latest: dict[tuple[int, int], tuple[int, ...]] = {}
    readers = [Reader(port, units, registers, latest) for port in ports]
    async with asyncio.TaskGroup() as group:
        for reader in readers:
            group.create_task(reader.run(period_ms / 1000))
        while True:  # Until the process is ended.
            await asyncio.sleep(0.5)
            print(sum(reader.reads for reader in readers), flush=True)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), [int(port) for port in sys.argv[4:]]))
