"""Signed commands at the guard's door, over its real socket."""

import asyncio

import pytest
from msgspec import structs

from agent.model.identity import GatewayId
from agent.process import gatekeeper
from agent.wire import envelope
from agent.wire.errors import SignatureError, TrustError
from agent.wire.local import Failed, OutcomeIs, Rehearse, Reply, Submit
from agent.wire.messages import Outcome, encode
from agent.wire.sealing import open_result
from agent.wire.topics import up
from tests.guard.rig import FLASH, JunctionRig, junction_rig
from tests.waiting import wait_until

J, OTHER = "j-republique", GatewayId("gw-other")
PLAN_2 = {"plan": 2, "lease_s": 300}


async def raw(rig: JunctionRig, sealed: bytes) -> Reply:
    return await rig.client.ask(Submit(sealed))


async def refusal(rig: JunctionRig, sealed: bytes) -> Outcome:
    outcome = await rig.submit(sealed)
    assert outcome.ended in ("refused", "expired")
    assert rig.patterns == []
    return outcome


async def test_sr_25_a_replayed_command_is_refused_and_not_carried_out_again() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        assert (await rig.submit(sealed)).ended == "done"
        reply = await raw(rig, sealed)  # A second delivery within the minute: it has its outcome already.
        assert isinstance(reply, Failed)
        assert "delivered before" in reply.text
        await rig.rest(61)
        patterns = list(rig.patterns)
        outcome = await rig.submit(sealed)  # An hour later it would be the same.
        assert (outcome.ended, outcome.rule) == ("refused", "SR-25")
        assert "replayed" in outcome.reason
        assert rig.patterns == patterns
        assert (await rig.status()).figures["rejected repeated"] == 1


async def test_sr_25_a_counter_stays_used_up_after_a_restart() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        assert (await rig.submit(sealed)).ended == "done"
        await rig.vanish()
        async with rig.guarding():
            await rig.run(1)
            assert (await rig.status()).counters == {"gw-republique/tech/1": 1}
            outcome = await rig.submit(sealed)
            assert (outcome.ended, outcome.rule) == ("refused", "SR-25")
            assert rig.patterns == [2]


async def test_sr_25_an_old_nonce_has_expired() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        await rig.rest(61)
        outcome = await refusal(rig, sealed)
        assert (outcome.ended, outcome.rule) == ("expired", "SR-25")
        assert "nonce" in outcome.reason


async def test_a_command_for_another_gateway_is_not_believed() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        people, nonce = rig.people, (await rig.status()).nonce
        message = people.message(people.technician, J, "select-plan", nonce, PLAN_2, gateway="gw-other")
        reply = await raw(rig, people.seal(message, people.technician))
        assert isinstance(reply, Failed)
        assert "nothing was sent" in reply.text
        assert (await rig.status()).counters == {}


async def test_sr_25_a_technician_of_another_cabinet_is_out_of_scope() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        outcome = await refusal(rig, await rig.sealed(rig.people.stranger, J, "release"))
        assert (outcome.rule, "may not command gw-republique" in outcome.reason) == ("SR-25", True)


async def test_sr_01_an_unknown_verb_with_a_good_signature_is_refused_by_name() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        outcome = await refusal(rig, await rig.sealed(rig.people.technician, J, "set-green", {"group": 4}))
        assert (outcome.ended, outcome.rule) == ("refused", "SR-01")
        assert "no such verb 'set-green'" in outcome.reason
        assert (await rig.log("command.refused"))[0].rule == "SR-01"


@pytest.mark.parametrize("equipment", ["j-nowhere", "cab-republique"])
async def test_sr_01_equipment_that_is_not_the_guards_is_refused(equipment: str) -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        outcome = await refusal(rig, await rig.sealed(rig.people.technician, equipment, "release"))
        assert outcome.rule == "SR-01"


