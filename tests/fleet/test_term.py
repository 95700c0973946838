"""A manager that lost its database goes above the term its gateways have seen, or they would not believe it."""

import asyncio
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from agent.wire import sealing
from agent.wire.messages import Heartbeat
from fleet.ingest import Ingest
from fleet.term import TERMS_AHEAD_MAX, TOLD_INTERVAL_S, Terms, raise_in
from tests.fleet import broker
from tests.fleet.conftest import Running, running, until
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn, unix_ms
from tests.fleet.test_link import STATE


async def test_what_a_gateway_follows_raises_the_term_above_it_and_it_is_asked_to_introduce_itself_again(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = standin(conn=9, followed=(7, 400))
    gateway = manager.live(voice)
    monkeypatch.setattr(voice, "birth", voice.heartbeat)  # Connected long ago: only its heartbeats are heard.
    async with gateway.connected(0.2):
        await until(lambda: manager.room.term == 8)
        await until(lambda: any(ack.rebirth and ack.term == 8 for ack in gateway.acks))
        gateway.tell(voice.samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()
        assert gateway.acks[-1].term == 8


async def test_a_restored_database_that_comes_to_the_same_term_again_goes_above_it(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin(followed=(1, unix_ms() - 60_000))).connected():
        await until(lambda: manager.room.term == 2)


async def test_what_a_gateway_heard_of_this_manager_itself_raises_nothing(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with aiomqtt.Client("127.0.0.1", manager.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(str(STATE), qos=1)
        message = await asyncio.wait_for(anext(client.messages), 5)
    state = sealing.open_state(manager.room.ring, bytes(message.payload), STATE, unix_ms())
    async with manager.live(standin(followed=(1, state.issued_ms))).connected(0.05) as gateway:
        await until(lambda: gateway.voice.beat > 5)
        await until(lambda: manager.room.registry.gateway("gw-darcy").beat > 5)
        assert manager.room.term == 1


async def test_a_lost_database_and_a_lost_broker_end_with_a_higher_term_and_nothing_missing(
    tmp_path: Path, trust_folder: Path, standin: Callable[..., StandIn]
) -> None:
    voice, port = standin(), broker.free_port()
    with broker.iotcore(tmp_path, port):
        async with running(tmp_path, trust_folder, port) as manager, manager.live(voice).connected() as gateway:
            gateway.tell(voice.samples({"segment-1/n": 1}))
            await gateway.wait_acknowledged()
    voice.followed, voice.conn = (1, unix_ms() - 1000), 2
    for each in tmp_path.glob("fleet.db*"):
        each.unlink()
    with broker.iotcore(tmp_path, port):  # It keeps nothing: nobody but the gateway knows of the first term.
        async with running(tmp_path, trust_folder, port) as manager, manager.live(voice).connected() as gateway:
            await until(lambda: manager.room.term == 2)
            voice.followed = (0, 0)
            gateway.tell(voice.samples({"segment-1/n": 2}))
            await gateway.wait_acknowledged()
            await until(lambda: manager.room.registry.gateway("gw-darcy").nonces)
            body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
            assert (await manager.http.post("/api/commands", json=body)).json()["status"] == "done"
            assert manager.room.registry.gateway("gw-darcy").stored["state"].seq == 2


def beat(term: int) -> Heartbeat:
    return Heartbeat("gw-darcy", 1, 1, 0, 2, {}, {}, [], 0, term, 9)


@pytest.fixture
def terms(bench: Bench) -> Terms:
    async def transact(work: Any) -> Any:
        return bench.store.transact(work)

    ingest: Ingest = bench.ingest
    return Terms(3, raise_in(transact), ingest)


async def test_a_gateway_that_lies_moves_the_term_by_a_little_and_seldom(
    terms: Terms, monkeypatch: pytest.MonkeyPatch, logs: list[MutableMapping[str, Any]]
) -> None:
    now_s = 0.0
    monkeypatch.setattr("fleet.term.time.monotonic", lambda: now_s)
    for term in (2**63 - 1, 3 + TERMS_AHEAD_MAX + 1):
        terms.told(beat(term), is_leading=True)
        await terms.wait_changed(0)
        assert terms.number == 3
    for _ in range(3):
        terms.told(beat(terms.number + 5), is_leading=True)
        await terms.wait_changed(0)
        assert terms.number == 9
    now_s = TOLD_INTERVAL_S
    terms.told(beat(terms.number + 5), is_leading=True)
    await terms.wait_changed(0)
    assert terms.number == 15
    assert [entry["told"] for entry in logs if entry["event"] == "term.behind"] == [8, 14]


async def test_a_manager_that_stands_by_takes_no_term_until_it_leads(terms: Terms) -> None:
    terms.told(beat(40), is_leading=False)
    terms.heard(41, is_leading=False)
    await terms.wait_changed(0)
    assert terms.number == 3
    assert await terms.rise()
    assert terms.number == 42
