"""Many Modbus devices: polled, journalled, signed and acknowledged; beside a reader that does nothing but read."""

import asyncio
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from agent.process.client import LocalClient
from agent.wire.local import GetStatus, Status
from benchmarks.bench import Run
from benchmarks.child import BenchError, Child, cpu_s, memory
from benchmarks.table import Table
from benchmarks.town import POINTS, Town, listens, town
from simulators.district import free_ports

GATEWAY = "gw-1"
PORTS = 10
SETTLE_S = 8
WINDOW_S = 10
WINDOWS = 3
DRAIN_S = 60
REGISTER = """
[[point]]
name = "r{number}"
fc = 4
address = {number}
type = "u16"
"""
METHOD = (
    "One agent process, ten TCP connections, devices of one light simulator process behind them; every register of every "
    "device has a new value at every read, so every read point is a change that is judged, sealed in a batch (Ed25519), "
    "stored with an fsync, carried over the broker, verified and stored by the fleet manager and acknowledged by a signed "
    "ack. Counted are the changes the manager has made durable in a window of "
    f"{WINDOW_S} s after {SETTLE_S} s of running; after the windows the agent's journal must become acknowledged up to "
    "where it ended then. Two bounds read the same registers as often in the same run, from the same devices, with a "
    "hand-made asyncio client (`benchmarks/bare_reader.py`): one keeps the newest values and nothing else, the other also "
    "publishes every read as JSON with QoS 1; neither stores or signs anything. The last load is more than this machine "
    "can poll: it shows what happens then. CPU seconds "
    "are the agent's own, all threads; broker, manager and devices share the two cores with it."
)


@dataclass(frozen=True, slots=True)
class Load:
    """What is polled."""

    devices: int
    registers: int
    period_ms: int
    target: str = ""

    @property
    def words(self) -> str:
        """For the table."""
        return f"{self.devices} × {self.registers} @ {self.period_ms} ms"

    @property
    def due_per_s(self) -> float:
        """Points due each second."""
        return self.devices * self.registers * 1000 / self.period_ms


@dataclass(frozen=True, slots=True)
class Reading:
    """Counters at one moment."""

    at_s: float
    stored: float
    polls: float
    agent_s: float
    fleet_s: float


LOADS = (
    Load(100, 20, 1000),
    Load(500, 30, 1000, "≤ 20"),
    Load(100, 20, 50),
    Load(500, 30, 100),
)


def measure(run: Run) -> Table:
    """One load after the other, each with its bound."""
    table = Table("Many Modbus devices: polled, journalled, signed and acknowledged", METHOD)
    for load in LOADS[:1] if run.quick else LOADS:
        _one(run, load, table)
    return table


def _one(run: Run, load: Load, table: Table) -> None:
    folder = run.new_folder("p")
    ports = free_ports(PORTS)
    devices = Child(("-m", "benchmarks.devices", *map(str, ports)), folder / "devices.log")
    with devices:
        devices.wait_for("the devices listen", lambda: all(listens(port) for port in ports))
        with town(folder, [GATEWAY]) as place:
            ours = _agent(run, place, load, ports, table)
            reading = _bare(run, "bare reader", 0, load, ports, table)
            publishing = _bare(run, "bare reader that publishes", place.broker, load, ports, table)
    ratio = "ratio of CPU-s"
    table.add(f"{load.words}: agent : bare reader", ratio, _divided(ours, reading))
    table.add(f"{load.words}: agent : bare reader that publishes", ratio, _divided(ours, publishing), "≤ 2.5")


def _agent(run: Run, place: Town, load: Load, ports: list[int], table: Table) -> list[float]:
    """Measure our agent; return its CPU seconds per 100,000 points, window by window."""
    rss: list[float] = []
    site = _site(place, load, ports)
    with place.agent(site) as agent:
        socket = site.parent / "state" / "agent.sock"
        agent.wait_for("the agent answers", socket.exists)
        _pause(run, f"{load.words}: settling", run.count(SETTLE_S, 3))
        readings = [_read(place, agent, socket)]
        for _ in range(run.count(WINDOWS, 1)):
            _pause(run, f"{load.words}: agent", run.count(WINDOW_S, 4))
            readings.append(_read(place, agent, socket))
            rss.append(memory(agent.pid).rss_mb)
        table.remarks.append(f"{load.words}: {asyncio.run(_drain(socket))}")
    spans = list(pairwise(readings))
    stored = [after.stored - before.stored for before, after in spans]
    took_s = [after.at_s - before.at_s for before, after in spans]
    agent_s = [after.agent_s - before.agent_s for before, after in spans]
    fleet_s = [after.fleet_s - before.fleet_s for before, after in spans]
    polled = [(after.polls - before.polls) * load.registers for before, after in spans]
    per_100k = _per_100k(agent_s, stored)
    due = f"{load.due_per_s:,.0f} due"
    table.add(f"{load.words}: points polled", "1/s", _divided(polled, took_s), due)
    table.add(f"{load.words}: points acknowledged", "1/s", _divided(stored, took_s), due)
    table.add(f"{load.words}: agent", "CPU-s/100k points", per_100k, "≤ 1.3")
    table.add(f"{load.words}: agent", "% of a core", [100 * each for each in _divided(agent_s, took_s)], load.target)
    table.add(f"{load.words}: agent RSS", "MB", rss, "≤ 90")
    table.add(f"{load.words}: fleet manager", "CPU-s/100k points", _per_100k(fleet_s, stored))
    return per_100k


