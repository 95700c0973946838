"""The link to the broker: who leads, what is acknowledged when the disk fails, and hostile bytes on real sockets."""

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from sqlalchemy import func, select

from agent.model.identity import CityId
from agent.wire import envelope, sealing, topics
from agent.wire.demotrust import make_demo_trust, sign_key_list
from agent.wire.keyfile import read_signer
from agent.wire.messages import SCHEMA, FleetState, decode
from agent.wire.trust import KeyList, load_key_list
from fleet import schema
from fleet.errors import FolderError, StoreError
from fleet.folder import KEYS_FILE, read_trust
from fleet.link import read_broker
from tests.fleet import broker
from tests.fleet.conftest import CITY, GATEWAYS, Running, running, until
from tests.fleet.standin import StandIn, unix_ms

STATE = topics.fleet_state(CityId("dijon"))


async def say_state(manager: Running, fleet: str, term: int) -> None:
    """Another manager, or ourselves from another life, speaks."""
    state = FleetState(SCHEMA, fleet, term, "b", unix_ms(), 1, 1)
    sealed = sealing.seal_message(manager.room.trust.director, STATE, state)
    async with aiomqtt.Client("127.0.0.1", manager.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.publish(str(STATE), sealed, qos=1, retain=True)


async def test_the_state_is_retained_signed_and_its_beat_moves_on(manager: Running) -> None:
    async with aiomqtt.Client("127.0.0.1", manager.port, protocol=aiomqtt.ProtocolVersion.V5) as client:
        await client.subscribe(str(STATE), qos=1)
        async with asyncio.timeout(5):
            message = await anext(client.messages)
    state = sealing.open_state(manager.room.ring, bytes(message.payload), STATE, unix_ms())
    assert (state.fleet, state.term, state.beat >= 1) == ("control-room", 1, True)


async def test_a_manager_with_a_higher_term_leads_and_this_one_only_listens(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    await say_state(manager, "failover-room", 9)
    await until(lambda: not manager.room.leading.is_leading)
    async with manager.live(standin()).connected() as gateway:
        gateway.tell(gateway.voice.samples({"segment-1/n": 1}))
        await until(lambda: manager.room.ingest.tally.batches)
        await until(lambda: "gw-darcy" in manager.room.registry.gateways)
        body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
        answer = await manager.http.post("/api/commands", json=body)
        assert answer.status_code == 503
        assert "failover-room leads" in answer.json()["detail"]
        assert not gateway.acks
        assert not gateway.commands
        body = {"action": "take", "operator": "alice", "reason": "the failover room was a rehearsal"}
        refused = await manager.http.post("/api/lead", json={**body, "operator": "mallory"})
        assert refused.status_code == 403
        assert (await manager.http.post("/api/lead", json=body)).status_code == 200
        await until(lambda: manager.room.leading.is_leading)
        assert manager.room.term == 10
        await gateway.wait_acknowledged()
        events = (await manager.http.get("/api/events")).json()
        assert "alice: the failover room was a rehearsal" in next(
            each["text"] for each in events if each["kind"] == "lead.taken"
        )
        refused = await manager.http.post("/api/lead", json={**body, "action": "yield"})
        assert "there is no lease to give up" in refused.json()["detail"]


async def test_a_state_in_our_own_name_with_a_higher_term_raises_ours(manager: Running) -> None:
    await say_state(manager, "control-room", 41)
    await until(lambda: manager.room.term == 42)
    assert manager.room.leading.is_leading


async def test_another_managers_term_is_overtaken_once_it_is_silent(
    manager: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.leading.LOOK_S", 0.05)
    await say_state(manager, "control-room", 2)  # Ends a wait that may still last its ten seconds.
    await until(lambda: manager.room.term == 3)
    await say_state(manager, "failover-room", 9)
    await until(lambda: not manager.room.leading.is_leading)
    monkeypatch.setattr("fleet.leading.FLEET_STALE_MS", 0)
    await until(lambda: manager.room.leading.is_leading)
    assert manager.room.term == 10


async def test_a_term_that_the_disk_does_not_take_is_tried_again_and_ends_nobody(
    manager: Running, monkeypatch: pytest.MonkeyPatch, logs: list[MutableMapping[str, Any]]
) -> None:
    monkeypatch.setattr("fleet.leading.LOOK_S", 0.05)
    with manager.room.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE settings RENAME TO gone")
    await say_state(manager, "control-room", 41)
    await until(lambda: any(entry["event"] == "term.not-raised" for entry in logs))
    assert manager.room.term == 1
    with manager.room.store.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO settings")
    await say_state(manager, "control-room", 42)  # In case the first wait still lasts its ten seconds.
    await until(lambda: manager.room.term == 43)
    assert len([entry for entry in logs if entry["event"] == "term.not-raised"]) == 1


async def test_a_disk_that_hangs_is_answered_with_a_503_and_forgiven_when_it_answers(
    manager: Running, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.writer.WORK_S", 0.3)
    body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
    async with manager.live(standin()).connected() as gateway:
        await until(lambda: "gw-darcy" in manager.room.registry.gateways)
        released = threading.Event()
        hung = asyncio.create_task(manager.room.writer.transact(lambda _: released.wait(30)))
        try:
            answers = await asyncio.gather(*(manager.http.post("/api/commands", json=body) for _ in range(5)))
            for answer in answers:
                assert answer.status_code == 503
                assert "the disk has not answered" in answer.json()["detail"]
            with pytest.raises(StoreError):
                await hung
            assert (await manager.http.get("/api/health")).json()["store"] == "unavailable"
        finally:
            released.set()
        await until(lambda: not manager.room.writer.problem)
        assert not gateway.commands
        assert (await manager.http.post("/api/commands", json=body)).json()["status"] == "done"
    assert len(gateway.commands) == 1


async def test_each_start_takes_a_higher_term(tmp_path: Path, trust_folder: Path, broker_port: int) -> None:
    terms = []
    for _ in range(2):
        async with running(tmp_path, trust_folder, broker_port) as manager:
            terms.append(manager.room.term)
    assert terms == [1, 2]


async def test_a_failing_disk_is_said_acknowledges_nothing_and_loses_nothing(
    manager: Running, standin: Callable[..., StandIn]
) -> None:
    def sql(text: str) -> None:
        with manager.room.store.engine.begin() as connection:
            connection.exec_driver_sql(text)

    async with manager.live(standin()).connected() as gateway:
        gateway.tell(gateway.voice.samples({"segment-1/n": 0}))
        await gateway.wait_acknowledged()
        sql("ALTER TABLE samples RENAME TO gone")
        for n in range(1, 30):
            gateway.tell(gateway.voice.samples({"segment-1/n": n}))
        await until(lambda: manager.room.writer.problem)
        health = (await manager.http.get("/api/health")).json()
        assert (health["status"], health["store"]) == ("degraded", "unavailable")
        assert gateway.outbound["state"].acked_seq == 1
        sql("ALTER TABLE gone RENAME TO samples")
        await gateway.wait_acknowledged()
        assert (await manager.http.get("/api/health")).json()["status"] == "ok"
    count = manager.room.store.read(lambda c: c.execute(select(func.count()).select_from(schema.samples)).scalar())
    assert count == 30


async def test_garbage_on_every_topic_is_counted_and_stops_nobody(
    manager: Running, standin: Callable[..., StandIn], logs: list[MutableMapping[str, Any]]
) -> None:
    rng = random.Random(7)
    voice = standin()
    sealed = standin().samples({"a/b": 1})[1]
    async with (
        manager.live(standin("gw-monge")).connected() as gateway,
        aiomqtt.Client("127.0.0.1", manager.port, protocol=aiomqtt.ProtocolVersion.V5) as hostile,
    ):
        sent = 0
        for message_class in (*topics.UP, "nothing", "é", ""):
            topic = f"armoire/1/{CITY}/{voice.id}/up/{message_class}"
            cut, at = rng.randrange(len(sealed)), rng.randrange(len(sealed))
            bent = sealed[:at] + bytes([sealed[at] ^ (1 << rng.randrange(8))]) + sealed[at + 1 :]
            for data in (
                b"",
                b"\x00",
                rng.randbytes(300),
                sealed[:cut],
                bent,
                sealed + b"\x00",
                rng.randbytes(260_000),
            ):
                await hostile.publish(topic, data, qos=1)
                sent += 1
        for data in (b"", b"\x81", rng.randbytes(200), b"\x82"):
            await hostile.publish(f"armoire/1/{CITY}/fleet/state", data, qos=1)
            sent += 1
        gateway.tell(gateway.voice.samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()
        await until(lambda: sum(manager.room.rejections.values()) == sent)
        metrics = (await manager.http.get("/metrics")).text
        assert 'armoire_fleet_rejections_total{reason="envelope"}' in metrics
        shown = {each["id"]: each for each in (await manager.http.get("/api/gateways")).json()}
        assert shown["gw-darcy"]["rejected"] > 0
        assert shown["gw-monge"]["rejected"] == 0
        assert manager.room.link.reconnects == 1
    assert len([entry for entry in logs if entry["event"] == "state.not-believed"]) == 1


async def test_a_revoked_key_is_not_believed_from_the_next_message_on_and_gateways_get_the_list(
    tmp_path: Path, broker_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.keys_in_force.KEY_LIST_S", 0.05)
    trust = tmp_path / "trust"
    make_demo_trust(trust, CITY, GATEWAYS[:2], now_ms=unix_ms())
    voices = []
    for name in GATEWAYS[:2]:
        keys = trust / "gateways" / name
        voices.append(StandIn(CITY, name, read_signer(keys / "agent.pem"), read_signer(keys / "guard.pem")))  # type: ignore[arg-type]
    async with (
        running(tmp_path / "fleet", trust, broker_port) as manager,
        manager.live(voices[0]).connected() as gateway,
        manager.live(voices[1]).connected() as other,
    ):
        gateway.tell(voices[0].samples({"segment-1/n": 1}))
        await gateway.wait_acknowledged()
        old = decode(envelope.parse(envelope.split_set((trust / KEYS_FILE).read_bytes())[0]).payload, KeyList)
        kept = [entry for entry in old.keys if not entry.kid.startswith(f"{GATEWAYS[0]}/")]
        newer = KeyList(SCHEMA, CITY, 2, unix_ms(), old.expires_ms, kept)
        officers = [read_signer(trust / f"offline/root-{n}.pem") for n in (1, 2)]
        (trust / KEYS_FILE).write_bytes(sign_key_list(newer, officers))
        await until(lambda: manager.room.ring.version == 2)
        await until(lambda: other.key_lists)
        assert load_key_list(other.key_lists[0], manager.room.trust.roots).version == 2
        voices[0].samples({"segment-1/n": 2})
        await gateway.publish((str(voices[0].topic("state")), voices[0].links["state"][1].sealed))
        await until(lambda: manager.room.rejections["capability"])
        other.tell(voices[1].samples({"segment-1/n": 1}))
        await other.wait_acknowledged()
        assert manager.room.registry.gateways[GATEWAYS[0]].stored["state"].seq == 1


async def test_a_key_list_that_the_disk_does_not_take_is_tried_again_and_ends_nobody(
    tmp_path: Path, broker_port: int, monkeypatch: pytest.MonkeyPatch, logs: list[MutableMapping[str, Any]]
) -> None:
    monkeypatch.setattr("fleet.keys_in_force.KEY_LIST_S", 0.02)
    trust = tmp_path / "trust"
    make_demo_trust(trust, CITY, GATEWAYS[:1], now_ms=unix_ms())
    async with running(tmp_path / "fleet", trust, broker_port) as manager:
        works: list[object] = []
        transact = manager.room.writer.transact

        async def refuse_five(work: Any, **how: bool) -> Any:
            works.append(work)
            if len(works) <= 5:
                raise StoreError("database or disk is full")
            return await transact(work, **how)

        monkeypatch.setattr(manager.room.writer, "transact", refuse_five)
        old = decode(envelope.parse(envelope.split_set((trust / KEYS_FILE).read_bytes())[0]).payload, KeyList)
        newer = KeyList(SCHEMA, CITY, 2, unix_ms(), old.expires_ms, old.keys)
        officers = [read_signer(trust / f"offline/root-{n}.pem") for n in (1, 2)]
        (trust / KEYS_FILE).write_bytes(sign_key_list(newer, officers))
        await until(lambda: manager.room.ring.version == 2)
    assert len([entry for entry in logs if entry["event"] == "key-list.refused"]) == 1


async def cut(voice: StandIn, port: int) -> None:
    """A gateway connects and its cable is cut: the broker publishes its will."""
    voice.conn += 1
    topic, death = voice.death()
    with contextlib.suppress(aiomqtt.MqttError):
        async with aiomqtt.Client(
            "127.0.0.1", port, protocol=aiomqtt.ProtocolVersion.V5, will=aiomqtt.Will(topic, death, qos=1)
        ) as client:
            await client.publish(*voice.birth(), qos=1)
            connection = client._client.socket()
            assert isinstance(connection, socket.socket)
            connection.shutdown(socket.SHUT_RDWR)
            async with asyncio.timeout(5):
                await anext(client.messages)


async def test_mosquitto_carries_it_too_and_tells_the_death_of_a_gateway_at_once(
    tmp_path: Path, trust_folder: Path, standin: Callable[..., StandIn], require_program: Callable[[str], Path]
) -> None:
    voice = standin()
    with broker.mosquitto(require_program("mosquitto"), tmp_path) as port:
        async with running(tmp_path, trust_folder, port) as manager:
            async with manager.live(voice).connected() as gateway:
                for n in range(50):
                    gateway.tell(voice.samples({"segment-1/n": n}))
                await gateway.wait_acknowledged()
                await until(lambda: manager.room.registry.gateways["gw-darcy"].nonces)
                body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
                assert (await manager.http.post("/api/commands", json=body)).json()["status"] == "done"
            await cut(voice, port)
            await until(lambda: not manager.room.registry.gateways["gw-darcy"].is_connected, 5)
            assert (
                manager.room.store.read(lambda c: c.execute(select(func.count()).select_from(schema.samples)).scalar())
                == 50
            )


def test_a_broker_address_that_is_none_is_refused_in_words(tmp_path: Path) -> None:
    for url in ("", "mqtt://", "http://a", "mqtt://a:99999", "mqtt://a/b", "mqtts://a", "mqtt://[::1"):
        with pytest.raises(FolderError, match=r"expected mqtt|needed for mqtts|Port|IPv6|range"):
            read_broker(url, tmp_path)
    found = read_broker("mqtt://[::1]:1", tmp_path)
    assert (found.host, found.port) == ("::1", 1)


def test_trust_that_does_not_fit_is_refused_in_words(tmp_path: Path, trust_folder: Path) -> None:
    make_demo_trust(tmp_path / "other", CITY, GATEWAYS, now_ms=unix_ms())
    make_demo_trust(tmp_path / "mixed", CITY, GATEWAYS, now_ms=unix_ms())
    for name in ("roots.toml", "keys.sealed"):
        (tmp_path / "mixed" / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(FolderError, match="nobody would believe it"):
        read_trust(tmp_path / "mixed")
    (tmp_path / "other/fleet/director.pem").chmod(0o644)
    with pytest.raises(FolderError, match="chmod 600"):
        read_trust(tmp_path / "other")
    assert sorted(read_trust(trust_folder).operators) == ["alice", "bruno"]


async def test_what_the_broker_refuses_is_seen_and_a_refused_command_ends_at_once_as_not_sent(
    tmp_path: Path,
    trust_folder: Path,
    standin: Callable[..., StandIn],
    require_program: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    logs: list[MutableMapping[str, Any]],
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite armoire/1/dijon/+/up/#\ntopic read armoire/1/dijon/#\n")
    acl.chmod(0o644)
    tmp_path.chmod(0o755)
    # Without a limit to its queue mosquitto 2.0.11 takes any refusal for a full one, and hangs up.
    config = broker.MOSQUITTO.replace("max_queued_messages 0", "max_queued_messages 1000")
    monkeypatch.setattr(broker, "MOSQUITTO", config + f"user root\nacl_file {acl}\n")
    with broker.mosquitto(require_program("mosquitto"), tmp_path) as port:
        async with running(tmp_path, trust_folder, port) as manager, manager.live(standin()).connected() as gateway:
            gateway.tell(gateway.voice.samples({"segment-1/n": 1}))
            refused = manager.room.publishes_refused
            await until(lambda: refused["ack"] and refused["state"])
            await until(lambda: manager.room.registry.gateways["gw-darcy"].nonces)
            body = {"gateway": "gw-darcy", "equipment": "segment-1", "verb": "set-level", "operator": "alice"}
            async with asyncio.timeout(5):
                answer = (await manager.http.post("/api/commands", json=body)).json()
            assert (answer["status"], answer["state"]) == ("failed", "nothing was sent")
            assert "the broker refused the command" in answer["reason"]
            assert "Not authorized" in answer["reason"]
            assert refused["cmd"] == 1
            assert manager.room.link.acks == 0
            assert manager.room.link.reconnects == 1
            metrics = (await manager.http.get("/metrics")).text
            assert 'armoire_fleet_refused_total{topic="cmd"} 1.0' in metrics
            assert "armoire_fleet_acks_total 0.0" in metrics
    told = [entry for entry in logs if entry["event"] == "publish.refused"]
    assert len(told) == 1  # The others within its minute are told together.
    assert "Not authorized" in told[0]["reason"]
