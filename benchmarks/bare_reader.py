"""The bound for polling: ``python -m benchmarks.bare_reader BROKER PERIOD_MS UNITS REGISTERS PORT...``.

Reads what the agent reads, as often, with a hand-made asyncio Modbus client, and keeps the newest values in a dict. No
profile, no quality, no journal, no signature: what polling costs in Python before any of that. With a BROKER port other
than 0 every read is also published as JSON with QoS 1, as ordinary gateways do; nothing is kept and nobody answers.
"""

import asyncio
import json
import struct
import sys
import time
from contextlib import AsyncExitStack

import aiomqtt

REQUEST = struct.Struct(">HHHBBHH")
HEAD_BYTES = 9


class Reader:
    """One connection with its units, polled one after the other on a fixed beat."""

    def __init__(self, port: int, units: int, registers: int, client: aiomqtt.Client | None) -> None:
        self._port = port
        self._client = client
        self._units = units
        self._registers = registers
        self._words = struct.Struct(f">{registers}H")
        self._latest: dict[tuple[int, int], tuple[int, ...]] = {}
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
                values = self._latest[self._port, unit] = self._words.unpack_from(answer, HEAD_BYTES)
                self.reads += 1
                if self._client is not None:
                    named = {f"r{number}": value for number, value in enumerate(values)}
                    await self._client.publish(f"bare/{self._port}/{unit}", json.dumps(named), qos=1)
            now_s = time.monotonic()
            next_s += period_s * max(1, -(-(now_s - next_s) // period_s))
            await asyncio.sleep(max(0.0, next_s - time.monotonic()))


async def main(broker: int, period_ms: int, units: int, registers: int, ports: list[int]) -> None:
    """Read for ever; say twice a second how many reads there were."""
    async with AsyncExitStack() as stack:
        client = None
        if broker:
            client = aiomqtt.Client(
                "127.0.0.1", broker, identifier="bare", protocol=aiomqtt.ProtocolVersion.V5, max_inflight_messages=1000
            )
            await stack.enter_async_context(client)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        readers = [Reader(port, units, registers, client) for port in ports]
        for reader in readers:
            group.create_task(reader.run(period_ms / 1000))
        while True:  # Until the process is ended.
            await asyncio.sleep(0.5)
            print(sum(reader.reads for reader in readers), flush=True)


if __name__ == "__main__":
    numbers = [int(each) for each in sys.argv[1:]]
    asyncio.run(main(numbers[0], numbers[1], numbers[2], numbers[3], numbers[4:]))
