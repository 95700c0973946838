"""The courier on real brokers: links arrive once and in order, commands are carried, and it never gives up."""

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.process.clock import Clock
from agent.runtime.backoff import Backoff
from agent.runtime.connections import PLACE_BITS
from agent.wire.messages import StreamHead
from agent.wire.streams import NO_HASH, Link
from agent.wire.topics import ROOT, down, fleet_state, parse, up
from tests.fleet import broker as brokers
from tests.ledger.test_ledger import event, samples
from tests.runtime.courier_rig import GUARD, KEYS, courier_to, fleet_on
from tests.wire.party import CITY, GATEWAY

FIRST = 1 << PLACE_BITS
"""The number of a gateway's first connection."""


@pytest.fixture(params=["iotcore", "mosquitto"])
def port(request: pytest.FixtureRequest, tmp_path: Path, require_program: Callable[[str], Path]) -> Iterator[int]:
    if request.param == "iotcore":
        with brokers.iotcore(tmp_path) as port:
            yield port
    else:
        with brokers.mosquitto(require_program("mosquitto"), tmp_path) as port:
            yield port


@pytest.fixture
def one_port(tmp_path: Path) -> Iterator[int]:
    with brokers.iotcore(tmp_path) as port:
        yield port


async def test_everything_arrives_in_order_and_is_trimmed(port: int, tmp_path: Path) -> None:
    async with fleet_on(port) as fleet, courier_to(tmp_path / "agent.db", port) as cabinet:
        for n in range(60):
            await cabinet.journal.append_samples("tele", samples(10, 10 * n))
            await cabinet.journal.append_samples("state", samples(1, n))
        await fleet.until(lambda: len(fleet.values.get("tele", ())) == 600 and len(fleet.values.get("state", ())) == 60)
        assert fleet.values["tele"] == list(range(600))
        await fleet.until(lambda: not any(cabinet.courier.backlog.values()))
        assert cabinet.journal.acked["tele"] == cabinet.journal.heads["tele"]
        assert [birth.conn for birth in fleet.births] == [FIRST]
        assert cabinet.house.changes == [True]
    await_deaths = [death.conn for death in fleet.deaths]
    assert await_deaths in ([], [FIRST])


async def test_leaving_is_said(port: int, tmp_path: Path) -> None:
    async with fleet_on(port) as fleet:
        async with courier_to(tmp_path / "agent.db", port):
            await fleet.until(lambda: fleet.births)
        await fleet.until(lambda: fleet.deaths)
        assert fleet.deaths[0].conn == FIRST


async def test_without_acks_it_goes_back_and_the_fleet_counts_nothing_twice(one_port: int, tmp_path: Path) -> None:
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port) as cabinet:
        fleet.is_acking = False
        await cabinet.journal.append_samples("state", samples(5))
        await fleet.until(lambda: cabinet.courier.go_backs)
        fleet.is_acking = True
        await fleet.until(lambda: cabinet.courier.backlog["state"] == 0)
        assert fleet.values["state"] == list(range(5))


async def test_it_walks_to_the_other_broker_and_back(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(brokers.iotcore(tmp_path))
        dead = contextlib.ExitStack()
        second = dead.enter_context(brokers.iotcore(tmp_path))
        async with fleet_on(first) as fleet, courier_to(tmp_path / "agent.db", second, first) as cabinet:
            await fleet.until(lambda: cabinet.courier.figures.is_connected)
            await cabinet.journal.append_samples("state", samples(3))
            dead.close()  # What was published there is gone with it.
            await fleet.until(lambda: fleet.values.get("state") == [0, 1, 2])
            await fleet.until(lambda: cabinet.courier.backlog["state"] == 0)
            assert [birth.conn for birth in fleet.births][-1] > 1
            assert cabinet.house.changes == [True, False, True]


async def test_a_crashed_agent_goes_on_where_the_fleet_stands(one_port: int, tmp_path: Path) -> None:
    async with fleet_on(one_port) as fleet:
        for n in range(3):
            async with courier_to(tmp_path / "agent.db", one_port) as cabinet:
                await cabinet.journal.append_samples("state", samples(2, 2 * n))
                await fleet.until(lambda n=n: len(fleet.values.get("state", ())) == 2 * n + 2)
        assert fleet.values["state"] == list(range(6))
        assert [birth.conn for birth in fleet.births] == [FIRST, 2 * FIRST, 3 * FIRST]


async def test_commands_are_carried_and_answered_even_over_a_lost_connection(one_port: int, tmp_path: Path) -> None:
    topic = str(down(CITY, GATEWAY, "cmd"))  # type: ignore[arg-type]
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port) as cabinet:
        await fleet.until(lambda: fleet.births)
        for command in (b"one", b"nobody", b"two"):
            await fleet.transport.publish(topic, command)
        await fleet.until(lambda: len(fleet.results) == 2)
        assert cabinet.house.commands == [b"one", b"nobody", b"two"]
        opened = KEYS.open(fleet.results[1], parse(str(up(CITY, GATEWAY, "result"))), "up")  # type: ignore[arg-type]
        assert opened.payload == b"result of two"