def _bare(run: Run, name: str, broker: int, load: Load, ports: list[int], table: Table) -> list[float]:
    """Measure a bound; return its CPU seconds per 100,000 points, window by window."""
    numbers = (broker, load.period_ms, load.devices // PORTS, load.registers, *ports)
    rates, per_100k = [], []
    with Child(("-m", "benchmarks.bare_reader", *map(str, numbers)), run.new_folder("b") / "log") as reader:
        reader.wait_for("the bare reader reads", reader.said)
        for _ in range(run.count(WINDOWS, 1)):
            before, before_s, began_s = _last(reader), cpu_s(reader.pid), time.monotonic()
            _pause(run, f"{load.words}: {name}", run.count(WINDOW_S, 4))
            points = (_last(reader) - before) * load.registers
            rates.append(points / (time.monotonic() - began_s))
            per_100k += _per_100k([cpu_s(reader.pid) - before_s], [points])
    table.add(f"{load.words}: {name}'s points", "1/s", rates, f"{load.due_per_s:,.0f} due")
    table.add(f"{load.words}: {name}", "CPU-s/100k points", per_100k)
    return per_100k


def _site(place: Town, load: Load, ports: list[int]) -> Path:
    profiles = place.folder / "profiles"
    profiles.mkdir()
    (profiles / "many.toml").write_text("".join(REGISTER.format(number=n) for n in range(load.registers)))
    per_port = load.devices // PORTS
    equipment = "".join(
        POINTS.format(id=f"device-{n}", port=ports[n // per_port], unit=n % per_port + 1, profile="many")
        for n in range(load.devices)
    )
    return place.site(GATEWAY, load.period_ms, equipment, profiles)


def _read(place: Town, agent: Child, socket: Path) -> Reading:
    polls = asyncio.run(_status(socket)).figures["polls"]
    assert isinstance(polls, int)
    return Reading(time.monotonic(), place.figure("samples"), polls, cpu_s(agent.pid), cpu_s(place.fleet.pid))


async def _status(socket: Path) -> Status:
    client = LocalClient(socket)
    status = await client.ask(GetStatus())
    await client.close()
    assert isinstance(status, Status)
    return status


async def _drain(socket: Path) -> str:
    """What of the present head is acknowledged in the end: all of it, or how much is not."""
    goal = {head.stream: head.seq for head in (await _status(socket)).heads}
    began_s = time.monotonic()
    behind: dict[str, int] = goal
    while time.monotonic() - began_s < DRAIN_S:
        status = await _status(socket)
        behind = {h.stream: goal[h.stream] - h.seq for h in status.acked if h.seq < goal[h.stream]}
        if not behind:
            dropped = status.figures.get("records dropped", 0)
            took_s = time.monotonic() - began_s
            return f"everything sealed in the windows was acknowledged {took_s:.1f} s after them; {dropped} dropped"
        await asyncio.sleep(0.05)
    return f"{DRAIN_S} s after the windows these links of then were not acknowledged: {behind}"


def _last(reader: Child) -> int:
    """How many reads the bare reader has told of."""
    return int(reader.said().split()[-1])


def _pause(run: Run, what: str, seconds: int) -> None:
    for second in range(seconds):
        run.advance(what, second, seconds)
        time.sleep(1)


def _divided(values: list[float], by: list[float]) -> list[float]:
    return [value / divisor for value, divisor in zip(values, by, strict=True)]


def _per_100k(seconds: list[float], points: list[float]) -> list[float]:
    """A window without points has no figure."""
    if not all(points):
        raise BenchError("a window passed without a point")
    return [100_000 * second / count for second, count in zip(seconds, points, strict=True)]
