"""How soon a cabinet that was just started has its state at the fleet."""

import asyncio
import signal
import time
from pathlib import Path

from benchmarks.bench import Run
from benchmarks.child import Child
from benchmarks.hardware import Hardware
from benchmarks.table import Table
from benchmarks.town import POINTS, Town, town
from benchmarks.witness import Witness, witness

METHOD = (
    "The agent of a lighting cabinet (one Modbus unit, 100 ms poll) is started as a process; a third client on the broker "
    "notes when its birth, its first `state` link and the manager's signed ack of that link pass. *New*: a gateway the "
    "manager has never heard, without a journal. *Again*: the same one after `kill -9`, with its journal. Of the time up "
    "to the ack 250 ms is the link waiting for company (`agent/runtime/recorder.py`, PACES), so that changes share a "
    "signature and an fsync."
)
POLL_MS = 100


def measure(run: Run) -> Table:
    """Start cabinets one after the other."""
    table = Table("Start of a gateway → first state acknowledged", METHOD)
    gateways = [f"gw-{number}" for number in range(run.count(10, 2))]
    equipment = Hardware(run.folder, "cabinet", "cabinet")
    with equipment, town(run.folder, gateways) as place:
        points = POINTS.format(id="cab", port=equipment.port, unit=1, profile="cabinet-ref")
        times = asyncio.run(_measure(run, place, gateways, points))
    for (which, what), values in times.items():
        table.add(f"{which}: {what}", "ms", values)
    return table


async def _measure(run: Run, place: Town, gateways: list[str], points: str) -> dict[tuple[str, str], list[float]]:
    times: dict[tuple[str, str], list[float]] = {}
    async with witness(place.broker) as seen:
        for number, gateway in enumerate(gateways):
            run.advance("gateways started", number, len(gateways))
            site = place.site(gateway, POLL_MS, points)
            for which in ("new", "again"):
                for what, took_ms in (await _start(place, seen, gateway, site)).items():
                    times.setdefault((which, what), []).append(took_ms)
    return times


async def _start(place: Town, seen: Witness, gateway: str, site: Path) -> dict[str, float]:
    seen.births.pop(gateway, None)
    known = seen.links.setdefault((gateway, "state"), {})
    before = max(known, default=0)
    began_s = time.monotonic()
    with place.agent(site) as agent:
        birth_s = await seen.wait("birth", lambda: seen.births.get(gateway))
        link_s = await seen.wait("a state link", lambda: next((at for seq, at in known.items() if seq > before), None))
        seq = next(seq for seq in known if seq > before)
        ack_s = await seen.wait("its ack", lambda: seen.acked_at(gateway, "state", seq))
        _kill(agent)
    moments = {"birth on the wire": birth_s, "first state on the wire": link_s, "acknowledged by the fleet": ack_s}
    return {what: 1000 * (at_s - began_s) for what, at_s in moments.items()}


def _kill(agent: Child) -> None:
    agent.stop(signal.SIGKILL)
