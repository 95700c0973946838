"""Key lists that arrive while the processes run: believed at once by agent and guard, on disk before, never backwards."""

import asyncio
import errno
import threading
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from agent.cli import credentials
from agent.process import keyfolder
from agent.process.stopping import stop_all
from agent.process.trustfiles import read_key_list
from agent.wire.local import Failed, Noted, Reply, Submit, TellFleetSeen
from agent.wire.topics import down
from tests.fleet.broker import free_port, iotcore
from tests.guard.officers import Officers
from tests.guard.rig import UNIX_MS, Rig, junction_rig
from tests.runtime.fleet_end import FleetEnd
from tests.runtime.living import living_agent
from tests.runtime.rig import SEGMENT, AgentRig, GuardedRig, guarded_rig, lamp_rig
from tests.waiting import wait_until

BOLLARD = "bollard-vauban"


def officers_of(rig: AgentRig | Rig) -> Officers:
    return Officers(rig.site.parent / "trust")


async def deliver(rig: AgentRig | Rig, sealed: bytes) -> Reply:
    """To this process, as the courier or the agent does."""
    return await rig.client.ask(TellFleetSeen(str(down(rig.people.city, rig.people.gateway, "keys")), sealed))


async def hand_on(rig: GuardedRig) -> None:
    """The agent looks at the guard, and gives it what it lacks."""
    await rig.look()
    await rig.agent.gateway_keys.offer()
    await rig.look()


async def say(rig: GuardedRig, verb: str = "lower") -> Reply:
    """Alice commands the guard's bollard, through the agent."""
    nonce = rig.guard.guard.gatekeeper.nonce(rig.now_ms())
    message = rig.people.message(rig.people.alice, BOLLARD, verb, nonce)
    return await rig.submit(rig.people.seal(message, rig.people.alice))


async def test_a_revoked_operator_commands_neither_agent_nor_guard_from_the_delivery_of_the_list_on() -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        assert not isinstance(await say(rig), Failed)
        assert await deliver(rig, officers_of(rig).sign(without=["alice/1"])) == Noted()
        await hand_on(rig)
        reply = await say(rig)
        assert isinstance(reply, Failed)
        assert "no key b'alice/1' in key list 2" in reply.text
        own = rig.people.message(rig.people.alice, "meter-1", "lower", rig.agent.gatekeeper.nonce(rig.now_ms()))
        reply = await rig.submit(rig.people.seal(own, rig.people.alice))
        assert isinstance(reply, Failed)
        assert "no key b'alice/1'" in reply.text
        assert [entry.text for entry in await rig.guard.log("keys.taken")] == ["key list 2 is in force: 9 keys"]
        assert (await rig.status()).figures["key list"] == 2
        assert rig.agent.gateway_keys.version == 2

        await rig.stop_guard()  # What a killed process comes back with.
        await rig.start_guard()
        assert rig.guard.guard.keys.ring.version == 2


async def test_a_lamp_goes_back_to_its_plan_when_the_key_of_its_override_is_taken_away() -> None:
    async with lamp_rig() as rig:
        assert (await rig.set_level(rig.people.alice, 50)).ended == "done"
        assert await deliver(rig, officers_of(rig).sign(without=["bruno/1"])) == Noted()
        await rig.poll()
        assert rig.level() == 50
        assert await deliver(rig, Officers(rig.site.parent / "trust").sign(without=["alice/1"], version=3)) == Noted()
        await rig.poll()
        assert rig[SEGMENT].lease is None
        (end,) = await rig.log("lease.end")
        why = "its key was revoked: alice/1 commands no more by key list 3"
        assert (end.rule, end.text) == ("SR-25", f"{why}; back to the local plan")


async def test_an_older_list_a_forged_one_and_a_second_of_the_same_version_are_refused_and_told() -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        officers = officers_of(rig)
        newer = officers.sign(without=["alice/1"])
        assert await deliver(rig, newer) == Noted()
        await hand_on(rig)
        rival = Officers(rig.site.parent / "trust").sign(without=["bruno/1"])
        for bad, why in (
            (officers.first, "older than 2"),
            (newer[:-1] + bytes((newer[-1] ^ 1,)), "signature"),
            (rival, "two different key lists of version 2"),
            (b"\x81junk", "not a COSE_Sign1"),
        ):
            for place in (rig, rig.guard):
                reply = await deliver(place, bad)
                assert isinstance(reply, Failed)
                assert why in reply.text
        assert await deliver(rig, newer) == Noted()  # Delivered again: nothing to tell.
        assert rig.agent.keys.ring.version == rig.guard.guard.keys.ring.version == 2
        assert len(await rig.guard.log("keys.refused")) == 1  # One a minute: sealed records are never shed.
        assert (await rig.guard.status()).figures["key lists refused"] == 4
        roots = officers.roots
        assert read_key_list(rig.state / "keys", roots).version == 2


