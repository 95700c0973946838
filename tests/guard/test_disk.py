"""The guard when its disk fails, hangs or is damaged: it goes on watching, tripping and holding."""

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from agent.guard.diskthread import OTHERS_MAX
from agent.guard.lane import EVENTS_MAX
from agent.ledger.ledger import Ledger
from agent.model.identity import EquipmentId
from agent.model.observation import Scalar
from agent.process.stopping import stop_all
from agent.wire.local import Failed, GetLog, GetPage, GetSafetyRecords, Request, TellFleetSeen
from agent.wire.topics import down
from tests.guard.officers import Officers
from tests.guard.rig import FLASH, JunctionRig, junction_rig
from tests.waiting import wait_until

J = "j-republique"
PLAN_2 = {"plan": 2, "lease_s": 300}


async def on_disk(rig: JunctionRig, statement: str) -> None:
    """Do something to the guard's database that only its own connection can."""
    await rig.guard.records._read(lambda ledger: ledger._database.execute(statement).fetchall())


async def fail(rig: JunctionRig, how: str) -> None:
    if how == "read-only":
        await on_disk(rig, "PRAGMA query_only=1")
    else:
        await on_disk(rig, "PRAGMA max_page_count=1")  # The least it allows is what it has: full from now on.
        text = "x" * 400
        async with asyncio.timeout(20):
            while not rig.guard.records.is_failing:
                await rig.guard.records.event("filler", "", "", text)


@asynccontextmanager
async def hanging(rig: JunctionRig) -> AsyncIterator[None]:
    """The disk accepts a request and does not come back from it."""
    go_on = threading.Event()

    def hang(_ledger: Ledger) -> None:
        go_on.wait(30)

    rig.guard.records._begin(hang)
    try:
        yield
    finally:
        go_on.set()


async def trips_as_ever(rig: JunctionRig) -> None:
    rig.signals.fault("stuck_green:4")
    await rig.run_until(lambda: rig[J].latch is not None)
    await rig.tick()
    assert rig.patterns[-2:] == [0, FLASH]
    view = await rig.view(J)
    assert view.mode == "held"
    assert view.latch is not None


async def test_with_a_disk_that_takes_nothing_the_guard_trips_holds_the_latch_and_says_so() -> None:
    for how in ("read-only", "full"):
        async with junction_rig(verdict="brief") as rig:
            await rig.run(1)
            await fail(rig, how)
            await trips_as_ever(rig)
            await rig.guard.records.event("probe", "", "", "")
            status = await rig.status()
            assert int(str(status.figures["disk failures"])) >= 3
            assert any("the disk takes no records" in warning for warning in status.warnings)
            assert any("latched by SR-02" in warning for warning in status.warnings)


async def test_sr_25_a_command_whose_counter_the_disk_did_not_take_is_not_carried_out() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await fail(rig, "read-only")
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        outcome = await rig.submit(sealed)
        assert (outcome.ended, outcome.rule) == ("failed", "")
        assert "the disk did not take the command's counter" in outcome.reason
        assert outcome.state.startswith("nothing was sent")
        assert rig.patterns == []
        await on_disk(rig, "PRAGMA query_only=0")
        assert (await rig.submit(await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2))).ended == "done"
        assert rig.patterns == [2]


async def test_a_lease_ends_with_a_release_although_the_disk_fails() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        assert (await rig.submit(await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2))).ended == "done"
        await fail(rig, "read-only")
        await rig.rest(301)
        assert rig.patterns[-1] == 0


async def test_a_latch_the_disk_did_not_take_is_written_as_soon_as_it_takes_anything() -> None:
    async with junction_rig(verdict="brief") as rig:
        await rig.run(1)
        await fail(rig, "read-only")
        await trips_as_ever(rig)
        await rig.guard.records.event("probe", "", "", "")
        await on_disk(rig, "PRAGMA query_only=0")
        await rig.guard.records.event("probe", "", "", "the disk is back")
        assert not rig.guard.records.is_failing
        await rig.vanish()
        async with rig.guarding():
            latch = rig[J].latch
            assert latch is not None
            assert (latch.rule, latch.flash_requested) == ("SR-02", True)


