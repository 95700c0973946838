"""A reset while the disk is slow or failing: a latch is never lost by it."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

from agent.ledger.ledger import Ledger
from agent.wire.local import OutcomeIs, Reply
from agent.wire.messages import Outcome
from tests.guard.rig import FLASH, JunctionRig, junction_rig
from tests.waiting import wait_until

J = "j-republique"


async def ready_for_reset(rig: JunctionRig) -> bytes:
    """Trip, end the fault, stand at the cabinet and sign a reset."""
    await rig.run(1)
    rig.signals.fault("stuck_green:4")
    await rig.run_until(lambda: FLASH in rig.patterns)
    rig.signals.fault("stuck_green:4", on=False)
    rig.stand_at_the_cabinet()
    await rig.rest(150)  # Past the flash, which ends with the controller's watchdog.
    return await rig.sealed(rig.people.technician, J, "reset")


@asynccontextmanager
async def resetting(rig: JunctionRig) -> AsyncIterator["asyncio.Task[Reply]"]:
    """A reset that is approved and waits for the disk, which answers when this ends."""
    sealed = await ready_for_reset(rig)
    go_on = threading.Event()
    records = rig.guard.records
    store_counter = records.store_counter

    async def store_and_hang(kid: str, counter: int) -> None:
        await store_counter(kid, counter)
        records._begin(lambda _ledger: cast("None", go_on.wait(30)))

    records.store_counter = store_and_hang  # type: ignore[method-assign]
    before = records._disk.waiting
    task = asyncio.create_task(rig.guard.gatekeeper.submit(sealed))
    try:
        await wait_until(lambda: records._disk.waiting >= before + 2)
        yield task
    finally:
        go_on.set()


async def outcome_of(task: "asyncio.Task[Reply]") -> Outcome:
    async with asyncio.timeout(10):
        reply = await task
    assert isinstance(reply, OutcomeIs), reply
    return reply.outcome


async def test_sr_13_a_conflict_that_starts_while_a_reset_waits_for_the_disk_keeps_the_latch() -> None:
    async with junction_rig(verdict="brief") as rig:
        async with resetting(rig) as task:
            rig.signals.fault("stuck_green:4")
            before = len(rig.guard.records._lane)
            await rig.run_until(lambda: len(rig.guard.records._lane) > before + 1)
        outcome = await outcome_of(task)
        assert (outcome.ended, outcome.reason) == ("failed", "a fault was seen during the reset; it stays latched")
        assert rig[J].latch is not None
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        kinds = [entry.kind for entry in await rig.log("latch.set", "latch.reset")]
        assert kinds == ["latch.set", "latch.reset", "latch.set"]
        await rig.vanish()
        async with rig.guarding():
            assert rig[J].latch is not None


async def test_sr_13_a_reset_the_disk_answers_too_late_leaves_the_latch_there_after_a_restart_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with junction_rig(verdict="brief") as rig:
        async with resetting(rig) as task:
            monkeypatch.setattr("agent.guard.records.DISK_TIMEOUT_S", 0.1)
            await wait_until(task.done)
        outcome = await outcome_of(task)
        assert (outcome.ended, outcome.reason) == ("failed", "the disk did not take the reset; it stays latched")
        assert rig[J].latch is not None
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        await rig.vanish()
        async with rig.guarding():
            assert rig[J].latch is not None


async def test_sr_13_a_reset_cut_off_while_the_disk_commits_it_leaves_the_latch_after_a_restart_too() -> None:
    async with junction_rig(verdict="brief") as rig:
        sealed = await ready_for_reset(rig)
        clearing, go_on = threading.Event(), threading.Event()
        clear_latch = Ledger.clear_latch

        def clear_and_hang(ledger: Ledger, *args: object) -> None:
            clear_latch(ledger, *args)  # type: ignore[arg-type]
            clearing.set()
            go_on.wait(30)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "clear_latch", clear_and_hang)
            latch = rig[J].latch
            assert latch is not None
            task = asyncio.create_task(rig.guard.records.clear_latch(latch, "", lambda: True))
            await wait_until(clearing.is_set)
            task.cancel()
            await asyncio.wait((task,))
            go_on.set()
            await wait_until(lambda: rig.guard.records.unsealed == 0)
        assert rig[J].latch is latch
        assert sealed
        await rig.vanish()
        async with rig.guarding():
            assert rig[J].latch == latch


async def test_sr_13_a_conflict_still_there_after_a_reset_trips_anew() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await rig.run(1)
        rig.signals.fault("stuck_green:4")
        await rig.run_until(lambda: FLASH in rig.patterns)
        await rig.run_until(lambda: rig[J].standing(rig.now_ms()).fault_seen_at_ms == rig.now_ms(), 200)
        latch = rig[J].latch
        assert latch is not None
        assert await rig.guard.records.clear_latch(latch, "as if it had been over", lambda: True) == ""
        rig[J].watch_anew()
        assert rig[J].latch is None
        await rig.run(0.2)
        assert rig[J].latch is not None
        assert rig.patterns.count(FLASH) == 2


async def test_a_latch_not_yet_on_disk_when_it_is_reset_does_not_come_back_with_a_later_write() -> None:
    async with junction_rig(verdict="brief") as rig:
        await ready_for_reset(rig)
        latch = rig[J].latch
        assert latch is not None
        rig.guard.records._unstored[latch.equipment] = latch
        task = asyncio.create_task(rig.guard.records.clear_latch(latch, "", lambda: True))
        await asyncio.sleep(0)
        rig.guard.records.note("noise", J, "", "")
        assert await task == ""
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        await rig.vanish()
        async with rig.guarding():
            assert rig[J].latch is None