async def test_a_process_says_that_its_own_key_ends_or_that_no_list_has_it() -> None:
    async with lamp_rig() as rig:
        officers = officers_of(rig)
        own = next(entry for entry in officers.newest.keys if entry.role == "agent" and entry.subject == "gw-darcy")
        ending = msgspec.structs.replace(own, not_after_ms=rig.unix_ms() + 5 * 86_400_000 + 60_000)
        assert await deliver(rig, officers.sign(without=[own.kid], more=[ending])) == Noted()
        assert any("good for another 5 days" in warning for warning in (await rig.status()).warnings)
        assert await deliver(rig, officers.sign(without=[own.kid])) == Noted()
        assert any("has not this process's key" in warning for warning in (await rig.status()).warnings)


async def test_a_list_the_disk_does_not_take_is_not_believed_and_taken_when_it_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with guarded_rig() as rig:
        sealed = officers_of(rig).sign(without=["alice/1"])
        real = keyfolder.replace_durably

        def full(path: Path, data: bytes) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(keyfolder, "replace_durably", full)
        reply = await deliver(rig, sealed)
        assert isinstance(reply, Failed)
        assert "No space left" in reply.text
        assert rig.agent.keys.ring.version == 1
        monkeypatch.setattr(keyfolder, "replace_durably", real)
        assert await deliver(rig, sealed) == Noted()
        assert rig.agent.keys.ring.version == 2


@pytest.mark.parametrize("slow", ["the process", "armoire renew"])
async def test_two_who_replace_the_list_at_once_leave_the_newer_one_whoever_is_slow(
    monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    async with lamp_rig() as rig:
        officers = officers_of(rig)
        older, newer = officers.sign(), officers.sign(without=["alice/1"])
        folder, ring = rig.state / "keys", rig.agent.keys.ring
        threads: list[threading.Thread] = []

        def take_newer() -> None:
            if slow == "the process":
                credentials.take_key_list(rig.state, newer)
            else:
                keyfolder.store(folder, ring, newer)

        def while_it_writes(owner: object, name: str) -> None:
            real = getattr(owner, name)

            def write(path: Path, *rest: object) -> None:
                if not threads:
                    threads.append(threading.Thread(target=take_newer))
                    threads[0].start()
                    threads[0].join(0.3)  # Without a lock it is done by then, and overwritten now.
                real(path, *rest)

            monkeypatch.setattr(owner, name, write)

        while_it_writes(keyfolder, "replace_durably")
        while_it_writes(credentials, "_write")
        if slow == "the process":
            assert await deliver(rig, older) == Noted()
        else:
            assert credentials.take_key_list(rig.state, older) == 2
        await asyncio.to_thread(threads[0].join)
        assert read_key_list(folder, officers.roots).version == 3


async def test_a_list_that_was_put_on_disk_is_taken_within_a_minute_also_when_an_older_one_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        officers = officers_of(rig)
        second, third, fourth = officers.sign(), officers.sign(), officers.sign(without=["alice/1"])
        assert credentials.take_key_list(rig.state, third) == 3
        assert isinstance(await deliver(rig, second), Failed)
        assert rig.agent.keys.ring.version == 3
        assert credentials.take_key_list(rig.state, fourth) == 4
        monkeypatch.setattr("agent.process.heldkeys.LOOK_S", 0.02)
        tasks = [asyncio.create_task(keys.run()) for keys in (rig.agent.keys, rig.guard.guard.keys)]
        await wait_until(lambda: {rig.agent.keys.ring.version, rig.guard.guard.keys.ring.version} == {4})
        (rig.state / "keys/keys.sealed").write_bytes(second)  # Somebody set the disk back.
        await rig.agent.keys.look()
        assert rig.agent.keys.ring.version == 4
        await stop_all(tasks)
        assert isinstance(await say(rig), Failed)


async def test_whoever_holds_the_folder_for_ever_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyfolder, "LOCK_TRIES", 2)
    async with lamp_rig() as rig:
        sealed = officers_of(rig).sign()
        with keyfolder.alone_in(rig.state / "keys"):
            reply = await deliver(rig, sealed)
            assert isinstance(reply, Failed)
            assert "another process is replacing the key list" in reply.text
        assert await deliver(rig, sealed) == Noted()


