"""The agent's desk over its real socket: what a technician is shown, also when the guard or the disk is gone."""

import asyncio
import os

import pytest

from agent.ledger.errors import LedgerError
from agent.model.observation import Quality
from agent.wire.errors import MessageError
from agent.wire.local import (
    LENGTH_BYTES,
    EquipmentIs,
    Failed,
    GetEquipment,
    GetLog,
    GetSafetyRecords,
    GetWhy,
    LogEntry,
    LogIs,
    TellFleetSeen,
    WhyIs,
    decode_reply,
)
from tests.runtime.rig import METER, POLL_S, SEGMENT, AgentRig, guarded_rig, lamp_rig

BOLLARD = "bollard-vauban"
LAMP = "lamp-darcy-101"


async def why(rig: AgentRig, equipment: str) -> WhyIs | Failed:
    reply = await rig.client.ask(GetWhy(equipment))
    assert isinstance(reply, WhyIs | Failed)
    return reply


async def log(rig: AgentRig, equipment: str = "", limit: int = 100) -> list[LogEntry]:
    reply = await rig.client.ask(GetLog(equipment, limit))
    assert isinstance(reply, LogIs)
    return reply.entries


async def test_the_status_says_who_where_how_long_and_how_much() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.technician, 50)
        status = await rig.status()
        assert (status.process, status.gateway, status.city, status.pid) == ("agent", "gw-darcy", "dijon", os.getpid())
        assert status.uptime_ms == 2 * POLL_S * 1000
        assert status.fleet == "awaited"
        assert status.counters == {"gw-darcy/tech/1": 1}
        assert status.nonce == rig.agent.gatekeeper.nonce(rig.now_ms())
        assert {head.stream: head.seq > 0 for head in status.heads}["audit"]
        assert status.figures["polls"] == 4
        assert status.warnings == []


async def test_a_fleet_that_was_never_heard_is_awaited_then_silent_and_up_only_once_it_is_heard() -> None:
    async with lamp_rig() as rig:
        assert (await rig.status()).fleet == "awaited"
        rig.clock.advance(121.0)
        assert (await rig.status()).fleet == "silent"
        rig.hear_fleet()
        assert (await rig.status()).fleet == "up"


async def test_every_piece_of_equipment_is_shown_with_mode_link_verbs_and_aged_points() -> None:
    async with lamp_rig() as rig:
        await rig.set_level(rig.people.technician, 50, lease_s=600)
        await rig.poll(2)
        reply = await rig.client.ask(GetEquipment(""))
        assert isinstance(reply, EquipmentIs)
        assert len(reply.equipment) == 29
        views = {view.id: view for view in reply.equipment}
        segment, lamp, meter = views[SEGMENT], views[LAMP], views[METER]
        assert (segment.mode, segment.link, segment.executor) == ("supervised", "answers", "agent")
        assert segment.holding == "level 50 % for another 599 s"
        assert segment.verbs == ["set-level", "release-level"]
        assert (lamp.parent, lamp.link, lamp.points, lamp.executor, lamp.verbs) == (SEGMENT, "", [], "", [])
        assert (meter.link, meter.executor, meter.mode) == ("answers", "", "supervised")
        rig.clock.advance(7)
        assert {point.age_ms for point in (await rig.view(METER)).points} == {7_000}


async def test_there_is_no_equipment_of_a_name_that_is_not_there() -> None:
    async with lamp_rig() as rig:
        assert await rig.client.ask(GetEquipment("seg-nowhere")) == EquipmentIs([])
        reply = await why(rig, "seg-nowhere")
        assert isinstance(reply, Failed)
        assert "this cabinet has no seg-nowhere" in reply.text


