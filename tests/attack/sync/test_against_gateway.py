"""What an attacker sends a gateway in the fleet's name: the real courier with its journal on a real broker; the real
agent and the real guard under commands. Named after Uptane's list.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from agent.process.clock import Clock
from agent.runtime.errors import TransportError
from agent.runtime.mqtt import Broker, Transport
from agent.wire import envelope
from agent.wire.errors import KeyListError
from agent.wire.keyfile import Signer
from agent.wire.leadership import FLEET_STALE_MS, Leadership
from agent.wire.local import Failed, OutcomeIs, Reply, Submit
from agent.wire.messages import SCHEMA, Ack, CommandMessage, FleetState, StreamHead, Value, encode
from agent.wire.sealing import seal_message
from agent.wire.topics import Topic, down, fleet_state
from tests.fleet import broker as brokers
from tests.fleet.intake import CITY
from tests.guard.people import People
from tests.guard.rig import junction_rig
from tests.ledger.test_ledger import samples
from tests.runtime.courier_rig import AGENT, DIRECTOR, GUARD, Fleet, Running, courier_to, fleet_on
from tests.runtime.rig import SEGMENT, lamp_rig
from tests.waiting import wait_until
from tests.wire.party import GATEWAY, OTHER_GATEWAY, signer

ACK = down(CITY, GATEWAY, "ack")  # type: ignore[arg-type]
OTHER_ACK = down(CITY, OTHER_GATEWAY, "ack")  # type: ignore[arg-type]
STATE = fleet_state(CITY)
HOUR_MS = 3_600_000


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[tuple[Fleet, Running]]:
    """A cabinet with five links that the fleet does not acknowledge, on a broker that passes everything on."""
    with brokers.iotcore(tmp_path) as port:
        async with fleet_on(port) as fleet, courier_to(tmp_path / "agent.db", port, heartbeat_s=0.2) as cabinet:
            fleet.is_acking = False
            for n in range(5):
                await cabinet.journal.append_samples("state", samples(1, n))
            await fleet.until(lambda: len(fleet.values.get("state", ())) == 5)
            yield fleet, cabinet


def head_of(cabinet: Running) -> StreamHead:
    return cabinet.journal.heads["state"]


async def say(fleet: Fleet, topic: Topic, data: bytes) -> None:
    await fleet.transport.publish(str(topic), data)


async def ack(
    fleet: Fleet, by: Signer, head: StreamHead, *, signed_for: Topic = ACK, on: Topic = ACK, term: int = 1
) -> None:
    """Acknowledge, somehow."""
    message = Ack(SCHEMA, on.gateway, term, [head], False)
    await say(fleet, on, seal_message(by, signed_for, message))


async def test_forged_ack_trims_nothing(held: tuple[Fleet, Running]) -> None:
    fleet, cabinet = held
    forgers = [
        AGENT,
        GUARD,
        signer("alice/1"),
        signer(f"{GATEWAY}/tech/1"),
        signer("stranger/1"),
        Signer("director/1", AGENT._key),
    ]
    for forger in forgers:
        await ack(fleet, forger, head_of(cabinet))
    await ack(fleet, DIRECTOR, head_of(cabinet), signed_for=OTHER_ACK)
    await ack(fleet, DIRECTOR, head_of(cabinet), signed_for=STATE)
    await fleet.until(lambda: sum(cabinet.courier.rejected.values()) == len(forgers) + 2)
    assert cabinet.courier.rejected == {"capability": 4, "unknown-key": 1, "signature": 3}
    assert cabinet.courier.backlog["state"] == 5
    await ack(fleet, DIRECTOR, head_of(cabinet))
    await fleet.until(lambda: cabinet.courier.backlog["state"] == 0)
    await fleet.until(lambda: cabinet.house.notices)
    assert sum(cabinet.house.notices[0].counts.values()) == len(forgers) + 2


async def test_cross_gateway_copy_of_an_ack_trims_nothing(held: tuple[Fleet, Running]) -> None:
    """The director's word for a neighbour, carried here."""
    fleet, cabinet = held
    for_neighbour = seal_message(DIRECTOR, OTHER_ACK, Ack(SCHEMA, OTHER_GATEWAY, 1, [head_of(cabinet)], False))
    here_for_neighbour = seal_message(DIRECTOR, ACK, Ack(SCHEMA, OTHER_GATEWAY, 1, [head_of(cabinet)], False))
    await say(fleet, ACK, for_neighbour)
    await say(fleet, ACK, here_for_neighbour)
    await fleet.until(lambda: cabinet.courier.rejected == {"signature": 1, "message": 1})
    assert cabinet.courier.backlog["state"] == 5


