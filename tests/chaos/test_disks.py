"""Disks that fill and storage that rots, under real processes: what verifies is kept, and everybody says so."""

import asyncio
import os
import resource
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from agent.process.stopping import stop_all
from agent.wire.envelope import parse
from agent.wire.messages import Batch, Value, decode
from tests.chaos.load import move_the_point
from tests.chaos.plant import LIGHTING, Plant
from tests.chaos.trial import _arrived, _is_shown, _marks
from tests.waiting import wait_until

AGENT, DOOR_S, UNACKED = f"agent {LIGHTING}", 0.3, 5
FULL_BYTES = 48 * 1024
"""No file grows beyond it: above what the processes log here, below where their write-ahead logs end by then."""
WAIT_S = 30.0
Require = Callable[[str], Path]


@asynccontextmanager
async def busy(plant: Plant) -> AsyncIterator[None]:
    """The counted point moves and the cabinet's door swings."""

    async def swing() -> None:
        for n in range(10_000):
            plant.cabinet.set(door_open=n % 2 == 0)
            await asyncio.sleep(DOOR_S)

    tasks = [asyncio.get_running_loop().create_task(each) for each in (move_the_point(plant), swing())]
    try:
        yield
    finally:
        await stop_all(tasks)


@asynccontextmanager
async def full_disk(pid: int, grown: Path) -> AsyncIterator[None]:
    """For one process no file may grow any more. Needs no root: a limit on our own child."""
    await wait_until(lambda: grown.exists() and grown.stat().st_size > FULL_BYTES, WAIT_S)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_BYTES, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.hil
@pytest.mark.slow
async def test_full_disks_and_a_flipped_bit_cost_what_cannot_be_read_and_nothing_else(require_program: Require) -> None:
    async with Plant.running(require_program("mosquitto")) as plant:
        async with busy(plant):
            await the_cabinets_disk_is_full(plant)
            await the_managers_disk_is_full(plant)
            await a_bit_of_the_journal_flips(plant)
            await the_journal_forgets(plant)
            marks = await _marks(plant)
            await plant.wait("everything has arrived", lambda: _arrived(plant, marks), WAIT_S)
        await plant.wait("the last value is shown", lambda: _is_shown(plant), WAIT_S)
        await what_cannot_be_written_is_said(plant)
        await the_managers_database_is_cut_off(plant)
        expected = [f"fleet (pid {plant.programs['fleet'].life.pid}) ended by itself"]
        deaths = [each for program in plant.programs.values() for each in program.deaths]
        assert all(any(each.startswith(words) for words in expected) for each in deaths), deaths


async def the_cabinets_disk_is_full(plant: Plant) -> None:
    state = plant.folder / LIGHTING / "state"

    async def warns() -> bool:
        status = await plant.status(LIGHTING, "agent")
        return status is not None and any("the disk takes no records" in each for each in status.warnings)

    async def is_quiet() -> bool:
        status = await plant.status(LIGHTING, "agent")
        return status is not None and not status.warnings

    async with full_disk(plant.programs[AGENT].life.pid, state / "agent.db-wal"):
        await plant.wait("the agent says that the disk takes nothing", warns, WAIT_S)
    await plant.wait("the agent's disk is back", is_quiet, WAIT_S)


async def the_managers_disk_is_full(plant: Plant) -> None:
    async def is_store(state: str) -> bool:
        found = await plant.get("/api/health")
        return found is not None and found["store"] == state

    async with full_disk(plant.programs["fleet"].life.pid, plant.folder / "fleet" / "fleet.db-wal"):
        await plant.wait("the manager says that nothing is stored", lambda: is_store("unavailable"), WAIT_S)
    await plant.wait("the manager's disk is back", lambda: is_store("ok"), WAIT_S)