async def test_a_guard_that_was_away_gets_the_list_when_it_is_back() -> None:
    async with guarded_rig() as rig:
        await rig.start_guard()
        await rig.stop_guard()
        (rig.state / "keys/kept").write_bytes((rig.state / "keys/keys.sealed").read_bytes())
        assert await deliver(rig, officers_of(rig).sign()) == Noted()
        (rig.state / "keys/kept").rename(rig.state / "keys/keys.sealed")  # As if the guard had a folder of its own.
        await rig.start_guard()
        assert rig.guard.guard.keys.ring.version == 1
        assert rig.agent.gateway_keys.version == 1  # The gateway as a whole goes by the older one, and says so.
        await hand_on(rig)
        assert rig.guard.guard.keys.ring.version == rig.agent.gateway_keys.version == 2


async def test_a_list_that_is_over_stops_commands_and_nothing_the_guard_does_by_itself() -> None:
    async with junction_rig(verdict="brief") as rig:
        await rig.run(1)
        sealed = officers_of(rig).sign(expires_ms=UNIX_MS + 1)
        assert await deliver(rig, sealed) == Noted()
        nonce = rig.guard.gatekeeper.nonce(rig.now_ms())
        message = rig.people.message(rig.people.technician, "j-republique", "release", nonce)
        reply = await rig.client.ask(Submit(rig.people.seal(message, rig.people.technician)))
        assert isinstance(reply, Failed)
        assert "has expired" in reply.text
        assert any("key list 2 is over" in warning for warning in (await rig.status()).warnings)
        rig.signals.fault("stuck_green:4")
        rig.signals.fault("stuck_green:1")
        await rig.run_until(lambda: rig["j-republique"].latch is not None)
        assert [entry.rule for entry in await rig.log("latch.set")] != []
        await rig.hear_fleet()  # Acks and states are believed still: records are not lost for want of a signature.


async def test_a_list_that_is_over_leaves_the_lamps_on_their_plan() -> None:
    async with lamp_rig(night=False) as rig:
        assert await deliver(rig, officers_of(rig).sign(expires_ms=UNIX_MS + 1)) == Noted()
        assert not rig.coil()
        rig.nightfall()
        await rig.poll(3)
        assert (rig.coil(), rig.level()) == (True, 80)
        assert any("control goes on" in warning for warning in (await rig.status()).warnings)


async def test_over_a_real_broker_a_running_agent_takes_the_list_and_says_so(tmp_path: Path) -> None:
    port = free_port()
    with ExitStack() as brokers:
        brokers.enter_context(iotcore(tmp_path, port))
        async with living_agent(port, is_started=False) as agent, FleetEnd(agent.people, port).running() as fleet:
            await agent.start()
            await wait_until(lambda: bool(fleet.births))
            assert fleet.births[0].key_list == 1
            args = {"level_percent": 50, "lease_s": 600}
            outcome, _ = await fleet.command("agent", SEGMENT, "set-level", args, agent.people.alice)
            assert outcome.ended == "done"
            officers = Officers(agent.site.parent / "trust")
            topic = down(agent.people.city, agent.people.gateway, "keys")
            await fleet._say(topic, officers.sign(without=["alice/1"]))
            await fleet._say(topic, officers.first)  # And the old one played again.
            message = agent.people.message(
                agent.people.alice, SEGMENT, "release-level", fleet.births[0].nonces["agent"]
            )
            await fleet._say(agent.people.command_topic, agent.people.seal(message, agent.people.alice))
            by_bruno, _ = await fleet.command("agent", SEGMENT, "release-level", None, agent.people.bruno)
            assert by_bruno.ended == "done"  # Commands go one behind the other: alice's was looked at before.
            assert message.command_id not in fleet.outcomes
            figures = (await agent.status()).figures
            assert (figures["key list"], figures["key lists refused"], figures["rejected unknown-key"]) == (2, 1, 1)
            await wait_until(lambda: any(beat.key_list == 2 for beat in fleet.heartbeats), 5)
