"""Commands at the agent: who is believed, who is answered, and who decides."""

import asyncio

import pytest

from agent.ledger.errors import LedgerError
from agent.wire import envelope
from agent.wire.local import Failed, OutcomeIs, Rehearse, Submit
from agent.wire.messages import CommandMessage, Outcome, encode
from agent.wire.sealing import open_result
from agent.wire.topics import up
from tests.guard.people import OTHER_GATEWAY
from tests.runtime.rig import METER, SEGMENT, LampRig, guarded_rig, lamp_rig

BOLLARD = "bollard-vauban"
LEVEL = {"level_percent": 50, "lease_s": 600}


async def outcome_of(rig: LampRig, sealed: bytes) -> Outcome:
    reply = await rig.submit(sealed)
    assert isinstance(reply, OutcomeIs), reply
    return reply.outcome


async def test_a_command_is_carried_out_recorded_and_its_issuer_named() -> None:
    async with lamp_rig() as rig:
        outcome = await rig.set_level(rig.people.alice, 50)
        assert (outcome.ended, outcome.issuer, outcome.verb) == ("done", "alice/1", "set-level")
        (entry,) = await rig.log("command.done")
        assert (entry.stream, entry.equipment) == ("audit", SEGMENT)
        assert (
            entry.detail | {"signed by": "alice", "arg level_percent": 50, "command": outcome.command_id}
            == entry.detail
        )
        assert rig.journal.counters == {"alice/1": 1}


async def test_a_forged_signature_gets_no_outcome_and_is_counted() -> None:
    async with lamp_rig() as rig:
        sealed = bytearray(rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL))
        sealed[-1] ^= 1
        reply = await rig.submit(bytes(sealed))
        assert isinstance(reply, Failed)
        assert "nothing was sent to the equipment" in reply.text
        assert rig.level() == 80
        assert rig.journal.counters == {}
        assert sum(rig.agent.gatekeeper.rejected.values()) == 1
        assert [name for name in (await rig.status()).figures if name.startswith("rejected ")]


async def test_a_stranger_and_a_command_for_another_gateway_are_not_believed() -> None:
    async with lamp_rig() as rig:
        nonce = rig.agent.gatekeeper.nonce(rig.now_ms())
        other = rig.people.message(rig.people.alice, SEGMENT, "set-level", nonce, LEVEL, gateway=OTHER_GATEWAY)
        assert isinstance(await rig.submit(rig.people.seal(other, rig.people.alice)), Failed)
        stranger = await outcome_of(rig, rig.sealed(rig.people.stranger, SEGMENT, "set-level", args=LEVEL))
        assert (stranger.ended, stranger.rule) == ("refused", "SR-25")
        assert "may not command gw-darcy" in stranger.reason
        assert rig.level() == 80


async def test_a_second_delivery_is_not_a_second_command() -> None:
    async with lamp_rig() as rig:
        sealed = rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL)
        assert (await outcome_of(rig, sealed)).ended == "done"
        await rig.ask(rig.people.alice, SEGMENT, "release-level")
        again = await rig.submit(sealed)
        assert isinstance(again, Failed)
        assert "delivered before" in again.text
        assert rig.level() == 80


async def test_a_replay_after_a_restart_is_refused_because_its_counter_is_on_disk() -> None:
    async with lamp_rig() as rig:
        old = rig.people.message(
            rig.people.alice, SEGMENT, "set-level", rig.agent.gatekeeper.nonce(rig.now_ms()), LEVEL, counter=7
        )
        assert (await outcome_of(rig, rig.people.seal(old, rig.people.alice))).ended == "done"
        rig.agent.gatekeeper._gate._admitted.clear()  # What only memory knows is gone.
        refused = await outcome_of(rig, rig.people.seal(old, rig.people.alice))
        assert (refused.ended, refused.rule) == ("refused", "SR-25")
        assert "counter 7 is not above 7" in refused.reason


async def test_a_command_made_for_an_older_nonce_has_expired() -> None:
    async with lamp_rig() as rig:
        sealed = rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL)
        await rig.poll(4, step_s=15.25)
        expired = await outcome_of(rig, sealed)
        assert (expired.ended, expired.rule) == ("expired", "SR-25")
        assert rig.level() == 80
        assert len(await rig.log("command.expired")) == 1