async def a_bit_of_the_journal_flips(plant: Plant) -> None:
    """In one of some links that are not acknowledged yet."""
    lines, program, path = (
        plant.lines_of(LIGHTING),
        plant.programs[AGENT],
        plant.folder / LIGHTING / "state" / "agent.db",
    )
    for line in lines:
        line.silence(on=True)

    async def is_behind() -> bool:
        status = await plant.status(LIGHTING, "agent")
        if status is None:
            return False
        acked = {head.stream: head.seq for head in status.acked}
        return any(head.stream == "state" and head.seq - acked["state"] >= UNACKED for head in status.heads)

    await plant.wait("some links are not acknowledged", is_behind, WAIT_S)
    assert program.kill()
    links = unacknowledged(path)
    flip(path, links.pop(len(links) // 2))
    program.start()
    for line in lines:
        line.heal()

    async def is_told() -> bool:
        found = await plant.get(f"/api/events?gateway={LIGHTING}&limit=200")
        return any(each["kind"] == "ledger.damaged" and each["detail"]["links_lost"] == 1 for each in found or [])

    await plant.wait("the manager knows of the damage", is_told, WAIT_S)
    kept = [value for link in links for value in decode(parse(link).payload, Batch).values]
    await plant.wait("what verified has arrived", lambda: has_again(plant, kept), WAIT_S)


async def the_journal_forgets(plant: Plant) -> None:
    """The end of its write-ahead log is gone, and with it links the manager holds: their numbers are not used again."""
    program, log = plant.programs[AGENT], plant.folder / LIGHTING / "state" / "agent.db-wal"
    await wait_until(lambda: log.exists() and log.stat().st_size > FULL_BYTES, WAIT_S)
    marks = await _marks(plant)
    await plant.wait("all of it is acknowledged", lambda: _arrived(plant, marks), WAIT_S)
    assert program.kill()
    os.truncate(log, log.stat().st_size // 2)
    program.start()

    async def is_told() -> bool:
        found = await plant.get(f"/api/events?gateway={LIGHTING}&limit=200")
        return any(each["kind"] == "stream.epoch" and "forked" in each["text"] for each in found or [])

    await plant.wait("the manager knows of a new epoch", is_told, WAIT_S)


async def what_cannot_be_written_is_said(plant: Plant) -> None:
    """A folder that is read-only at the start: the agent and the manager end with a sentence, and start once it is not."""
    as_anybody = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()  # Root may write anywhere.
    for name, folder in ((AGENT, plant.folder / LIGHTING / "state"), ("fleet", plant.folder / "fleet")):
        program = plant.programs[name]
        await program.stop()
        for each in (*folder.glob("*.db*"), folder):
            each.chmod(0o500 if each.is_dir() else 0o400)
        done = await asyncio.to_thread(
            subprocess.run,
            (*as_anybody, *program.arguments),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        assert done.returncode in {2, 4}, done
        assert "Traceback" not in done.stderr, done.stderr
        assert "read-only" in done.stderr or "readonly" in done.stderr or "ermission denied" in done.stderr, done.stderr
        for each in (folder, *folder.glob("*.db*")):
            each.chmod(0o700 if each.is_dir() else 0o600)
        program.start()
    await plant.wait("the last value is shown", lambda: _is_shown(plant), WAIT_S)


def unacknowledged(path: Path) -> list[bytes]:
    """Links of ``state``; everything is in the database's own file afterwards."""
    query = "SELECT sealed FROM links JOIN streams USING (stream, epoch) WHERE stream='state' AND links.seq>acked_seq ORDER BY links.seq"
    with closing(sqlite3.connect(path)) as database:
        found = [row[0] for row in database.execute(query)]
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return found


def flip(path: Path, sealed: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.find(sealed[-32:])  # Inside its signature.
    assert at > 0
    data[at] ^= 1
    path.write_bytes(data)


async def has_again(plant: Plant, values: list[Value]) -> bool:
    """The manager holds a newer epoch of ``state`` that begins with what was still readable of the one before."""
    query = "SELECT epoch, envelope FROM links JOIN gateways ON gateways.no = gateway_no WHERE id=? AND stream='state' ORDER BY epoch, seq"
    path = plant.folder / "fleet" / "fleet.db"
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as database:
        rows = database.execute(query, (LIGHTING,)).fetchall()
    epochs = sorted({epoch for epoch, _ in rows})
    found = [
        value for epoch, sealed in rows for value in decode(parse(sealed).payload, Batch).values if epoch == epochs[-1]
    ]
    return len(epochs) == 2 and found[: len(values)] == values


async def the_managers_database_is_cut_off(plant: Plant) -> None:
    """Half of it is gone: it says so and what to do, whether it starts or not, and acknowledges nothing."""
    program, path = plant.programs["fleet"], plant.folder / "fleet" / "fleet.db"
    await program.stop()
    os.truncate(path, path.stat().st_size // 2)
    program.start()
    words = "nothing is stored or acknowledged, and the gateways keep their records"

    async def says_so() -> bool:
        program.look()
        plant.cabinet.set(door_open=True)
        return words in program.log.read_text(errors="replace")

    await plant.wait("the manager says that its database is damaged", says_so, WAIT_S)
    assert path.with_name("fleet.db.damaged").exists()
    assert "Traceback" not in program.log.read_text(errors="replace")
    program.kill()
