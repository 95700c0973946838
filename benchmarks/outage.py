"""A line that swallows everything for a minute and a half: what is lost, what comes twice, and how long catching up takes."""

import asyncio
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent.process.client import LocalClient, PeerDownError
from agent.wire.local import GetStatus, Status
from benchmarks.bench import Run
from benchmarks.child import BenchError, Child
from benchmarks.hardware import Hardware
from benchmarks.table import Table
from benchmarks.town import POINTS, Town, listens, town
from benchmarks.witness import Witness, witness
from simulators.line import Line

GATEWAY = "gw-1"
DEVICES, REGISTERS, PERIOD_MS = 20, 20, 250
HOLE_S, HOLE_QUICK_S = 90, 12
SETTLE_S = 5
CALM_CHANGES = 20
DRAIN_S_MAX = 180
SEED = 1
REGISTER = '[[point]]\nname = "r{n}"\nfc = 4\naddress = {n}\ntype = "u16"\n'
METHOD = (
    f"Real processes: an agent that polls {DEVICES} devices of {REGISTERS} registers each {PERIOD_MS} ms (every value new: "
    "telemetry) and a lighting cabinet (state), a broker, a fleet manager. Between agent and broker lies a TCP line that "
    "for 90 s passes nothing in either direction and tells nobody: neither end learns it but by its own time-outs. The "
    "cabinet's door contact is switched before the hole and again, as fast as it is acknowledged, from the moment the gateway "
    "is connected until the telemetry of the hole has arrived: its latency is that of the live lane beside the backlog. "
    "Lost: links in the gateway's journal at rest that the manager does not hold, or holds otherwise. Duplicated: links "
    "that are in the manager's database more than once. *Drained* counts from the end of the hole, the first row of the two "
    "alone the wait for the next attempt to connect (full jitter: up to 32 s after the five that fail in so long a hole)."
)


@dataclass(frozen=True, slots=True)
class Count:
    """What the databases hold."""

    sealed: int
    lost: int
    duplicated: int


def measure(run: Run) -> Table:
    """One hole after the other, each in a town of its own."""
    table = Table("A silent outage of 90 s", METHOD)
    figures: dict[str, list[float]] = {}
    rounds = run.count(3, 1)
    for round_ in range(rounds):
        run.advance("outages", round_, rounds)
        for name, values in _one(run, run.new_folder("o")).items():
            figures.setdefault(name, []).extend(values)
    for name, values in figures.items():
        what, _, unit = name.partition("|")
        target = "0" if what.startswith(("lost", "duplicated")) else ""
        table.add(what, unit, values, target)
    return table


def _one(run: Run, folder: Path) -> dict[str, list[float]]:
    cabinet = Hardware(folder, "cabinet", "cabinet")
    devices_port = cabinet.port + 1
    while listens(devices_port):
        devices_port += 1
    devices = Child(("-m", "benchmarks.devices", str(devices_port)), folder / "devices.log")
    with cabinet, devices, town(folder, [GATEWAY]) as place:
        devices.wait_for("the devices listen", lambda: listens(devices_port))
        figures = asyncio.run(_outage(run, place, cabinet, devices_port))
        place.fleet.stop()
        count = _count(place)
    return figures | {
        "links sealed|links": [count.sealed],
        "lost|links": [count.lost],
        "duplicated|links": [count.duplicated],
    }


async def _outage(run: Run, place: Town, cabinet: Hardware, devices_port: int) -> dict[str, list[float]]:
    async with Line.serve(place.broker) as line, witness(place.broker) as seen:
        site = _site(place, line.port, cabinet.port, devices_port)
        with place.agent(site):
            client = LocalClient(site.parent / "state" / "agent.sock")
            await seen.wait("the first state", lambda: seen.acked_at(GATEWAY, "state", 1))
            await asyncio.sleep(SETTLE_S)
            doors = Doors(cabinet, seen)
            for _ in range(CALM_CHANGES):
                await doors.switch()
            calm = doors.took_ms[:]
            line.silence(on=True)
            await asyncio.sleep(HOLE_QUICK_S if run.quick else HOLE_S)
            before = await _status(client)
            line.heal()
            healed_s = time.monotonic()
            marks = {head.stream: head.seq for head in before.heads}
            behind = marks["tele"] - {head.stream: head.seq for head in before.acked}["tele"]
            doors.took_ms.clear()
            connected_s = await _when(
                client, lambda now: now.figures["broker"] != "not connected" and _moves(now, before)
            )
            while not _has(await _status(client), marks):
                if time.monotonic() - healed_s > DRAIN_S_MAX:
                    raise BenchError("the backlog does not drain")
                await doors.switch()
            drained_s = time.monotonic()
            await client.close()
    return {
        "behind at the end of the hole|links": [behind],
        "end of the hole → the first ack|s": [connected_s - healed_s],
        "end of the hole → drained|s": [drained_s - healed_s],
        "first ack → drained|s": [drained_s - connected_s],
        "change → ack, before|ms": calm,
        "change → ack, while the backlog drains|ms": doors.took_ms,
    }


