"""From a change at the device to the fleet's acknowledgement, known at the gateway."""

import asyncio
import random
import time
from pathlib import Path

from agent.process.client import LocalClient
from agent.wire.local import GetStatus, Status
from benchmarks.bench import Run
from benchmarks.child import BenchError
from benchmarks.hardware import Hardware
from benchmarks.table import Table
from benchmarks.town import POINTS, Town, town
from benchmarks.witness import Sighting, witness

GATEWAY = "gw-1"
POLL_MS = 100
SEED = 1
METHOD = (
    "A lighting cabinet polled over Modbus TCP every 100 ms. Its door contact is switched through the simulator's control "
    "socket, the clock read just before; the next switch comes after the last one is acknowledged and a random pause of "
    "up to 200 ms. A third client on the broker sees the sealed link and the manager's signed ack pass; then the agent is "
    "asked for its acknowledged head, so the last row includes that question. Up to 100 ms of each figure is the wait for "
    "the next poll, and 250 ms the link's wait for company (`agent/runtime/recorder.py`, PACES)."
)


def measure(run: Run) -> Table:
    """Toggle one input again and again."""
    table = Table("Change at the device → acknowledged by the fleet (100 ms poll)", METHOD)
    cabinet = Hardware(run.folder, "cabinet", "cabinet")
    with cabinet, town(run.folder, [GATEWAY]) as place:
        site = place.site(GATEWAY, POLL_MS, POINTS.format(id="cab", port=cabinet.port, unit=1, profile="cabinet-ref"))
        with place.agent(site):
            times = asyncio.run(_measure(run, place, cabinet, site.parent / "state" / "agent.sock"))
    for what, values in times.items():
        table.add(what, "ms", values)
    return table


async def _measure(run: Run, place: Town, cabinet: Hardware, socket: Path) -> dict[str, list[float]]:
    count = run.count(300, 20)
    dice = random.Random(SEED)
    times: dict[str, list[float]] = {"change → sealed link on the wire": [], "link → ack on the wire": []}
    times |= {"change → ack on the wire": [], "change → acknowledged in the journal": []}
    client = LocalClient(socket)
    async with witness(place.broker) as seen:
        await seen.wait("the first state", lambda: seen.acked_at(GATEWAY, "state", 1))
        is_open = False
        for number in range(count):
            run.advance("changes", number, count)
            await asyncio.sleep(dice.uniform(0, 0.2))
            is_open = not is_open
            began_s = time.monotonic()
            cabinet.ask(set={"door_open": is_open})

            def shown(is_open: bool = is_open, began_s: float = began_s) -> Sighting | None:
                found = seen.samples.get((GATEWAY, "cab/door_open"))
                return found if found and found.value is is_open and found.at_s > began_s else None

            link_s = await seen.wait("the change", lambda: found.at_s if (found := shown()) else None)
            sighting = shown()
            assert sighting is not None
            seq = sighting.seq
            ack_s = await seen.wait("its ack", lambda seq=seq: seen.acked_at(GATEWAY, "state", seq))  # type: ignore[misc]
            await _acknowledged(client, seq)
            known_s = time.monotonic()
            for values, took_s in zip(
                times.values(), (link_s - began_s, ack_s - link_s, ack_s - began_s, known_s - began_s), strict=True
            ):
                values.append(1000 * took_s)
    await client.close()
    return times


async def _acknowledged(client: LocalClient, seq: int) -> None:
    for _ in range(1_000):
        status = await client.ask(GetStatus())
        assert isinstance(status, Status)
        if any(head.stream == "state" and head.seq >= seq for head in status.acked):
            return
        await asyncio.sleep(0.001)
    raise BenchError("the agent does not take the ack")