async def test_rollback_of_an_ack_neither_trims_nor_makes_the_cabinet_say_everything_again(
    held: tuple[Fleet, Running],
) -> None:
    fleet, cabinet = held
    newest = head_of(cabinet)
    old = StreamHead("state", newest.epoch, 0, bytes(32))
    fleet.term = 3
    await fleet.state()
    await ack(fleet, DIRECTOR, newest, term=3)
    await fleet.until(lambda: cabinet.courier.backlog["state"] == 0)
    for _ in range(5):
        await ack(fleet, DIRECTOR, old, term=2)
    await fleet.until(lambda: cabinet.courier.rejected == {"old-term": 5})
    assert cabinet.courier.backlog["state"] == 0
    assert head_of(cabinet).epoch == newest.epoch


async def test_forged_ack_of_a_history_that_is_not_ours_trims_nothing_and_is_a_fork(
    held: tuple[Fleet, Running],
) -> None:
    """Even the director's own key cannot make a cabinet forget what it says it holds under another hash."""
    fleet, cabinet = held
    before = head_of(cabinet)
    await ack(fleet, DIRECTOR, StreamHead("state", before.epoch, 5, b"\xff" * 32))
    await fleet.until(lambda: head_of(cabinet).epoch > before.epoch)
    fleet.is_acking = True
    await fleet.until(lambda: fleet.values["state"] == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])


async def test_endless_data_on_one_topic_is_judged_slowly_and_stops_no_other(held: tuple[Fleet, Running]) -> None:
    fleet, cabinet = held
    forged = seal_message(signer("stranger/1"), ACK, Ack(SCHEMA, GATEWAY, 1, [head_of(cabinet)], False))
    async with asyncio.TaskGroup() as group:
        for _ in range(600):
            group.create_task(say(fleet, ACK, forged))
    await fleet.state()
    await fleet.until(lambda: cabinet.courier.leadership.leader is not None)
    await fleet.until(lambda: sum(cabinet.courier.rejected.values()) == 600)
    assert cabinet.courier.rejected["throttled"] > 300
    await say(fleet, down(CITY, GATEWAY, "cmd"), b"command")  # type: ignore[arg-type]
    await fleet.until(lambda: cabinet.house.commands == [b"command"])
    assert len(cabinet.house.notices) <= 1


async def test_arbitrary_software_has_no_door(held: tuple[Fleet, Running]) -> None:
    """Nothing that runs travels here yet; a rollout signed by the director itself is counted and left."""
    fleet, cabinet = held
    roll = down(CITY, GATEWAY, "roll")  # type: ignore[arg-type]
    await say(fleet, roll, DIRECTOR.seal(b"\x91\x01", roll))
    await fleet.until(lambda: cabinet.courier.rejected.get("unexpected") == 1)


async def test_a_cloned_card_notices_that_it_is_one_and_keeps_its_own_records(tmp_path: Path) -> None:
    """A card copied at link 1: the cabinet went on to link 3, then the copy is put into another cabinet."""
    with brokers.iotcore(tmp_path) as port:
        async with fleet_on(port) as fleet:
            async with courier_to(tmp_path / "agent.db", port) as cabinet:
                await cabinet.journal.append_samples("state", samples(1, 0))
                await fleet.until(lambda: cabinet.courier.backlog.get("state") == 0)
            (tmp_path / "clone.db").write_bytes((tmp_path / "agent.db").read_bytes())
            async with courier_to(tmp_path / "agent.db", port) as cabinet:
                await cabinet.journal.append_samples("state", samples(2, 1))
                await fleet.until(lambda: cabinet.courier.backlog.get("state") == 0)
                epoch = head_of(cabinet).epoch
            async with courier_to(tmp_path / "clone.db", port) as clone:
                await clone.journal.append_samples("state", samples(1, 666))
                await fleet.until(lambda: head_of(clone).epoch > epoch and clone.courier.backlog.get("state") == 0)
            assert fleet.values["state"][:3] == [0, 1, 2]
            assert fleet.values["state"][-1] == 666