async def test_a_verb_that_does_not_exist_is_refused_by_name_and_its_counter_is_used_up() -> None:
    async with lamp_rig() as rig:
        outcome = await rig.ask(rig.people.alice, SEGMENT, "set-green", args={"group": 2})
        assert (outcome.ended, outcome.rule) == ("refused", "SR-01")
        assert "no such verb 'set-green'" in outcome.reason
        assert rig.journal.counters == {"alice/1": 1}


@pytest.mark.parametrize(
    ("equipment", "verb", "reason"),
    [
        ("lamp-darcy-101", "set-level", "lamp-darcy-101 is driven by its segment: command seg-darcy-1"),
        (METER, "set-level", "a meter knows no SetLevel"),
        ("seg-nowhere", "set-level", "this cabinet has no seg-nowhere"),
        (BOLLARD, "raise", "this cabinet has no bollard-vauban"),
        (SEGMENT, "raise", "a segment knows no RaiseBollard"),
    ],
)
async def test_what_cannot_be_commanded_says_why(equipment: str, verb: str, reason: str) -> None:
    async with lamp_rig() as rig:
        args = LEVEL if verb == "set-level" else None
        outcome = await rig.ask(rig.people.alice, equipment, verb, args=args)
        assert (outcome.ended, outcome.rule, outcome.reason) == ("refused", "SR-01", reason)


async def test_a_precondition_that_no_longer_holds_refuses_the_command() -> None:
    async with lamp_rig() as rig:
        point = f"{SEGMENT}/level_percent"
        stale = rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL, expect=(point, 70))
        refused = await outcome_of(rig, stale)
        assert (refused.rule, refused.reason) == ("SR-25", f"{point} was expected to be 70, it is 80")
        unknown = rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL, expect=(f"{SEGMENT}/nothing", 1))
        assert "it is not known" in (await outcome_of(rig, unknown)).reason
        rig.cabinet.fault("silent")
        await rig.poll(3)
        gone = rig.sealed(rig.people.alice, SEGMENT, "set-level", args=LEVEL, expect=(point, 80))
        assert "it is not known" in (await outcome_of(rig, gone)).reason  # A stale value is no value.


async def test_a_rehearsal_judges_and_does_nothing() -> None:
    async with lamp_rig() as rig:
        nonce = bytes(16)
        for level_percent, ended, rule in ((50, "would-do", ""), (10, "refused", "LR-01")):
            args = {"level_percent": level_percent, "lease_s": 60}
            message = rig.people.message(rig.people.alice, SEGMENT, "set-level", nonce, args)
            reply = await rig.client.ask(Rehearse(message, "operator"))
            assert isinstance(reply, OutcomeIs)
            assert (reply.outcome.ended, reply.outcome.rule, reply.sealed) == (ended, rule, b"")
        assert rig.level() == 80
        assert rig.journal.counters == {}
        assert await rig.log("command.would-do", "command.refused") == []


async def test_a_rehearsal_says_when_what_is_expected_is_not_so() -> None:
    async with lamp_rig() as rig:
        point, args = f"{SEGMENT}/level_percent", {"level_percent": 50, "lease_s": 60}
        for value, ended, rule in ((80, "would-do", ""), (70, "refused", "SR-25")):
            message = rig.people.message(rig.people.alice, SEGMENT, "set-level", bytes(16), args, expect=(point, value))
            reply = await rig.client.ask(Rehearse(message, "operator"))
            assert isinstance(reply, OutcomeIs)
            assert (reply.outcome.ended, reply.outcome.rule) == (ended, rule)


async def test_without_a_disk_no_command_is_carried_out() -> None:
    async with lamp_rig() as rig:
        store = rig.journal.store_counter

        async def refuse(*_: object) -> None:
            raise LedgerError("database or disk is full")

        rig.journal.store_counter = refuse  # type: ignore[assignment, method-assign]
        outcome = await rig.set_level(rig.people.alice, 50)
        assert outcome.ended == "failed"
        assert "the disk did not take the command's counter" in outcome.reason
        assert rig.level() == 80
        rig.journal.store_counter = store  # type: ignore[method-assign]
        assert (await rig.set_level(rig.people.alice, 50)).ended == "done"


async def test_a_disk_that_hangs_fails_the_command_in_time_and_carries_nothing_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("agent.runtime.executor.DURABLE_TIMEOUT_S", 0.1)
    monkeypatch.setattr("agent.runtime.recorder.DURABLE_TIMEOUT_S", 0.1)
    async with lamp_rig() as rig:
        free = asyncio.Event()

        async def hang(*_: object) -> None:
            await free.wait()

        rig.journal.store_counter = hang  # type: ignore[assignment, method-assign]
        outcome = await rig.set_level(rig.people.alice, 50)
        assert (outcome.ended, rig.level()) == ("failed", 80)
        free.set()


