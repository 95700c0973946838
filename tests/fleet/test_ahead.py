"""Signatures checked ahead by another process: it may only spare work, never decide."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.wire.envelope import parse
from agent.wire.messages import Batch, decode
from agent.wire.trust import KeyRing
from fleet import ahead, writer
from fleet.ahead import Ahead
from fleet.arrival import Arrival
from fleet.control_room import ControlRoom
from fleet.folder import Trust, read_trust
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn, unix_ms


@pytest.fixture
def helper() -> Iterator[Ahead]:
    made = Ahead()
    yield made
    made.close()


def begin(helper: Ahead, ring: KeyRing, arrivals: list[Arrival]) -> None:
    """Give a group, waiting for the process to be ready first."""
    helper.begin(ring, arrivals)
    while helper._line is not None and not helper._given:  # Bounded by the line's time-out.
        ahead.select([helper._line], [], [], ahead.ANSWER_S)
        helper.begin(ring, arrivals)


def process_id(helper: Ahead) -> int:
    assert helper._process is not None
    return helper._process.pid


def test_what_is_good_is_marked_with_the_keys_it_was_checked_by_and_nothing_else_is(
    helper: Ahead, trust: Trust, standin: Callable[..., StandIn]
) -> None:
    darcy, monge = standin(), standin("gw-monge")
    topic, good = darcy.samples({"a/b": 1})
    forged = darcy.say("state", decode(parse(good).payload, Batch), signer=monge.agent)
    arrivals = [
        Arrival(topic, good),
        Arrival(topic, good[:-1] + bytes((good[-1] ^ 1,))),
        Arrival(monge.samples({"a/b": 1})[0], good),  # Copied to another gateway's topic.
        Arrival(*forged),
        Arrival(topic, b"\xd2\x84"),
        Arrival("no/topic", good),
        Arrival(*monge.samples({"a/b": 2})),
    ]
    begin(helper, trust.ring, arrivals)
    helper.end()
    assert [each.checked_by is trust.ring for each in arrivals] == [True, *[False] * 5, True]


def test_a_mark_of_other_keys_counts_for_nothing(
    bench: Bench, trust: Trust, trust_folder: Path, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    topic, sealed = voice.samples({"a/b": 1})
    broken = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    other = read_trust(trust_folder).ring  # Equal, but not the one in force.
    bench.take(voice.birth())
    with bench.store.engine.begin() as connection:
        bench.ingest.take([Arrival(topic, broken, checked_by=other)], connection, unix_ms())
        assert bench.ingest.standing.rejections == {("gw-darcy", "signature"): 1}
        bench.ingest.take([Arrival(topic, sealed, checked_by=bench.ingest.ring)], connection, unix_ms())
    assert bench.ingest.tally.samples == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_process_that_dies_or_freezes_is_given_up_and_replaced_later(
    helper: Ahead, trust: Trust, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(ahead, "ANSWER_S", 0.2 if number == signal.SIGSTOP else 2.0)
    arrivals = [Arrival(*standin().samples({"a/b": 1}))]
    helper.begin(trust.ring, arrivals)
    assert helper._line is not None
    ahead.select([helper._line], [], [], 10)
    os.kill(process_id(helper), number)
    helper.begin(trust.ring, arrivals)
    helper.end()
    assert arrivals[0].checked_by is None
    assert helper._process is None
    helper.begin(trust.ring, arrivals)  # Not at once.
    assert helper._process is None
    monkeypatch.setattr(ahead, "ANSWER_S", 10.0)
    monkeypatch.setattr(ahead, "AGAIN_S", 0.0)
    begin(helper, trust.ring, arrivals)
    helper.end()
    assert arrivals[0].checked_by is trust.ring


async def test_under_load_everything_is_stored_once_in_order_and_checked_ahead(
    tmp_path: Path, trust_folder: Path, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "GROUP_MESSAGES_MAX", 20)
    room = ControlRoom("control-room", tmp_path, trust_folder, read_trust(trust_folder))
    voice = standin()
    messages = [voice.birth(), *(voice.samples({"a/b": n}) for n in range(600))]
    bad = messages[300][1][:-1] + b"\x00"
    running = asyncio.create_task(room.run())
    for place, (topic, data) in enumerate(messages):
        if place == 300:
            room.writer.arrived(Arrival(topic, bad))
        room.writer.arrived(Arrival(topic, data))
        if place == 100:  # The process is there for the rest.
            async with asyncio.timeout(20):
                while room.writer._ahead._line is None:  # noqa: ASYNC110 - looks from outside
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(ahead.select, [room.writer._ahead._line], [], [], 20)
    async with asyncio.timeout(20):
        while room.ingest.tally.samples < 600:  # noqa: ASYNC110 - looks from outside
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    assert room.ingest.standing.rejections == {("gw-darcy", "signature"): 1}
    assert room.ingest.tally.duplicates == 0
    assert room.writer._ahead.checked > 300
    assert room.writer._ahead._process is None
