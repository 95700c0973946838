"""A rogue on the cabinet network: net-snmp's snmpset writes to the controller behind the guard's back.

The guard runs in this process on a clock moved by hand; snmpset is Debian's own program, over UDP.
"""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.guard.rig import JunctionRig, junction_rig

pytestmark = pytest.mark.hil
J = "j-republique"
ASC = ".1.3.6.1.4.1.1206.4.2.1"
PATTERN = f"{ASC}.4.14.0"
BACKUP_TIME = f"{ASC}.3.3.0"
WALK, CLEAR, MIN_GREEN, MAX_GREEN, YELLOW = (f"{ASC}.1.2.1.{column}" for column in (2, 3, 4, 6, 8))
PLAN_2 = {"plan": 2, "lease_s": 3_000}
PROGRAM_TIMEOUT_S = 20.0
SCANS_MAX = 3
Require = Callable[[str], Path]
Set = Callable[[JunctionRig, str, int], Awaitable[None]]


@pytest.fixture
def snmpset(require_program: Require) -> Set:
    """Write one object with the stolen community."""
    program = require_program("snmpset")

    async def write(rig: JunctionRig, oid: str, value: int) -> None:
        address = f"127.0.0.1:{rig.signals.port}"
        process = await asyncio.create_subprocess_exec(
            program,
            "-v1",
            "-c",
            "dijon-write",
            "-t",
            "2",
            "-r",
            "0",
            address,
            oid,
            "i",
            str(value),
            stdout=PIPE,
            stderr=STDOUT,
        )
        async with asyncio.timeout(PROGRAM_TIMEOUT_S):
            out, _ = await process.communicate()
        assert process.returncode == 0, out.decode()

    return write


async def trips(rig: JunctionRig, rule: str) -> list[str]:
    return [entry.text for entry in await rig.log("trip") if entry.rule == rule]


def ours(rig: JunctionRig, foreign: list[int]) -> list[int]:
    """What the guard itself has SET: everything but the rogue's."""
    patterns = list(rig.patterns)
    for value in foreign:
        patterns.remove(value)
    return patterns


async def test_sr_31_a_pattern_of_somebody_else_is_told_while_we_hold_none_and_left_alone(snmpset: Set) -> None:
    async with junction_rig() as rig:
        await rig.run(2)
        await snmpset(rig, PATTERN, 1)
        await rig.run(0.1 * SCANS_MAX)
        assert await trips(rig, "SR-31") == [
            "pattern 1 is requested of the controller, and not by this guard since it started"
        ]
        assert "pattern 1 requested by somebody else" in rig[J].state()
        (warning,) = (await rig.status()).warnings
        assert warning.startswith(f"{J}: SR-31: pattern 1 is requested by somebody else; change the write community")
        await rig.rest(90)  # The controller's own watchdog has ended it by then.
        assert "somebody else" not in rig[J].state()
        assert len(await trips(rig, "SR-31")) == 1
        assert rig.patterns == [1], "the guard wrote nothing"
        assert rig[J].latch is None


@pytest.mark.parametrize("value", [1, 0, 254, 255])
async def test_sr_31_a_write_over_our_lease_is_told_and_the_lease_given_back_once(snmpset: Set, value: int) -> None:
    async with junction_rig() as rig:
        await rig.run(2)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        await rig.run(1)
        await snmpset(rig, PATTERN, value)
        await rig.run(0.1 * SCANS_MAX)
        assert (await rig.view(J)).holding == ""
        assert len(await trips(rig, "SR-31")) == 1
        (end,) = [entry.text for entry in await rig.log("lease.end")]
        assert end.startswith("SR-31: somebody else requested")
        assert end.endswith("release confirmed")
        await rig.run(60)
        assert ours(rig, [value]) == [2, 0], "given back once, never fought for"
        assert rig.other_sets == []
        assert rig[J].latch is None


async def test_sr_31_a_rogue_that_insists_is_not_fought_and_not_recorded_without_end(snmpset: Set) -> None:
    async with junction_rig() as rig:
        await rig.run(2)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        await rig.run(1)
        written = []
        for turn in range(12):
            value = 1 if turn % 2 else 255
            await snmpset(rig, PATTERN, value)
            written.append(value)
            await rig.run(0.5)
        assert ours(rig, written) == [2, 0]
        assert len(await trips(rig, "SR-31")) == 1
        await rig.run(61)
        assert len(await trips(rig, "SR-31")) <= 2


async def test_sr_31_our_own_writes_are_never_taken_for_a_rogues(snmpset: Set) -> None:
    """Plans, refreshes, releases, an unconfirmed write, the controller's watchdog and its power."""
    async with junction_rig() as rig:
        technician = rig.people.technician
        await rig.run(2)
        for _ in range(2):
            assert (await rig.ask(technician, J, "select-plan", PLAN_2)).ended == "done"
            await rig.run(50)
            assert (await rig.ask(technician, J, "select-plan", {**PLAN_2, "plan": 1})).ended == "done"
            await rig.run(5)
            assert (await rig.ask(technician, J, "release")).ended == "done"
            await rig.run(2)
        assert (await rig.ask(technician, J, "select-plan", PLAN_2)).ended == "done"
        rig.clock.advance(61.0)  # Nobody refreshed: the controller has dropped it.
        await rig.run(5)
        assert await trips(rig, "SR-31") == []


async def test_a_stolen_watchdog_time_ends_our_control(snmpset: Set) -> None:
    async with junction_rig() as rig:
        await rig.run(2)
        assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).ended == "done"
        await snmpset(rig, BACKUP_TIME, 0)
        await rig.run(40)
        assert (await rig.view(J)).holding == ""
        assert rig.patterns == [2, 0]
        outcome = await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)
        assert (outcome.ended, outcome.rule) == ("refused", "SR-09")


@pytest.mark.parametrize(
    ("columns", "value", "rule"),
    [((YELLOW,), 10, "SR-04"), ((WALK, CLEAR, MIN_GREEN, MAX_GREEN), 1, "SR-05")],
    ids=["yellow 1 s", "green 1 s"],
)
async def test_timing_that_was_tampered_with_trips_as_soon_as_it_shows(
    snmpset: Set, columns: tuple[str, ...], value: int, rule: str
) -> None:
    async with junction_rig() as rig:
        await rig.run(2)
        for phase in range(1, 9):
            for column in columns:
                await snmpset(rig, f"{column}.{phase}", value)
        await snmpset(rig, PATTERN, 254)  # Free: the timing table rules, no split of a plan.
        await rig.run_until(lambda: rig[J].latch is not None, 200)
        latch = rig[J].latch
        assert latch is not None
        assert latch.rule == rule
        assert rig.patterns[-1] == 0
        assert 255 not in rig.patterns
        assert (await rig.view(J)).mode == "held"


async def test_sr_16_a_changed_configuration_is_noticed_by_its_fingerprint(snmpset: Set) -> None:
    async with junction_rig() as rig:
        await rig.run(2)
        await snmpset(rig, f"{MAX_GREEN}.3", 41)
        await rig.rest(320)
        assert len(await trips(rig, "SR-16")) == 1
        assert rig.patterns in ([], [0]), "at worst given back"