async def test_a_cloned_card_under_the_same_name_takes_connections_and_no_records(
    tmp_path: Path, require_program: Callable[[str], Path]
) -> None:
    """A broker lets the newcomer have the name and closes the other's connection; the cabinet comes back each time."""
    with brokers.mosquitto(require_program("mosquitto"), tmp_path) as port:
        async with fleet_on(port) as fleet, courier_to(tmp_path / "agent.db", port) as cabinet:
            figures = cabinet.courier.figures
            await fleet.until(lambda: figures.connections == 1)
            for n in range(4):
                await cabinet.journal.append_samples("state", samples(1, n))
                before = figures.connections
                with suppress(TransportError):
                    async with Transport(Broker("127.0.0.1", port), GATEWAY):
                        await wait_until(lambda: figures.connections > before)  # noqa: B023 - awaited in this turn
            await fleet.until(lambda: fleet.values.get("state") == [0, 1, 2, 3])
            await fleet.until(lambda: cabinet.courier.backlog["state"] == 0)
            conns = [birth.conn for birth in fleet.births]
            assert conns == sorted(set(conns))


def test_freeze_of_the_fleets_state_is_silence_and_no_memory_of_it_helps() -> None:
    heard = Leadership()
    kept = [FleetState(SCHEMA, "room", 1, "b", 1_000 * n, n, 1) for n in range(1, 30)]
    for n, state in enumerate(kept):
        heard.receive(state, 10_000 * n, None)
    end_ms = 10_000 * len(kept)
    for n in range(20):
        heard.connected()
        for state in kept:
            heard.receive(state, end_ms + 10_000 * n, None)
    assert heard.is_silent(end_ms + FLEET_STALE_MS)


def test_wrong_time_in_a_state_is_no_sign_of_life() -> None:
    for issued_ms in (0, HOUR_MS, 2**62):
        heard = Leadership()
        now_ms = Clock().unix_ms()
        heard.receive(FleetState(SCHEMA, "room", 1, "b", issued_ms, 1, 1), 0, now_ms)
        heard.receive(FleetState(SCHEMA, "room", 1, "b", issued_ms, 2, 1), 0, now_ms)
        assert heard.is_silent(0)


@dataclass
class Door:
    """An executor under attack.

    Args:
        nonce: of this moment. effects: how often its equipment was moved.
    """

    people: People
    equipment: str
    verb: str
    args: dict[str, Value]
    submit: Callable[[bytes], Awaitable[Reply]]
    nonce: Callable[[], Awaitable[bytes]]
    effects: Callable[[], int]

    async def command(self, **changes: object) -> CommandMessage:
        issuer = self.people.alice
        return self.people.message(issuer, self.equipment, self.verb, await self.nonce(), self.args, **changes)  # type: ignore[arg-type]


@asynccontextmanager
async def of_the_agent() -> AsyncIterator[Door]:
    async with lamp_rig(night=False) as rig:

        async def nonce() -> bytes:
            return (await rig.status()).nonce

        yield Door(
            rig.people,
            SEGMENT,
            "set-level",
            {"level_percent": 60, "lease_s": 600},
            rig.submit,
            nonce,
            lambda: int(rig.coil()),
        )


@asynccontextmanager
async def of_the_guard() -> AsyncIterator[Door]:
    async with junction_rig() as rig:
        await rig.run(1)

        async def nonce() -> bytes:
            return (await rig.status()).nonce

        async def submit(sealed: bytes) -> Reply:
            return await rig.meanwhile(rig.client.ask(Submit(sealed)))

        plan: dict[str, Value] = {"plan": 2, "lease_s": 300}
        yield Door(rig.people, "j-republique", "select-plan", plan, submit, nonce, lambda: rig.patterns.count(2))


@pytest.fixture(params=[of_the_agent, of_the_guard], ids=["agent", "guard"])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    async with request.param() as made:
        yield made


