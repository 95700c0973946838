"""A manager whose gateways fall silent for hours and all come back: ``python -m benchmarks.silent_fleet FOLDER HOURS GATEWAYS LINKS TRUST``."""

import asyncio
import json
import sys
import time
from pathlib import Path

import structlog
from sqlalchemy import text

from agent.model.identity import GatewayId
from agent.wire import envelope
from agent.wire.messages import Ack, decode
from agent.wire.topics import up
from benchmarks.child import memory
from benchmarks.long_outage import gateway_of, signer_of
from benchmarks.town import CITY
from benchmarks.voice import birth, chain
from fleet import control_room
from fleet.arrival import Arrival
from fleet.control_room import ControlRoom
from fleet.folder import read_trust

SPEED = 360
"""Simulated seconds per real one: an hour takes ten seconds."""
SAMPLES = 20
WAITING_MAX = 5_000
LOOK_S = 0.1
BACK_S_MAX = 600
REAL_UNIX_MS = control_room.unix_ms


class FastClock:
    """A Unix clock that runs fast, or as ever."""

    def __init__(self) -> None:
        self._speed = 1
        self._from_real_ms = self._from_ms = REAL_UNIX_MS()

    def unix_ms(self) -> int:
        """Unix milliseconds of the simulation."""
        return self._from_ms + (REAL_UNIX_MS() - self._from_real_ms) * self._speed

    def run(self, speed: int) -> None:
        """Go on from here at another speed."""
        self._from_ms, self._from_real_ms, self._speed = self.unix_ms(), REAL_UNIX_MS(), speed


async def main(folder: Path, hours: int, count: int, links: int, trust: Path) -> None:
    """Let them be born, be silent and come back; write what was seen to ``result.json``."""
    clock = FastClock()
    control_room.unix_ms = clock.unix_ms
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    names = [gateway_of(n) for n in range(1, count + 1)]
    room = ControlRoom("bench", folder, trust, read_trust(trust))
    behind: dict[str, int] = {}

    def acknowledged(gateway: str, kind: str, sealed: bytes) -> None:
        if kind == "ack":
            heads = decode(envelope.parse(sealed).payload, Ack).heads
            if any(head.seq >= behind.get(gateway, links) for head in heads):
                behind.pop(gateway, None)

    room.send = acknowledged
    traffic = _sealed(names, links, clock.unix_ms())
    seen: dict[str, list[float]] = {"silent_mb": [], "back_mb": []}
    async with asyncio.TaskGroup() as group:
        running = group.create_task(room.run())
        await _say(room, [births for births, _ in traffic], seen=[])
        while len(room.registry.gateways) < count:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(LOOK_S)
        seen["born_mb"] = [memory("self").rss_mb]
        clock.run(SPEED)
        for _ in range(hours):
            await asyncio.sleep(3600 / SPEED)
            seen["silent_mb"].append(memory("self").rss_mb)
        clock.run(1)
        behind |= dict.fromkeys(names, links)
        began_s = time.monotonic()
        await _say(room, [chains[seq] for seq in range(links) for _, chains in traffic], seen["back_mb"])
        async with asyncio.timeout(BACK_S_MAX):
            while behind:
                seen["back_mb"].append(memory("self").rss_mb)
                await asyncio.sleep(LOOK_S)
        seen["back_s"] = [time.monotonic() - began_s]
        with room.store.engine.connect() as connection:
            held = connection.execute(text("SELECT count(*) FROM links")).scalar() or 0
            distinct = "SELECT count(*) FROM (SELECT DISTINCT gateway_no, stream, epoch, seq FROM links)"
            different = connection.execute(text(distinct)).scalar() or 0
        seen |= {"lost": [count * links - different], "twice": [held - different]}
        running.cancel()
    (folder / "result.json").write_text(json.dumps(seen))


def _sealed(names: list[GatewayId], links: int, now_ms: int) -> list[tuple[Arrival, list[Arrival]]]:
    """What each gateway will say: its birth, and its links in order."""
    made = []
    for number, gateway in enumerate(names, 1):
        signer = signer_of(gateway, number)
        topic = str(up(CITY, gateway, "state"))
        chained = [Arrival(topic, sealed) for sealed in chain(gateway, signer, "state", links, SAMPLES, now_ms)]
        made.append((Arrival(str(up(CITY, gateway, "birth")), birth(gateway, signer, 2, now_ms)), chained))
    return made


async def _say(room: ControlRoom, arrivals: list[Arrival], seen: list[float]) -> None:
    looked_s = 0.0
    for each in arrivals:
        while room.writer.waiting > WAITING_MAX:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.001)
        if time.monotonic() - looked_s > LOOK_S:
            looked_s = time.monotonic()
            seen.append(memory("self").rss_mb)
        room.writer.arrived(each)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5])))