async def test_a_reset_the_disk_did_not_take_leaves_the_latch() -> None:
    async with junction_rig(verdict="brief") as rig:
        await rig.run(1)
        await trips_as_ever(rig)
        rig.signals.fault("stuck_green:4", on=False)
        rig.stand_at_the_cabinet()
        await rig.run(15)
        sealed = await rig.sealed(rig.people.technician, J, "reset")
        counter_is_stored = rig.guard.records.store_counter

        async def store_and_fail(kid: str, counter: int) -> None:
            await counter_is_stored(kid, counter)
            await on_disk(rig, "PRAGMA query_only=1")

        rig.guard.records.store_counter = store_and_fail  # type: ignore[method-assign]
        outcome = await rig.submit(sealed)
        assert (outcome.ended, outcome.reason) == ("failed", "the disk did not take the reset; it stays latched")
        assert rig[J].latch is not None


async def test_a_hanging_disk_delays_neither_release_nor_flash_and_no_scan() -> None:
    async with junction_rig(verdict="conflict") as rig:
        await rig.run(1)
        async with hanging(rig):
            before = rig._ticks
            await trips_as_ever(rig)
            await rig.run(10)
            assert rig._ticks - before > 100
            assert rig.guard.records._disk.waiting > 3
        await rig.guard.records.event("probe", "", "", "")
        assert [entry.kind for entry in await rig.log("trip", "trip.flash", "latch.set")] == [
            "latch.set",
            "trip",
            "trip",
            "trip.flash",
        ]


async def test_a_disk_that_hangs_for_long_costs_neither_records_nor_memory() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await wait_until(lambda: rig.guard.records._disk.waiting == 0)
        async with hanging(rig):
            for number in range(200):
                rig.guard.records.note("noise", J, "", f"number {number}")
            assert rig.guard.records._disk.waiting == 64
            assert "does not keep up" in (await rig.status()).warnings[0]
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        assert [entry.text for entry in await rig.log("noise")] == [f"number {number}" for number in range(200)]


async def test_what_an_agent_asks_of_a_hanging_disk_is_bounded_let_go_of_and_takes_no_latchs_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.guard.records.DISK_TIMEOUT_S", 0.01)
    monkeypatch.setattr("agent.process.heldkeys.DISK_TIMEOUT_S", 0.01)
    async with junction_rig(verdict="brief") as rig:
        await rig.run(1)
        await wait_until(lambda: rig.guard.records._disk.waiting == 0)
        officers = Officers(rig.site.parent / "trust")
        topic = str(down(rig.people.city, rig.people.gateway, "keys"))
        parcels: weakref.WeakSet[threading.Event] = weakref.WeakSet()  # What a piece of work may carry along.

        async def parcel() -> None:
            carried = threading.Event()
            parcels.add(carried)
            async with asyncio.timeout(0.01):
                await rig.guard.records.beside(carried.set)

        async with hanging(rig):
            for number in range(40):
                await rig.client.ask(TellFleetSeen(topic, officers.sign()))
                for request in (GetLog("", 10), GetPage("safety", 0, 0, 10)):
                    assert isinstance(await rig.client.ask(request), Failed)
                if number < 5:
                    with pytest.raises(TimeoutError):
                        await parcel()
            assert rig.guard.records._disk.waiting == OTHERS_MAX
            gc.collect()
            assert list(parcels) == []
            more: tuple[Request, ...] = (
                GetLog("", 10),
                GetPage("safety", 0, 0, 10),
                TellFleetSeen(topic, officers.sign()),
            )
            for each in more:
                reply = await rig.client.ask(each)
                assert isinstance(reply, Failed)
                assert "the disk is busy" in reply.text
            await trips_as_ever(rig)
            assert rig.guard.records._disk.waiting > OTHERS_MAX
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        assert "latch.set" in [entry.kind for entry in await rig.log("latch.set")]
        assert rig.guard.keys.ring.version == 1, "nobody waited any more for the lists that waited"