async def test_a_forged_signature_is_counted_and_gets_no_outcome() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = bytearray(await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2))
        sealed[-1] ^= 1
        reply = await raw(rig, bytes(sealed))
        assert isinstance(reply, Failed)
        assert "not believed" in reply.text
        status = await rig.status()
        assert status.figures["rejected signature"] == 1
        assert status.counters == {}
        assert rig.patterns == []
        assert await rig.log("command.refused", "command.done") == []


async def test_every_kind_of_garbage_is_counted_under_its_name() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        good = await rig.sealed(rig.people.technician, J, "release")
        for garbage in (b"", b"\0", b"\xff" * 300, good[:-1], good + b"\0", good[len(good) // 2 :]):
            assert isinstance(await raw(rig, garbage), Failed)
        figures = (await rig.status()).figures
        assert sum(int(str(n)) for name, n in figures.items() if name.startswith("rejected ")) == 6
        assert (await rig.submit(good)).ended == "done"


async def test_sr_25_flash_needs_two_people_and_is_then_requested_once() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.hear_fleet()
        people = rig.people
        alone = await refusal(rig, await rig.sealed(people.alice, J, "flash", {"lease_s": 60}))
        assert (alone.rule, "second person" in alone.reason) == ("SR-25", True)
        twice = await raw(rig, await rig.sealed(people.alice, J, "flash", {"lease_s": 60}, people.alice))
        assert isinstance(twice, Failed) or (isinstance(twice, OutcomeIs) and twice.outcome.rule == "SR-25")
        assert rig.patterns == []
        outcome = await rig.submit(await rig.sealed(people.alice, J, "flash", {"lease_s": 60}, people.bruno))
        assert (outcome.ended, outcome.issuer) == ("done", "alice/1")
        assert rig.patterns == [FLASH]
        done = (await rig.log("command.done"))[-1]
        assert done.detail["signed by"] == "alice, bruno"
        again = await rig.submit(await rig.sealed(people.alice, J, "flash", {"lease_s": 60}, people.bruno))
        assert (again.ended, again.rule) == ("refused", "SR-14")


async def test_sr_25_flash_by_two_envelopes_over_different_payloads_is_not_believed() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        people, nonce = rig.people, (await rig.status()).nonce
        mine = people.message(people.alice, J, "flash", nonce, {"lease_s": 60})
        his = structs.replace(mine, command_id="another")
        both = envelope.join_set(
            [
                people.alice.seal(encode(mine), people.command_topic),
                people.bruno.seal(encode(his), people.command_topic),
            ]
        )
        assert isinstance(await raw(rig, both), Failed)
        assert rig.patterns == []


async def test_a_technician_at_the_open_cabinet_stands_for_the_second_signature() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        assert (
            await refusal(rig, await rig.sealed(rig.people.technician, J, "flash", {"lease_s": 60}))
        ).rule == "SR-25"
        rig.stand_at_the_cabinet()
        await rig.run(1)
        assert (await rig.ask(rig.people.technician, J, "flash", {"lease_s": 60})).ended == "done"


async def test_a_precondition_that_no_longer_holds_is_refused() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2, expect=(f"{J}/pattern", 2))
        outcome = await refusal(rig, sealed)
        assert (outcome.rule, "was expected to be 2, it is 1" in outcome.reason) == ("SR-25", True)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2, expect=(f"{J}/pattern", 1))
        assert (await rig.submit(sealed)).ended == "done"


async def test_the_outcome_verifies_on_its_topic_and_on_no_other() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        reply = await raw(rig, await rig.sealed(rig.people.technician, J, "release"))
        assert isinstance(reply, OutcomeIs)
        people, unix_ms = rig.people, rig.unix_ms()
        topic = up(people.city, people.gateway, "result")
        assert open_result(people.ring, reply.sealed, topic, unix_ms) == (reply.outcome, "guard")
        for other in (up(people.city, people.gateway, "state"), up(people.city, OTHER, "result")):
            with pytest.raises(TrustError):
                open_result(people.ring, reply.sealed, other, unix_ms)
        tampered = bytearray(reply.sealed)
        tampered[-1] ^= 1
        with pytest.raises(SignatureError):
            open_result(people.ring, bytes(tampered), topic, unix_ms)


