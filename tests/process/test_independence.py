"""What must never depend on the wall clock does not: it jumps by ten years either way, and into 1970, and nothing else does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.process.clock import Clock
from tests.guard.rig import FLASH, UNIX_MS, JunctionRig, junction_rig
from tests.guard.test_junction import J, hold_plan_2
from tests.runtime.rig import SEGMENT, AgentRig, lamp_rig
from tests.tree import ROOT, python_files

YEARS_MS = 10 * 365 * 86_400_000
JUMPS = pytest.mark.parametrize("wall_ms", [YEARS_MS, -YEARS_MS, -UNIX_MS], ids=["+10y", "-10y", "1970"])


def jump(rig: AgentRig | JunctionRig, wall_ms: int) -> None:
    """Somebody sets the host's clock; people's own clocks stay right."""
    rig.people.clock_ms = lambda: UNIX_MS + rig.now_ms()
    rig.wall_ms, rig.is_kept = wall_ms, False


@JUMPS
async def test_a_lease_ends_after_its_seconds_and_commands_go_on(wall_ms: int) -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.technician, 50, lease_s=60)
        jump(rig, wall_ms)
        await rig.poll(step_s=59.5)
        assert rig[SEGMENT].lease is not None
        await rig.poll(step_s=0.5)
        assert rig[SEGMENT].lease is None
        outcome = await rig.set_level(rig.people.technician, 60, lease_s=60)
        assert outcome.ended == "done", outcome


@JUMPS
async def test_a_cabinet_that_started_without_the_time_is_commanded_by_nonces_alone(wall_ms: int) -> None:
    async with lamp_rig(wall_ms=-UNIX_MS) as rig:
        rig.people.clock_ms = lambda: UNIX_MS + rig.now_ms()
        stale = rig.sealed(rig.people.technician, SEGMENT, "set-level", args={"level_percent": 40, "lease_s": 60})
        assert (await rig.set_level(rig.people.technician, 50, lease_s=60)).ended == "done"
        await rig.poll(step_s=91)
        reply = await rig.submit(stale)
        assert getattr(reply, "outcome").ended in {"expired", "refused"}  # noqa: B009 - a reply of any kind
        jump(rig, wall_ms)
        assert (await rig.set_level(rig.people.technician, 60, lease_s=60)).ended == "done"


@JUMPS
async def test_the_guard_trips_latches_and_flashes_at_the_same_samples(wall_ms: int) -> None:
    async with junction_rig(verdict="conflict") as rig:
        await hold_plan_2(rig)
        jump(rig, wall_ms)
        rig.signals.fault("stuck_green:4")
        began_ms = rig.now_ms()
        await rig.run_until(lambda: rig[J].latch is not None)
        assert rig.patterns == [2, 0]
        jump(rig, -wall_ms)
        await rig.tick()
        assert rig.patterns == [2, 0, FLASH]
        assert rig.now_ms() - began_ms < 60_000
        await rig.run(5)  # The monitor, which has its own eyes, needs 300 ms to say so too.


@JUMPS
async def test_nonces_change_every_thirty_seconds(wall_ms: int) -> None:
    async with lamp_rig() as rig:
        seen = {rig.agent.gatekeeper.nonce(rig.now_ms())}
        for step in range(12):
            jump(rig, wall_ms * (step % 2))
            rig.clock.advance(10)
            seen.add(rig.agent.gatekeeper.nonce(rig.now_ms()))
        assert len(seen) == 5


WALL = {"unix_ms", "known_ms", "quality", "time_ns", "localtime", "now", "utcnow", "today"}


def readings(path: Path) -> Iterator[str]:
    """Every place where a module asks what time it is."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in WALL:
            yield f"{path.name}: {ast.unparse(node.func)}"


STAMPS = {
    "bollard.py: self.clock.unix_ms",  # Since when a latch holds, for people.
    "junction.py: self.clock.unix_ms",  # The same.
    "process.py: self._clock.unix_ms",  # The same, after a damaged ledger.
    "guarded.py: self.clock.unix_ms",  # When a point was read, for people.
    "flashes.py: clock.known_ms",  # How long ago flash was asked for before a restart; in doubt, just now.
}


def test_the_guard_asks_for_the_wall_clock_only_to_stamp_what_people_read() -> None:
    found = {each for path in python_files() if path.parts[:2] == ("agent", "guard") for each in readings(path)}
    assert found == STAMPS


def test_nothing_in_a_cabinet_asks_for_local_time() -> None:
    """Summer time exists for people: at the technician's terminal and nowhere else."""
    local = {"localtime", "astimezone", "mktime", "fromtimestamp", "strptime", "strftime", "zoneinfo"}
    found = set()
    for path in python_files():
        if path.parts[0] not in {"agent", "drivers"} or path.parts[:2] == ("agent", "cli"):
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text())):
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            found |= {f"{path}: {name}"} & {f"{path}: {each}" for each in local}
    assert found == set()


def test_summer_time_and_the_zone_of_the_host_change_no_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    told = []
    for zone in ("UTC", "Europe/Paris", "Pacific/Kiritimati"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        told.append(Clock(lambda: 5, lambda: UNIX_MS).unix_ms())
        told.append(abs(Clock().unix_ms() - time.time_ns() // 1_000_000) < 1_000)
    monkeypatch.undo()
    time.tzset()
    assert told == [UNIX_MS, True] * 3
