"""What the guard's socket answers: everything gets one reply that a client can read, and nothing stops the scan."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.guard.junction import JunctionGuard
from agent.wire.errors import WireError
from agent.wire.local import (
    Failed,
    GetEquipment,
    GetLog,
    GetSafetyRecords,
    GetStatus,
    GetWhy,
    LogIs,
    Noted,
    Rehearse,
    Request,
    SafetyRecords,
    Submit,
    TellFleetSeen,
    WhyIs,
    decode_reply,
    decode_request,
)
from agent.wire.messages import SCHEMA, CommandMessage, StreamHead
from agent.wire.sealing import open_batch
from agent.wire.topics import up
from drivers.ntcip import oids
from tests.guard.rig import FLASH, bollard_rig, junction_rig

J = "j-republique"
ids = st.sampled_from([J, "j-nowhere", "x"]) | st.text(min_size=1, max_size=40)
values = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=500)
topics = st.text(max_size=200) | st.sampled_from(
    ["armoire/1/dijon/fleet/state", "armoire/1/dijon/gw-republique/down/ack", "armoire/1/lyon/fleet/state"]
)
commands = st.builds(
    CommandMessage,
    schema=st.just(SCHEMA),
    command_id=ids,
    issuer=ids,
    gateway=st.just("gw-republique") | ids,
    equipment=ids,
    verb=st.sampled_from(["select-plan", "flash", "release", "reset", "raise", "set-green"]) | ids,
    args=st.dictionaries(st.sampled_from(["plan", "lease_s"]) | ids, values, max_size=3),
    nonce=st.binary(min_size=16, max_size=16),
    counter=st.integers(1, 2**63 - 1),
    issued_ms=st.integers(0, 2**63 - 1),
    not_after_ms=st.integers(0, 2**63 - 1),
    expect_point=st.none() | ids,
    expect_value=values,
)
requests = (
    st.builds(GetEquipment, id=ids)
    | st.builds(GetWhy, id=ids)
    | st.builds(GetLog, equipment=ids | st.just(""), limit=st.integers(1, 500))
    | st.builds(Submit, sealed=st.binary(max_size=300))
    | st.builds(Rehearse, command=commands, role=ids | st.sampled_from(["operator", "technician", "local-plan"]))
    | st.builds(
        GetSafetyRecords,
        epoch=st.integers(-(2**63), 2**63 - 1),
        after_seq=st.integers(-(2**63), 2**63 - 1),
        limit=st.integers(1, 500),
    )
    | st.builds(TellFleetSeen, topic=topics, sealed=st.binary(max_size=300))
    | st.just(GetStatus())
)


def is_request(body: bytes) -> bool:
    try:
        decode_request(body)
    except WireError:
        return False
    return True


@settings(max_examples=25)
@given(asked=st.lists(requests, min_size=5, max_size=40))
async def test_any_request_gets_a_reply_and_moves_nothing(asked: list[Request]) -> None:
    async with junction_rig() as rig:
        await rig.run(0.5)
        for request in asked:
            await rig.client.ask(request)
        await rig.run(0.5)
        assert rig.patterns == []
        assert rig[J].latch is None
        assert (await rig.view(J)).link == "answers"


@settings(max_examples=25)
@given(bodies=st.lists(st.binary(max_size=120).filter(lambda body: not is_request(body)), min_size=1, max_size=10))
async def test_garbage_is_counted_and_the_scan_goes_on(bodies: list[bytes]) -> None:
    async with junction_rig() as rig:
        reader, writer = await asyncio.open_unix_connection(str(rig.guard.server._path))
        for body in bodies:
            writer.write(len(body).to_bytes(4, "big") + body)
            length = int.from_bytes(await reader.readexactly(4), "big")
            assert isinstance(decode_reply(await reader.readexactly(length)), Failed)
            await rig.tick()
        writer.close()
        assert rig.guard.server.rejected["frame"] == len(bodies)
        assert (await rig.status()).figures["socket frame"] == len(bodies)
        assert rig[J].observed is not None


async def test_a_log_larger_than_a_frame_is_cut_to_its_newest_part() -> None:
    async with junction_rig() as rig:
        detail = {f"field {number}": "x" * 200 for number in range(5)}
        for number in range(500):
            await rig.guard.records.event("noise", J, "", f"number {number}", detail)  # type: ignore[arg-type]
        reply = await rig.client.ask(GetLog("", 500))
        assert isinstance(reply, LogIs)
        assert reply.entries[-1].text == "number 499"
        assert 100 < len(reply.entries) < 500
        numbers = [int(entry.text.split()[1]) for entry in reply.entries]
        assert numbers == list(range(500 - len(numbers), 500))


async def test_what_is_too_long_for_a_client_is_cut() -> None:
    async with junction_rig() as rig:
        await rig.run(0.5)
        rig[J].link = "x" * 5_000
        assert len((await rig.view(J)).link) == 500


async def test_why_tells_rule_cause_and_what_was_seen() -> None:
    async with junction_rig(verdict="brief") as rig:
        rig.signals.fault("stuck_green:4")
        await rig.run_until(lambda: FLASH in rig.patterns)
        await rig.guard.records.event("probe", "", "", "what was begun before is on disk")
        why = await rig.client.ask(GetWhy(J))
        assert isinstance(why, WhyIs)
        assert "mode held because SR-02: conflicting groups at once" in why.state
        kinds = [entry.kind for entry in why.because]
        assert kinds[:2] == ["trip.flash", "trip"]
        assert {"aspects", "greens", "pattern"} <= why.because[1].detail.keys()


async def test_the_sealed_records_are_a_chain_that_verifies_and_an_ack_shortens_what_is_owed() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.submit(await rig.sealed(rig.people.technician, J, "release"))
        records = await rig.client.ask(GetSafetyRecords((await rig.status()).heads[0].epoch, 0, 500))
        assert isinstance(records, SafetyRecords)
        topic, previous = up(rig.people.city, rig.people.gateway, "safety"), bytes(32)
        for seq, sealed in records.records:
            link = open_batch(rig.people.ring, sealed, topic, rig.unix_ms())
            assert (link.batch.seq, link.batch.prev) == (seq, previous)
            previous = link.digest
        assert (records.head.seq, records.head.hash) == (len(records.records), previous)
        assert isinstance(await rig.client.ask(TellFleetSeen(*rig.people.ack(records.head))), Noted)
        assert (await rig.status()).acked == [records.head]


async def test_a_fleet_that_has_lost_records_gets_them_again_in_a_new_epoch() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        await rig.submit(await rig.sealed(rig.people.technician, J, "release"))
        full = (await rig.status()).heads[0]
        await rig.client.ask(TellFleetSeen(*rig.people.ack(full)))
        nothing = StreamHead("safety", full.epoch, 0, bytes(32))
        for term in (1, 2):  # The first is an old ack that somebody plays again.
            assert (await rig.status()).heads[0].epoch == full.epoch
            await rig.client.ask(TellFleetSeen(*rig.people.ack(nothing, term)))
            await rig.run(10.5)
            await rig.client.ask(TellFleetSeen(*rig.people.ack(nothing, term)))
        status = await rig.status()
        assert status.heads[0].epoch > full.epoch
        assert status.acked[0].seq == 0
        records = await rig.client.ask(GetSafetyRecords(status.heads[0].epoch, 0, 500))
        assert isinstance(records, SafetyRecords)
        topic = up(rig.people.city, rig.people.gateway, "safety")
        batches = [open_batch(rig.people.ring, sealed, topic, rig.unix_ms()).batch for _, sealed in records.records]
        kinds = [event.kind for batch in batches for event in batch.events]
        assert kinds[0] == "stream.epoch"
        assert "command.done" in kinds
        assert len(batches) == full.seq + 1


@pytest.mark.parametrize("change", ["forged", "other topic", "unknown stream"])
async def test_an_ack_that_is_not_the_fleets_changes_nothing(change: str) -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        head = (await rig.status()).heads[0]
        topic, sealed = rig.people.ack(StreamHead("tele", 1, 1, head.hash) if change == "unknown stream" else head)
        if change == "forged":
            sealed = sealed[:-1] + bytes([sealed[-1] ^ 1])
        if change == "other topic":
            topic = topic.replace("down/ack", "down/cmd")
        await rig.client.ask(TellFleetSeen(topic, sealed))
        status = await rig.status()
        assert status.acked[0].seq == 0
        assert sum(int(str(n)) for name, n in status.figures.items() if name.startswith("rejected")) == (
            0 if change == "unknown stream" else 1
        )


async def test_each_equipment_is_shown_with_age_and_quality_and_what_it_understands() -> None:
    async with bollard_rig() as rig:
        await rig.run(2)
        view = await rig.view("bollard-rameau")
        assert view.verbs == ["lower", "raise", "reset"]
        assert {point.quality for point in view.points} == {0}
        assert all(0 <= point.age_ms < 2_000 for point in view.points)
        nobody = await rig.client.ask(GetWhy("bollard-nowhere"))
        assert isinstance(nobody, Failed)
        assert "it has bollard-rameau, bollard-vauban, bollard-liberte" in nobody.text


async def test_what_the_controller_does_not_tell_is_a_warning_until_it_does() -> None:
    async with junction_rig() as rig:
        await rig.run(1)
        assert (await rig.status()).warnings == []
        junction = rig[J]
        assert isinstance(junction, JunctionGuard)
        junction._controller.unsupported.add(oids.UNIT_FLASH_STATUS)  # As after an answer of noSuchName.
        await rig.run(1)
        (warning,) = (await rig.status()).warnings
        assert warning.startswith(f"{J}: the controller does not tell unitFlashStatus; ")
        rig.clock.advance(300)
        await rig.run(1)
        assert (await rig.status()).warnings == []