async def test_a_rehearsal_judges_and_does_nothing() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        people, nonce = rig.people, (await rig.status()).nonce
        for args, ended, rule in ((PLAN_2, "would-do", ""), ({"plan": 3, "lease_s": 60}, "refused", "SR-27")):
            message = people.message(people.technician, J, "select-plan", nonce, args)
            reply = await rig.client.ask(Rehearse(message, "technician"))
            assert isinstance(reply, OutcomeIs)
            assert (reply.outcome.ended, reply.outcome.rule, reply.sealed) == (ended, rule, b"")
        plan = people.message(people.technician, J, "select-plan", nonce, PLAN_2)
        assert isinstance(await rig.client.ask(Rehearse(plan, "local-plan")), Failed)
        assert rig.patterns == []
        assert (await rig.status()).counters == {}


async def test_who_waits_too_long_for_others_is_told_so_and_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "TURN_TIMEOUT_S", 0.1)
    async with junction_rig() as rig:
        await rig.run(1)
        first = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        second = await rig.sealed(rig.people.alice, J, "release")
        rig.signals.fault("slow:0.2")
        under_way = asyncio.create_task(rig.guard.gatekeeper.submit(first))
        await asyncio.sleep(0)
        waiting = await rig.guard.gatekeeper.submit(second)
        assert isinstance(waiting, Failed)
        assert "try again" in waiting.text
        done = await under_way
        assert isinstance(done, OutcomeIs)
        assert done.outcome.ended == "done"
        assert (await rig.submit(second)).ended == "done"
        assert rig.patterns == [2, 0]


async def test_a_command_whose_sender_goes_away_runs_to_its_end_and_is_recorded() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        rig.signals.fault("slow:0.2")
        under_way = asyncio.create_task(rig.guard.gatekeeper.submit(sealed))
        await wait_until(lambda: bool(rig.guard.records.counters))
        under_way.cancel()
        await asyncio.wait((under_way,))
        again = await rig.guard.gatekeeper.submit(sealed)  # Waits for its turn behind the first.
        assert isinstance(again, Failed)
        assert "delivered before" in again.text
        assert rig.patterns == [2]
        assert [entry.text for entry in await rig.log("command.done")] == [
            "select-plan: plan 2 requested and read back"
        ]


async def test_a_process_that_stops_lets_the_command_under_way_end_and_takes_no_other() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        first = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        second = await rig.sealed(rig.people.alice, J, "release")
        rig.signals.fault("slow:0.2")
        gatekeeper = rig.guard.gatekeeper
        async with gatekeeper.working():
            under_way = asyncio.create_task(gatekeeper.submit(first))
            await wait_until(lambda: bool(rig.guard.records.counters))
        assert under_way.done() or isinstance(await under_way, OutcomeIs)
        assert rig.patterns == [2]
        late = await gatekeeper.submit(second)
        assert isinstance(late, Failed)
        assert "stopping" in late.text


async def test_a_command_sent_again_and_again_leaves_one_record_a_minute() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        sealed = await rig.sealed(rig.people.technician, J, "select-plan", PLAN_2)
        assert (await rig.submit(sealed)).ended == "done"
        await rig.rest(61)
        for _ in range(20):
            assert (await rig.submit(sealed)).rule == "SR-25"
        assert len(await rig.log("command.refused")) == 1
        figures = (await rig.status()).figures
        assert (figures["rejected declined"], figures["rejected declined again"]) == (1, 19)
        rig.clock.advance(60)
        await rig.submit(sealed)
        assert len(await rig.log("command.refused")) == 2


async def test_many_captured_commands_do_not_fill_the_card_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gatekeeper, "DECLINED_RECORDS_MAX", 3)
    async with junction_rig() as rig:
        await rig.run(1)
        captured = [await rig.sealed(rig.people.stranger, J, "release") for _ in range(6)]
        for sealed in captured * 2:
            assert (await rig.submit(sealed)).ended == "refused"
        assert len(await rig.log("command.refused")) == 3
        assert (await rig.status()).figures["rejected declined again"] == 9