class Doors:
    """The cabinet's door contact, and how long each switch of it takes to be acknowledged."""

    def __init__(self, cabinet: Hardware, seen: Witness) -> None:
        self._cabinet, self._seen = cabinet, seen
        self._dice = random.Random(SEED)
        self._is_open = False
        self.took_ms: list[float] = []

    async def switch(self) -> None:
        """Switch once, and wait until the manager's ack of it was on the wire."""
        await asyncio.sleep(self._dice.uniform(0, 0.2))
        self._is_open = not self._is_open
        began_s = time.monotonic()
        self._cabinet.ask(set={"door_open": self._is_open})
        name = (GATEWAY, "cab/door_open")

        def acked() -> float | None:
            found = self._seen.samples.get(name)
            is_it = found is not None and found.value is self._is_open and found.at_s > began_s
            return self._seen.acked_at(GATEWAY, "state", found.seq) if found is not None and is_it else None

        self.took_ms.append(1000 * (await self._seen.wait("the door's ack", acked) - began_s))


async def _status(client: LocalClient) -> Status:
    status = await client.ask(GetStatus())
    assert isinstance(status, Status)
    return status


async def _when(client: LocalClient, is_so: Callable[[Status], bool]) -> float:
    """When the agent first says so, monotonic seconds."""
    end_s = time.monotonic() + DRAIN_S_MAX
    while time.monotonic() < end_s:
        try:
            if is_so(await _status(client)):
                return time.monotonic()
        except PeerDownError as error:
            raise BenchError("the agent does not answer") from error
        await asyncio.sleep(0.02)
    raise BenchError("the gateway does not come back")


def _moves(now: Status, before: Status) -> bool:
    """Something was acknowledged since."""
    old = {head.stream: head.seq for head in before.acked}
    return any(head.seq > old[head.stream] for head in now.acked)


def _has(status: Status, marks: dict[str, int]) -> bool:
    """Everything up to the marks is acknowledged."""
    return all(head.seq >= marks[head.stream] for head in status.acked)


def _site(place: Town, broker: int, cabinet: int, devices: int) -> Path:
    profiles = place.folder / "profiles"
    profiles.mkdir()
    (profiles / "many.toml").write_text("".join(REGISTER.format(n=n) for n in range(REGISTERS)))
    own = Path(__file__).parent.parent / "configs" / "profiles" / "cabinet-ref.toml"
    (profiles / own.name).write_text(own.read_text())
    equipment = POINTS.format(id="cab", port=cabinet, unit=1, profile="cabinet-ref")
    for n in range(DEVICES):
        equipment += POINTS.format(id=f"device-{n}", port=devices, unit=n + 1, profile="many")
    site = place.site(GATEWAY, PERIOD_MS, equipment, profiles)
    site.write_text(site.read_text().replace(f"mqtt://127.0.0.1:{place.broker}", f"mqtt://127.0.0.1:{broker}"))
    return site


def _count(place: Town) -> Count:
    """Compare the journal and the manager's database, both at rest."""
    journal = place.folder / GATEWAY / "state" / "agent.db"
    sealed = set(_rows(journal, "SELECT stream, epoch, seq, hash FROM links"))
    heads = {row[0]: row[1:] for row in _rows(journal, "SELECT stream, epoch, acked_seq FROM streams")}
    held = _rows(place.folder / "fleet" / "fleet.db", "SELECT stream, epoch, seq, hash FROM links")
    due = {row for row in sealed if row[1:3] <= heads[row[0]]}
    return Count(len(sealed), len(due - set(held)), len(held) - len({row[:3] for row in held}))


def _rows(path: Path, query: str) -> list[tuple[str, int, int, bytes]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
        return database.execute(query).fetchall()
