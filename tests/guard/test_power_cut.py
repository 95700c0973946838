"""The power is cut anywhere between the first conflicting sample and the last record of the trip.

The junction is held by a plan when it happens. The process ends at a counted step of the guard's, the driver's or the
ledger's code, in whichever thread that runs; what went over the wire and what lies on disk is looked at afterwards.
"""

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.guard.records import STREAM
from agent.ledger.ledger import Ledger
from agent.model.identity import CityId, EquipmentId, GatewayId
from agent.process.clock import Clock
from agent.process.trustfiles import read_trust
from agent.safety.latch import Latch
from tests.guard.rig import FLASH, JunctionRig, junction_rig
from tests.referee import rack

CITY, GATEWAY, J = CityId("dijon"), GatewayId("gw-republique"), EquipmentId("j-republique")
PLAN = 2
PLACES = ("/agent/guard/", "/agent/ledger/", "/drivers/ntcip/")
CUT, TO_THE_END = 9, 0
GROWTH = 12  # each cut comes a twelfth later than the one before: every early step, and the late ones by sample


class Cut:
    """Ends the process at the ``steps``-th call or return after the trip began."""

    def __init__(self, steps: int) -> None:
        self._left = steps
        self._is_begun = False

    def watch(self, frame: object, event: str, _argument: object) -> None:
        """A profiler; each thread has its own, and all count together."""
        code = getattr(frame, "f_code", None)
        place = str(getattr(code, "co_filename", ""))
        if not any(each in place for each in PLACES):
            return
        self._is_begun |= getattr(code, "co_name", "") == "_trip"
        if self._is_begun and event in ("call", "return"):
            self._left -= 1
            if self._left < 0:
                os._exit(CUT)


def report_sets(rig: JunctionRig, pipe: int) -> None:
    """Let the other end of the pipe know every SET the controller carries out, the moment it does."""
    answer, told = rig.signals.responder.answer, 0

    def listen(datagram: bytes) -> bytes | None:
        nonlocal told
        reply = answer(datagram)
        for pattern in rig.patterns[told:]:
            os.write(pipe, f"set {pattern}\n".encode())
        told = len(rig.patterns)
        return reply

    rig.signals.responder.answer = listen  # type: ignore[method-assign]


async def trip(pipe: int, steps: int) -> None:
    """In the child: hold a plan, then conflict, then every step of the guard's answer."""
    async with junction_rig(verdict=None) as rig:  # It ends before anybody could ask for the verdict.
        os.write(pipe, f"home {rig.site.parent}\n".encode())
        await rig.run(0.5)
        report_sets(rig, pipe)
        outcome = await rig.ask(rig.people.technician, J, "select-plan", {"plan": PLAN, "lease_s": 300})
        assert outcome.ended == "done", outcome
        cut = Cut(steps)
        await rig.guard.records._read(lambda _ledger: sys.setprofile(cut.watch))  # In the ledger's thread,
        sys.setprofile(cut.watch)  # and in this one.
        rig.signals.fault("stuck_green:4")
        rig.signals.fault("stuck_green:1")
        await rig.run_until(lambda: FLASH in rig.patterns)
        await rig.run(0.3)
        await rig.guard.records.event("probe", "", "", "what was begun before is on disk")
        sys.setprofile(None)
        os._exit(TO_THE_END)


@dataclass(frozen=True)
class Left:
    """What a cut left behind."""

    was_cut: bool
    sets: list[int]
    latch: Latch | None
    kinds: list[str]


def cut_after(steps: int) -> Left:
    """Trip in a child that ends after so many steps."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(trip(writing, steps))
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as told:
        lines = told.read().splitlines()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (CUT, TO_THE_END), (code, lines)
    home = Path(lines[0].removeprefix("home "))
    try:
        trust = read_trust(home / "state" / "keys", "guard", CITY)
        ledger = Ledger(home / "state" / "guard.db", trust.signer, CITY, GATEWAY, (STREAM,), Clock())
        assert ledger.damage is None
        latch = ledger.latches().get(J)
        kinds = [entry.kind for entry in ledger.log("", 100)]
        ledger.close()
    finally:
        shutil.rmtree(home)
    return Left(code == CUT, [int(line.removeprefix("set ")) for line in lines[1:]], latch, kinds)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_sr_02_wherever_the_power_is_cut_the_plan_is_never_asked_for_again_and_flash_never_before_the_release() -> None:
    rack()  # Now, or each child would start one and leave it behind.
    whole = [PLAN, 0, FLASH]
    steps, cuts = 0, []
    while True:  # Ends when the child lives to the end.
        left = cut_after(steps)
        assert left.sets == whole[: len(left.sets)], steps
        assert ("latch.set" in left.kinds) == (left.latch is not None), steps  # Latch and record are one.
        assert ("trip" in left.kinds) <= ("latch.set" in left.kinds), steps
        cuts.append(left)
        if not left.was_cut:
            break
        steps += 1 + steps // GROWTH
    *_, last = cuts
    assert last.sets == whole
    assert last.latch is not None
    assert last.latch.flash_requested
    assert {"latch.set", "trip", "trip.flash"} <= set(last.kinds)
    assert any(left.latch is None and left.sets == [PLAN] for left in cuts)  # Before anything,
    assert any(left.latch is not None and left.sets == [PLAN, 0] for left in cuts)  # between the two samples,
    assert any(FLASH in left.sets and "trip.flash" not in left.kinds for left in cuts)  # before the last record.