async def test_why_tells_the_segments_story_newest_first_and_a_lamp_tells_its_segments() -> None:
    async with lamp_rig() as rig:
        plan = await why(rig, SEGMENT)
        assert isinstance(plan, WhyIs)
        assert plan.state == "lit at 80 %, night; the local plan wants 80 %; mode supervised because nothing against it"
        await rig.set_level(rig.people.alice, 10)
        await rig.set_level(rig.people.alice, 50, lease_s=60)
        await rig.poll(step_s=1)
        await rig.poll(step_s=60)
        await rig.poll(step_s=30)  # LR-05: its turn to return has come.
        for equipment in (SEGMENT, LAMP):
            told = await why(rig, equipment)
            assert isinstance(told, WhyIs)
            assert "the local plan wants 80 %" in told.state
            assert [(entry.kind, entry.rule) for entry in told.because][:3] == [
                ("lease.end", "LR-02"),
                ("command.done", ""),
                ("command.refused", "LR-01"),
            ]
            assert told.because[1].detail["issuer"] == "alice/1"
            assert told.because[1].detail["arg level_percent"] == 50


async def test_why_of_what_is_only_read_tells_how_it_answers() -> None:
    async with lamp_rig() as rig:
        rig.cabinet.fault("silent", unit=2)
        await rig.poll(3)
        await rig.log()
        told = await why(rig, METER)
        assert isinstance(told, WhyIs)
        assert told.state.startswith("Energy meter, place Darcy is only read; unit 2 at 127.0.0.1:")
        assert [entry.kind for entry in told.because] == ["link.lost", "link.back"]


async def test_the_log_is_one_story_of_guard_and_agent_by_time() -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        for step_s in (1, 2, 3):
            rig.clock.advance(step_s)
            rig.agent.recorder.event("audit", "agent.mark", "", "", "")
            await rig.log()
            await rig.guard.guard.records.event("guard.mark", "", "", "")
        await rig.look()
        entries = await log(rig)
        marks = [entry for entry in entries if entry.kind.endswith(".mark")]
        assert [entry.kind for entry in marks] == ["agent.mark", "guard.mark"] * 3
        assert {entry.stream for entry in marks} == {"audit", "safety"}
        assert [entry.t_ms for entry in entries] == sorted(entry.t_ms for entry in entries)
        assert [entry.kind for entry in await log(rig, limit=2)] == [entry.kind for entry in entries][-2:]
        await rig.stop_guard()
        assert [entry.kind for entry in await log(rig) if entry.kind.endswith(".mark")] == ["agent.mark"] * 3


async def test_what_the_guard_guards_is_shown_as_the_guards_word_and_unknown_once_it_is_gone() -> None:
    async with guarded_rig() as rig:
        never = await rig.view(BOLLARD)
        assert (never.mode, never.mode_cause, never.link) == (
            "unknown",
            "the guard does not answer",
            "the guard does not answer",
        )
        await rig.start_guard()
        shown = await rig.view(BOLLARD)
        assert (shown.mode, shown.executor) == ("supervised", "guard")
        assert {point.name: point.value for point in shown.points}["state"] == "down"
        told = await why(rig, BOLLARD)
        assert isinstance(told, WhyIs)
        await rig.stop_guard()
        await rig.look()
        gone = await rig.view(BOLLARD)
        assert (gone.mode, gone.link) == ("unknown", "the guard does not answer")
        points = {point.name: (point.value, point.quality) for point in gone.points}
        assert points["state"] == ("down", Quality.STALE)
        assert {quality for _, quality in points.values()} == {Quality.STALE}
        assert "the guard does not answer; controllers and bollards run by themselves" in (await rig.status()).warnings
        failed = await why(rig, BOLLARD)
        assert isinstance(failed, Failed)
        assert "the equipment under guard runs its own plan" in failed.text
        assert rig.agent._modes() == dict.fromkeys(("bollard-rameau", BOLLARD, "bollard-liberte"), "unknown")


async def test_a_guard_is_met_once_each_time_it_comes() -> None:
    async with guarded_rig() as rig:
        assert not await rig.look()
        for _ in range(2):
            await rig.start_guard()  # It is met in there.
            assert not await rig.look()
            await rig.stop_guard()
            assert not await rig.look()
        await rig._guarding.enter_async_context(rig.guard.guarding())
        assert await rig.look()
        assert not await rig.look()