async def test_a_command_under_way_outlasts_its_connection_and_is_answered_on_the_next(tmp_path: Path) -> None:
    topic = str(down(CITY, GATEWAY, "cmd"))  # type: ignore[arg-type]
    port = brokers.free_port()
    async with courier_to(tmp_path / "agent.db", port) as cabinet:
        for connection in (1, 2):
            with brokers.iotcore(tmp_path, port):
                async with fleet_on(port) as fleet:
                    if connection == 1:
                        await fleet.until(lambda fleet=fleet: fleet.births)
                        await fleet.transport.publish(topic, b"slow")
                        await fleet.until(lambda: cabinet.house.commands)
                        continue
                    cabinet.house.is_free.set()
                    await fleet.until(lambda fleet=fleet: fleet.results)
                    up_topic = parse(str(up(CITY, GATEWAY, "result")))  # type: ignore[arg-type]
                    assert KEYS.open(fleet.results[0], up_topic, "up").payload == b"result of slow"
        assert cabinet.house.commands == [b"slow"]


async def test_heartbeats_carry_the_nonce_and_a_rebirth_is_answered(one_port: int, tmp_path: Path) -> None:
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port, heartbeat_s=0.05) as cabinet:
        await fleet.until(lambda: len(fleet.beats) >= 3)
        assert [beat.beat for beat in fleet.beats[:3]] == [1, 2, 3]
        assert fleet.beats[0].nonces["agent"] == cabinet.house.nonces.current(0)
        births = len(fleet.births)
        await fleet.ack(rebirth=True)
        await fleet.until(lambda: len(fleet.births) > births)
        assert fleet.births[-1].conn == fleet.births[0].conn
        assert [floor.seq for floor in fleet.births[-1].floors] == [0, 0, 0, 0]


async def test_a_heartbeat_that_is_called_for_comes_at_once(one_port: int, tmp_path: Path) -> None:
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port, heartbeat_s=3600) as cabinet:
        await fleet.until(lambda: fleet.births)
        for beat in (1, 2):
            cabinet.courier.beat()
            await fleet.until(lambda beat=beat: len(fleet.beats) == beat)


async def test_a_state_that_moves_on_is_the_fleet_and_a_lower_terms_acks_do_not_count(
    one_port: int, tmp_path: Path
) -> None:
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port) as cabinet:
        await fleet.until(lambda: fleet.births)
        fleet.term = 5
        await fleet.state()
        await fleet.until(lambda: cabinet.courier.leadership.term == 5)
        assert not cabinet.courier.leadership.is_silent(Clock().now_ms())
        fleet.term = 4
        await cabinet.journal.append_samples("state", samples(1))
        await fleet.until(lambda: cabinet.courier.rejected.get("old-term"))
        assert cabinet.courier.backlog["state"] == 1
        fleet.term = 5
        await fleet.until(lambda: cabinet.courier.backlog["state"] == 0)