async def test_records_for_which_the_memory_had_no_room_are_lost_by_count_and_that_is_sealed() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await fail(rig, "read-only")
        for number in range(EVENTS_MAX + 30):
            rig.guard.records.note("noise", J, "", f"number {number}")
        assert rig.guard.records.unsealed == EVENTS_MAX
        await wait_until(lambda: rig.guard.records._disk.waiting == 0)
        await on_disk(rig, "PRAGMA query_only=0")
        rig.guard.records.retry()
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        (lost,) = await rig.log("records.lost")
        count = int(str(lost.detail["count"]))
        assert count >= 30
        links = await rig.guard.records._read(lambda ledger: ledger.log("", 2 * EVENTS_MAX))
        kept = [entry for entry in links if entry.kind == "noise"]
        assert len(kept) + count == EVENTS_MAX + 30
        assert [entry.text for entry in kept] == [f"number {number}" for number in range(len(kept))]


async def test_what_the_disk_did_not_take_is_tried_again_by_the_clock_with_its_own_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.guard.records.RETRY_S", 0.05)
    async with junction_rig(verdict="conflict") as rig:
        await rig.run(1)
        await fail(rig, "read-only")
        await trips_as_ever(rig)
        tripped_ms = rig.unix_ms()
        await rig.run(30)
        await on_disk(rig, "PRAGMA query_only=0")
        task = asyncio.create_task(rig.guard.records.run())
        await wait_until(lambda: not rig.guard.records.is_failing)
        await stop_all((task,))
        log = await rig.log("trip", "trip.flash", "latch.set")
        assert [entry.kind for entry in log][:4] == ["latch.set", "trip", "trip", "trip.flash"]
        assert all(abs(entry.t_ms - tripped_ms) < 1_000 for entry in log[:4])
        await rig.vanish()
        async with rig.guarding():
            assert rig[J].latch is not None


async def test_a_record_that_cannot_be_sealed_stops_no_other() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        detail: dict[str, Scalar] = {f"name {number}": "x" * 500 for number in range(200)}
        rig.guard.records.note("monster", J, "", "too large for any link", detail)
        rig.guard.records.note("noise", J, "", "after it")
        await wait_until(lambda: rig.guard.records.unsealed == 0)
        kinds = [entry.kind for entry in await rig.log("monster", "noise", "records.lost")]
        assert kinds == ["records.lost", "noise"]
        assert not rig.guard.records.is_failing


async def test_a_ledger_that_cannot_be_read_fails_the_question_and_nothing_else() -> None:
    async with junction_rig(verdict="brief") as rig:
        await rig.run(1)
        await on_disk(rig, "ALTER TABLE links RENAME TO moved")
        for request in (GetLog("", 10), GetSafetyRecords(rig.guard.records.head.epoch, 0, 10)):
            reply = await rig.client.ask(request)
            assert isinstance(reply, Failed)
            assert "cannot be read" in reply.text
        await trips_as_ever(rig)


async def test_a_ledger_too_damaged_to_know_its_latches_holds_everything_until_a_reset_on_site() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.vanish()
        ledger = rig.site.parent / "state" / "guard.db"
        ledger.write_bytes(b"\0" * 4096 + ledger.read_bytes()[4096:])
        async with rig.guarding():  # It dies before it has held anything.
            assert rig.guard.records.latches == {}
        async with rig.guarding():
            rig.guard.hold_what_may_be_lost()
            await rig.guard.records.event("probe", "", "", "")
        async with rig.guarding():
            assert rig.guard.records.are_latches_known
            assert rig.guard.records.latches[EquipmentId(J)].rule == "SR-13"
            await rig.run(1)
            assert (await rig.ask(rig.people.technician, J, "select-plan", PLAN_2)).rule == "SR-13"
            rig.stand_at_the_cabinet()
            await rig.run(12)
            assert (await rig.ask(rig.people.technician, J, "reset")).ended == "done"