async def test_the_loss_of_the_guard_and_its_return_are_told_once_each() -> None:
    async with guarded_rig() as rig:
        for _ in range(3):
            await rig.look()
        assert await rig.log("guard.lost") == []  # They start together: the guard has a moment.
        rig.clock.advance(11)
        await rig.look()
        await rig.look()
        await rig.start_guard()
        await rig.look()
        await rig.stop_guard()
        await rig.look()
        await rig.look()
        await rig.start_guard()
        kinds = [entry.kind for entry in await rig.log("guard.lost", "guard.back")]
        assert kinds == ["guard.lost", "guard.back", "guard.lost", "guard.back"]
        known = await rig.samples("state")
        assert (f"{BOLLARD}/state", "down", Quality.STALE) in known


async def test_a_guard_that_hangs_over_a_command_does_not_blind_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        reached, go_on = asyncio.Event(), asyncio.Event()

        async def slowly(_sealed: bytes) -> Failed:
            reached.set()
            await go_on.wait()
            return Failed("late")

        monkeypatch.setattr(rig.guard.guard.gatekeeper, "submit", slowly)
        sealed = rig.sealed(rig.people.technician, BOLLARD, "lower")
        async with asyncio.TaskGroup() as group:
            asked = group.create_task(rig.submit(sealed))
            await reached.wait()
            async with asyncio.timeout(2):
                await rig.look()
            assert rig.agent.guard is not None
            assert rig.agent.guard.is_up
            assert not asked.done()
            go_on.set()
        assert asked.result() == Failed("late")


async def test_records_that_cannot_be_read_are_an_answer_and_not_a_closed_door() -> None:
    async with lamp_rig() as rig:
        for error in (LedgerError("not stored: database disk image is malformed" * 40), MessageError("not a Batch")):

            async def fail(*_: object, error: Exception = error) -> None:
                raise error

            rig.journal.log = fail  # type: ignore[assignment, method-assign]
            for request in (GetLog("", 10), GetWhy(SEGMENT), GetWhy(METER)):
                reply = await rig.client.ask(request)
                assert isinstance(reply, Failed)
                assert reply.text.startswith("the records cannot be read")
        assert (await rig.view(SEGMENT)).mode == "supervised"


async def test_a_log_larger_than_a_frame_is_cut_to_its_newest_entries() -> None:
    async with lamp_rig() as rig:
        for n in range(400):
            rig.agent.recorder.event("audit", "agent.long", SEGMENT, "", f"{n} {'é' * 490}", {"more": "ü" * 400})
        await rig.log()
        entries = await log(rig, SEGMENT, 400)
        numbers = [int(entry.text.split()[0]) for entry in entries]
        assert 50 < len(numbers) < 400
        assert numbers == list(range(400))[-len(numbers) :]


async def test_what_is_asked_at_the_wrong_door_is_sent_to_the_right_one() -> None:
    async with lamp_rig() as rig:
        for request in (GetSafetyRecords(0, 0, 1), TellFleetSeen("armoire/1/dijon/fleet/state", b"x")):
            assert await rig.client.ask(request) == Failed("ask the guard itself: guard.sock")


@pytest.mark.parametrize("body", [b"", b"\x00" * 50, b"\x93\xa6submit\xc4", b"\x91\xa5greet", os.urandom(200)])
async def test_garbage_is_answered_counted_and_harmless(body: bytes) -> None:
    async with lamp_rig() as rig:
        reader, writer = await asyncio.open_unix_connection(str(rig.state / "agent.sock"))
        writer.write(len(body).to_bytes(LENGTH_BYTES, "big") + body)
        async with asyncio.timeout(5):
            length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
            reply = decode_reply(await reader.readexactly(length))
        writer.close()
        await writer.wait_closed()
        assert isinstance(reply, Failed)
        assert "nothing was done" in reply.text
        assert (await rig.status()).figures["socket frame"] == 1