def how(reply: Reply) -> str:
    """How it ended, in a word."""
    return reply.outcome.ended if isinstance(reply, OutcomeIs) else "not believed"


async def test_replay_of_a_command_moves_nothing_again(door: Door) -> None:
    sealed = door.people.seal(await door.command(), door.people.alice)
    assert how(await door.submit(sealed)) == "done"
    moved = door.effects()
    replies = [await door.submit(sealed) for _ in range(3)]
    assert all(isinstance(reply, Failed) and "delivered before" in reply.text for reply in replies)
    assert door.effects() == moved


async def test_rollback_of_a_persons_counter_is_refused(door: Door) -> None:
    first = await door.command()
    newer = await door.command()
    assert how(await door.submit(door.people.seal(newer, door.people.alice))) == "done"
    assert how(await door.submit(door.people.seal(first, door.people.alice))) == "refused"


async def test_freeze_of_a_command_for_another_moment_is_expired(door: Door) -> None:
    """A command kept back until its nonce is no longer one of the last two."""
    message = await door.command()
    stale = encode(message).replace(message.nonce, bytes(16))
    sealed = envelope.join_set([door.people.alice.seal(stale, door.people.command_topic)])
    assert how(await door.submit(sealed)) == "expired"


async def test_cross_topic_and_cross_gateway_copies_of_a_command_are_not_believed(door: Door) -> None:
    people = door.people
    payload = encode(await door.command())
    places = [down(people.city, people.gateway, "desired"), down(people.city, OTHER_GATEWAY, "cmd")]  # type: ignore[arg-type]
    for place in places:
        sealed = envelope.join_set([people.alice.seal(payload, place)])
        assert how(await door.submit(sealed)) == "not believed"
    for_other = await door.command(gateway=OTHER_GATEWAY)
    assert how(await door.submit(people.seal(for_other, people.alice))) == "not believed"
    assert door.effects() == 0


async def test_mix_and_match_of_two_peoples_signatures_is_no_command_of_two(door: Door) -> None:
    people = door.people
    one, two = await door.command(), await door.command()
    of_alice, of_bruno = (
        people.alice.seal(encode(one), people.command_topic),
        people.bruno.seal(encode(two), people.command_topic),
    )
    assert how(await door.submit(b"\x82" + of_alice + of_bruno)) == "not believed"
    grafted = of_alice[:-64] + of_bruno[-64:]
    assert how(await door.submit(b"\x81" + grafted)) == "not believed"
    assert door.effects() == 0


async def test_partial_bundle_is_no_command(door: Door) -> None:
    sealed = door.people.seal(await door.command(), door.people.alice, door.people.bruno)
    half = (len(sealed) - 1) // 2 + 1
    for piece in (sealed[:half], sealed[:-1], sealed[1:], b"\x82" + sealed[1:half]):
        assert how(await door.submit(piece)) == "not believed"
    assert door.effects() == 0


async def test_wrong_time_a_command_made_to_lie_in_wait_is_refused(door: Door) -> None:
    """Neither may a command be good for longer than half a minute, nor come after its end."""
    people = door.people
    message = await door.command()
    for shift_ms, ended in ((HOUR_MS, "refused"), (-HOUR_MS, "expired")):
        moved = msgspec.structs.replace(message, not_after_ms=message.not_after_ms + shift_ms)
        assert how(await door.submit(people.seal(moved, people.alice))) == ended
    assert door.effects() == 0


async def test_endless_forged_key_lists_are_judged_slowly_too() -> None:
    """Each is held against the one on disk, so a flood of them would keep acks and states waiting."""
    async with lamp_rig() as rig:
        courier = rig.agent.uplink._courier
        assert courier is not None
        keys = down(rig.people.city, rig.people.gateway, "keys")
        forged = envelope.join_set([rig.people.director.seal(b"\x90", keys)])
        with pytest.raises(KeyListError):
            await courier._take_in(keys, forged)


async def test_endless_data_on_the_socket_ends_at_the_size_of_a_frame(door: Door) -> None:
    for size in (100_000, 262_000):
        assert how(await door.submit(bytes(size))) == "not believed"
    assert door.effects() == 0