async def test_a_command_done_but_not_recorded_is_answered_and_recorded_when_the_disk_is_back() -> None:
    async with lamp_rig() as rig:
        append = rig.journal.append_events

        async def refuse(*_: object) -> None:
            raise LedgerError("database or disk is full")

        rig.journal.append_events = refuse  # type: ignore[assignment, method-assign]
        assert (await rig.set_level(rig.people.alice, 50)).ended == "done"
        assert rig.agent.gatekeeper.rejected == {"unrecorded": 1}
        assert "the disk takes no records" in (await rig.status()).warnings[0]
        rig.journal.append_events = append  # type: ignore[method-assign]
        rig.agent.recorder._events["audit"].take([])
        (entry,) = await rig.log("command.done")
        assert entry.detail["issuer"] == "alice/1"
        assert (await rig.status()).warnings == []


async def test_what_the_guard_guards_is_decided_by_the_guard_whoever_delivers_it() -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        guard = rig.guard
        message = guard.people.message(
            rig.people.technician, BOLLARD, "raise", guard.guard.gatekeeper.nonce(rig.now_ms())
        )
        sealed = rig.people.seal(message, rig.people.technician)
        guard.bollards.fault("loop_occupied:A", unit=2)
        await guard.run(3)
        reply = await rig.submit(sealed)
        assert isinstance(reply, OutcomeIs)
        assert (reply.outcome.ended, reply.outcome.rule) == ("refused", "SR-19")
        topic = up(rig.people.city, rig.people.gateway, "result")
        assert open_result(rig.people.ring, reply.sealed, topic, rig.unix_ms())[1] == "guard"
        assert rig.journal.counters == {}  # The guard keeps its own.
        assert guard.guard.records.counters == {"gw-liberation/tech/1": 1}


async def test_a_nonce_of_the_agents_opens_nothing_at_the_guard() -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        reply = await rig.submit(rig.sealed(rig.people.technician, BOLLARD, "lower"))
        assert isinstance(reply, OutcomeIs)
        assert (reply.outcome.ended, reply.outcome.rule) == ("expired", "SR-25")


async def test_without_the_guard_nobody_else_decides_what_it_guards() -> None:
    async with guarded_rig() as rig:
        reply = await rig.submit(rig.sealed(rig.people.technician, BOLLARD, "lower"))
        assert isinstance(reply, Failed)
        assert "guard.sock did not answer" in reply.text
        message = rig.people.message(rig.people.alice, BOLLARD, "lower", bytes(16))
        rehearsed = await rig.client.ask(Rehearse(message, "operator"))
        assert isinstance(rehearsed, Failed)
        assert rehearsed.text.endswith("Nothing was done")


async def test_an_unreadable_command_is_for_our_own_gate_which_says_so() -> None:
    async with guarded_rig() as rig:
        for sealed in (b"", b"\x00", b"\x82" * 40, envelope.join_set([b"\x84", b"\x84"])):
            reply = await rig.client.ask(Submit(sealed))
            assert isinstance(reply, Failed)
            assert reply.text.startswith("not believed")


async def test_a_signed_message_that_is_no_command_is_not_believed() -> None:
    async with lamp_rig() as rig:
        payload = encode(Outcome(1, "c", "gw-darcy", SEGMENT, "v", "i", "done", "", "", "", 0))
        sealed = envelope.join_set([rig.people.alice.seal(payload, rig.people.command_topic)])
        reply = await rig.submit(sealed)
        assert isinstance(reply, Failed)
        assert CommandMessage.__name__ in reply.text


async def test_sr_25_an_operator_sets_levels_until_the_budget_is_spent_and_releases_still() -> None:
    async with lamp_rig() as rig:
        for _ in range(60):
            assert (await rig.set_level(rig.people.alice, 50)).ended == "done"
        refused = await rig.set_level(rig.people.alice, 50)
        assert (refused.ended, refused.rule) == ("refused", "SR-25")
        assert refused.reason.startswith(f"{SEGMENT} had 60 commands of class R1 in 10 min, at most 60 are allowed")
        released = await outcome_of(rig, rig.sealed(rig.people.alice, SEGMENT, "release-level"))
        assert released.ended == "done"
