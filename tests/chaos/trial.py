"""One storm over one city, from start to verdict."""

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from agent.process.stopping import stop_all
from agent.wire.messages import StreamHead
from tests.chaos import oracle
from tests.chaos.kept import watch
from tests.chaos.load import People, move_the_point
from tests.chaos.oracle import Marks, Tally
from tests.chaos.plant import COUNTED, GATEWAYS, JUNCTION, LIGHTING, Plant
from tests.chaos.storm import Fault, Storm, draw

RESUMED_S_MAX = 100.0
"""The courier's longest pause between two tries is 60 s, the guard's records go by it; then the backlog goes out."""
ENDED_S_MAX = 60.0
"""A command lives 20 s, and 5 s later is unknown; the answer may be on its way for as long as the backlog."""

Advance = Callable[[str, float, float], None]
"""Told again and again: what is going on, seconds done, seconds to do."""


@dataclass(slots=True)
class Outcome:
    """What came of one storm."""

    seed: int
    seconds: float
    faults: Counter[str]
    tally: Tally
    refusals: Counter[str]
    resumed_s: float

    def __str__(self) -> str:
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()) if count)
        refusals = "".join(f"  {count:4} {reason}\n" for reason, count in self.refusals.most_common())
        return (
            f"seed {self.seed}, {self.seconds:.0f} s, {sum(self.faults.values())} faults: {faults}\n{self.tally}\n"
            f"{sum(self.refusals.values())} times the manager took no command, or did not answer:\n{refusals}"
            f"everything had arrived {self.resumed_s:.1f} s after the last fault"
        )


async def run(
    seed: int, seconds: float, mosquitto: Path, advance: Advance = lambda *_: None, *, is_short: bool = False
) -> Outcome:
    """Let a storm pass, wait until everything has arrived, stop everything, and count.

    Args:
        is_short: end it by killing every process of the city at once, so that nobody's pauses have grown long, and do
            not wait for commands that may still be answered.

    Raises:
        AssertionError: a promise is broken; the text has the seed.
    """
    dice = random.Random(seed)
    async with Plant.running(mosquitto) as plant:
        storm, people = Storm(plant), People(plant, dice)
        try:
            resumed_s = await _pass(plant, storm, people, draw(seed, seconds), advance, is_short=is_short)
            marks = await _marks(plant)
            await plant.wait("everything has arrived", lambda: _arrived(plant, marks), RESUMED_S_MAX)
            until_s = time.monotonic()
            await plant.stop()
            tally = _count(plant, people, marks, until_s)
        except AssertionError as error:
            faults = "\n".join(map(str, draw(seed, seconds)))
            raise AssertionError(f"seed {seed}, {seconds:.0f} s: {error}\n{plant.tail()}\n{faults}") from error
    return Outcome(seed, seconds, storm.counts, tally, people.refusals, resumed_s)


async def _pass(
    plant: Plant, storm: Storm, people: People, faults: list[Fault], advance: Advance, *, is_short: bool
) -> float:
    """The storm and the load; return how long after it everything had arrived."""
    seconds = max(fault.at_s for fault in faults)
    loop = asyncio.get_running_loop()
    watching = loop.create_task(watch(tuple(plant.programs.values())))
    load = [loop.create_task(move_the_point(plant)), loop.create_task(people.command())]
    passing = loop.create_task(storm.run(faults))
    began_s = time.monotonic()
    try:
        while not passing.done():
            advance("the storm", min(time.monotonic() - began_s, seconds), seconds)
            await asyncio.wait([passing, *load], timeout=0.2, return_when=asyncio.FIRST_COMPLETED)
            assert not any(each.done() for each in load), "the load has ended"
        passing.result()
        if is_short:
            storm.cut_all()
        calm_s = time.monotonic()
        advance("what was held back arrives", 0, 0)
        marks = await _marks(plant)
        await plant.wait("what was sealed has arrived", lambda: _arrived(plant, marks), RESUMED_S_MAX)
        resumed_s = time.monotonic() - calm_s
        await stop_all(load)
        advance("the last commands end", 0, 0)
        if not is_short:
            await plant.wait("every command has ended", lambda: _all_ended(plant), ENDED_S_MAX)
        await plant.wait("the last value of the point is shown", lambda: _is_shown(plant), ENDED_S_MAX)
    finally:
        await stop_all([passing, watching, *load])
    return resumed_s


async def _is_shown(plant: Plant) -> bool:
    found = await plant.get("/api/district")
    points = [each["points"] for each in (found or {"equipment": []})["equipment"] if each["id"] == "cab-darcy"]
    return bool(points) and points[0].get(COUNTED, {}).get("value") == plant.lux[-1]


def _count(plant: Plant, people: People, marks: Marks, until_s: float) -> Tally:
    tally = Tally()
    oracle.check_processes(plant, tally)
    oracle.check_records(plant, marks, tally)
    oracle.check_point(plant, tally)
    oracle.check_commands(plant, people.answers, tally)
    oracle.check_guard(plant, until_s, tally)
    return tally


async def _marks(plant: Plant) -> Marks:
    """Where every stream stands, from the processes that own them."""
    marks: Marks = {gateway: {} for gateway in GATEWAYS}

    async def told() -> bool:
        owners = [(LIGHTING, "agent"), (JUNCTION, "agent"), (JUNCTION, "guard")]
        statuses = [(gateway, await plant.status(gateway, process)) for gateway, process in owners]
        for gateway, status in statuses:
            marks[gateway] |= {head.stream: head for head in (status.heads if status else [])}
        return all(status is not None for _, status in statuses)

    await plant.wait("agents and guard answer", told, ENDED_S_MAX)
    return marks


def _heads(plant: Plant) -> dict[tuple[str, str], StreamHead]:
    """What the manager holds, from its database, which it has open."""
    query = "SELECT id, stream, epoch, seq, hash FROM heads JOIN gateways ON gateways.no = heads.gateway_no"
    path = plant.folder / "fleet" / "fleet.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        return {(row[0], row[1]): StreamHead(*row[1:]) for row in database.execute(query)}


async def _arrived(plant: Plant, marks: Marks) -> bool:
    held = await asyncio.to_thread(_heads, plant)
    return all(
        not mark.seq or ((found := held.get((gateway, stream))) is not None and _reaches(found, mark))
        for gateway, streams in marks.items()
        for stream, mark in streams.items()
    )


def _reaches(found: StreamHead, mark: StreamHead) -> bool:
    return (found.epoch, found.seq) >= (mark.epoch, mark.seq)


async def _all_ended(plant: Plant) -> bool:
    return await asyncio.to_thread(_open_commands, plant) == 0


def _open_commands(plant: Plant) -> int:
    path = plant.folder / "fleet" / "fleet.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        return int(database.execute("SELECT count(*) FROM commands WHERE status = 'sent'").fetchone()[0])