async def test_garbage_on_every_topic_is_counted_and_stops_nothing(one_port: int, tmp_path: Path) -> None:
    dice = random.Random(4)
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port) as cabinet:
        await fleet.until(lambda: fleet.births)
        for name in ("ack", "desired", "keys", "roll"):
            for _ in range(20):
                await fleet.transport.publish(
                    f"{ROOT}/{CITY}/{GATEWAY}/down/{name}", dice.randbytes(dice.randrange(300))
                )
        await fleet.transport.publish(str(fleet_state(CITY)), b"\xd2\x84")  # type: ignore[arg-type]
        await fleet.transport.publish(f"{ROOT}/{CITY}/{GATEWAY}/down/else", b"")
        await cabinet.journal.append_events("alarm", [event("still here")])
        await fleet.until(lambda: fleet.inbound.head(GATEWAY, "alarm"))
        await fleet.until(lambda: cabinet.courier.rejected.get("topic"))
        assert cabinet.courier.rejected["envelope"] == 21
        assert cabinet.courier.rejected["unexpected"] == 20
        assert len(cabinet.house.desired_states) == 20
        assert len(cabinet.house.key_lists) == 20


class Guard:
    """A source of another process, in miniature."""

    def __init__(self) -> None:
        self.links: list[Link] = []
        self.told: list[str] = []
        self.is_there = False

    @property
    def heads(self) -> list[StreamHead]:
        if not self.is_there:
            return []
        last = self.links[-1] if self.links else Link(0, NO_HASH, b"")
        return [StreamHead("safety", 1, last.seq, last.hash)]

    @property
    def acked(self) -> list[StreamHead]:
        return [StreamHead("safety", 1, 0, NO_HASH)] if self.is_there else []

    async def floors(self) -> list[StreamHead]:
        return self.acked

    async def sealed_after(self, stream: str, epoch: int, seq: int, limit: int) -> list[Link]:
        return [link for link in self.links if link.seq > seq][:limit]

    async def hash_at(self, stream: str, epoch: int, seq: int) -> bytes | None:
        return None

    async def acknowledged(self, ack: StreamHead) -> None:
        """The guard opens acks itself."""

    async def fleet_message(self, topic: str, sealed: bytes) -> None:
        self.told.append(parse(topic).message_class)

    async def regressed(self, stream: str, seq: int) -> None:
        return None

    async def follow(self, changed: Callable[[], None]) -> None:
        while True:
            await asyncio.sleep(0.02)
            changed()


async def test_a_source_that_appears_later_is_carried_too_and_told_what_the_fleet_says(
    one_port: int, tmp_path: Path
) -> None:
    from agent.ledger.ledger import Ledger

    guard = Guard()
    ledger = Ledger(tmp_path / "guard.db", GUARD, CITY, GATEWAY, ("safety",), Clock())
    async with fleet_on(one_port) as fleet, courier_to(tmp_path / "agent.db", one_port, sources=(guard,)):
        await fleet.until(lambda: fleet.births)
        ledger.append_events("safety", [event("a trip")])
        head = ledger.head("safety")
        guard.links = ledger.sealed_after("safety", head.epoch, 0, 9)
        Guard.heads = property(lambda self: [head])  # type: ignore[method-assign, assignment]
        await fleet.until(lambda: fleet.inbound.head(GATEWAY, "safety") == head)
        await fleet.state()
        await fleet.until(lambda: "state" in guard.told and "ack" in guard.told)
    ledger.close()


async def test_nobody_there_is_tried_again_and_again_without_a_word(tmp_path: Path) -> None:
    port = brokers.free_port()
    async with courier_to(tmp_path / "agent.db", port) as cabinet:
        async with asyncio.timeout(20):
            while not cabinet.courier.figures.last_error:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        with brokers.iotcore(tmp_path, port):
            async with asyncio.timeout(20):
                while not cabinet.courier.figures.is_connected:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        assert cabinet.house.changes[0]


def test_pauses_grow_with_full_jitter_up_to_their_bound() -> None:
    backoff = Backoff()
    dice = random.Random(3)
    for failures in range(12):
        pauses = [backoff.pause_s(failures, dice) for _ in range(400)]
        longest = min(5.0, 2.0**failures)
        assert 0 <= min(pauses) < 0.05 * longest
        assert 0.95 * longest < max(pauses) <= longest
    assert backoff.pause_s(10_000, dice) <= 5
