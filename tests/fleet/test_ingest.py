"""Ingest: what is believed is stored once and in order, what is not is counted; without sockets, on a real database."""

import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from agent.wire import sealing, topics
from agent.wire.messages import StreamHead, Value
from agent.wire.streams import NO_HASH, Link
from fleet import changes, schema, store
from fleet.arrival import Arrival
from fleet.changes import Change
from fleet.folder import Trust
from fleet.ingest import EPOCH_AHEAD_S_MAX, EPOCHS_AHEAD_MAX
from fleet.standing import full_name, split_name
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn, unix_ms


def values(told: Iterable[Change]) -> dict[str, Value]:
    return {
        f"{equipment}/{name}": point.value
        for change in told
        if isinstance(change, changes.Sampled)
        for equipment, name, point in change.values
    }


def test_a_batch_is_stored_verbatim_told_and_acknowledged(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    message = voice.samples(
        {"segment-1/level_percent": 60, "segment-1/lit": True, "meter/kwh": 1.5, "x": None, "y": "é\0"}
    )
    told = bench.take(voice.birth(), message)
    assert bench.heads(told)["state"] == voice.head("state")
    assert values(told) == {
        "segment-1/level_percent": 60,
        "segment-1/lit": True,
        "meter/kwh": 1.5,
        "/x": None,
        "/y": "é\0",
    }
    kept = bench.store.read(lambda connection: connection.execute(select(schema.links.c.envelope)).scalars().all())
    assert kept == [message[1]]
    history = bench.store.read(lambda connection: store.history(connection, ("gw-darcy", "meter"), "kwh", 0, 10))
    assert [(each.value, each.quality) for each in history] == [(1.5, 0)]


def test_a_duplicate_is_stored_once_and_acknowledged_again(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    message = voice.samples({"a/b": 1})
    bench.take(message)
    told = bench.take(message, message)
    assert bench.heads(told)["state"].seq == 1
    assert (bench.count(schema.links), bench.count(schema.samples)) == (1, 1)


def test_a_link_ahead_is_left_out_and_the_ack_says_where_we_stand(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    first, second, third = (voice.samples({"a/b": n}) for n in range(3))
    told = bench.take(first, third)
    assert bench.heads(told)["state"].seq == 1
    assert bench.heads(bench.take(second, third))["state"].seq == 3


def test_a_stream_met_in_the_middle_is_acknowledged_at_nothing_so_that_the_gateway_learns_of_the_loss(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    first, second = (voice.samples({"a/b": n}) for n in range(2))
    head = bench.heads(bench.take(second))["state"]
    assert (head.epoch, head.seq) == (voice.epoch, 0)
    assert bench.heads(bench.take(first, second))["state"] == voice.head("state")


def test_a_birth_that_tells_of_links_we_hold_nothing_of_is_answered_with_where_we_stand(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    first = voice.samples({"a/b": 1})
    head = bench.heads(bench.take(voice.birth()))["state"]
    assert (head.epoch, head.seq) == (voice.epoch, 0)
    assert bench.heads(bench.take(first, voice.birth()))["state"] == voice.head("state")


def test_streams_do_not_wait_for_each_other(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    _lost, state = voice.samples({"a/b": 1}), voice.samples({"a/b": 2})
    alarm, safety = (
        voice.event("fault", "segment-1", stream="alarm"),
        voice.event("trip", "junction-1", "SR-02", stream="safety"),
    )
    heads = bench.heads(bench.take(state, alarm, safety))
    assert heads["state"].seq == 0
    assert (heads["alarm"].seq, heads["safety"].seq) == (1, 1)


def test_a_fork_stops_its_stream_and_is_told_once(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice, twin = standin(), standin()
    bench.take(voice.samples({"a/b": 1}))
    fork = twin.samples({"a/b": 666})
    told = [*bench.take(fork), *bench.take(fork)]
    assert bench.kinds() == ["fork.detected"]
    assert [each for each in told if isinstance(each, changes.Held)] == [
        changes.Held("gw-darcy", "state", "link 1 has another content than the one we hold")
    ]
    assert bench.heads(told)["state"] == voice.head("state")
    told = bench.take(voice.samples({"a/b": 2}))
    assert changes.Held("gw-darcy", "state", "") in told


def test_a_new_epoch_goes_on_and_an_old_one_does_not_come_back(bench: Bench, standin: Callable[..., StandIn]) -> None:
    old, new = standin(), standin(epoch=2)
    bench.take(old.samples({"a/b": 1}))
    assert bench.heads(bench.take(new.samples({"a/b": 2})))["state"].epoch == 2
    assert bench.heads(bench.take(old.samples({"a/b": 3})))["state"].epoch == 2
    assert bench.kinds() == ["stream.epoch", "clone.suspected"]
    assert bench.rejections() == {("gw-darcy", "stale"): 1}


def test_standing_is_the_same_after_a_restart(bench: Bench, standin: Callable[..., StandIn], trust: Trust) -> None:
    voice = standin()
    bench.take(voice.birth(), voice.samples({"segment-1/a": 1}), voice.heartbeat(), ("nonsense", b""))
    before = bench.ingest.standing
    again = bench.store.standing()
    assert again.gateways == before.gateways
    assert again.rejections == before.rejections
    assert (again.link_no, again.point_no, again.event_no) == (before.link_no, before.point_no, before.event_no)
    assert again.inbound.acks("gw-darcy") == before.inbound.acks("gw-darcy")
    registry = bench.store.registry()
    assert registry.gateways["gw-darcy"].points["segment-1"]["a"].value == 1
    assert list(registry.gateways["gw-darcy"].cards) == ["segment-1", "junction-1", "lamp-1"]


def test_a_failed_transaction_leaves_nothing_and_acknowledges_nothing(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    message = voice.samples({"a/b": 1})
    with bench.store.engine.connect() as connection:
        bench.ingest.take([Arrival(*message)], connection, unix_ms())
        connection.rollback()
    bench.ingest.rolled_back(bench.store.standing())
    assert bench.count(schema.links) == 0
    assert bench.heads(bench.take(message))["state"].seq == 1


def test_every_kind_of_disbelief_is_counted_and_stops_nobody(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice, other = standin(), standin("gw-monge")
    topic, good = voice.samples({"a/b": 1})
    bent = bytearray(good)
    bent[-1] ^= 1
    monge_state = str(other.topic("state"))
    told = bench.take(
        ("armoire/1/dijon/gw-darcy/up/nothing", good),
        ("armoire/1/beaune/gw-darcy/up/state", good),
        ("armoire/1/dijon/gw-unheard/up/state", good),
        (topic, b"\x00"),
        (topic, bytes(bent)),
        (monge_state, good),
        (monge_state, voice.agent.seal(b"\x91\x01", other.topic("state"))),
        (str(voice.topic("safety")), voice.agent.seal(b"\x91\x01", voice.topic("safety"))),
        (topic, good),
    )
    assert bench.heads(told)["state"].seq == 1
    assert bench.rejections() == {
        ("", "topic"): 2,
        ("", "capability"): 1,
        ("gw-darcy", "envelope"): 1,
        ("gw-darcy", "signature"): 1,
        ("gw-monge", "signature"): 1,
        ("gw-monge", "capability"): 1,
        ("gw-darcy", "capability"): 1,
    }
    assert bench.count(schema.rejections) == 7


def test_a_message_of_a_later_schema_is_kept_and_only_its_stream_waits(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    topic = voice.topic("tele")
    later = (str(topic), voice.agent.seal(msgspec.msgpack.encode([99, "gw-darcy", "tele"]), topic))
    told = bench.take(later, voice.samples({"a/b": 1}), later)
    assert list(bench.heads(told)) == ["state"]
    assert bench.count(schema.quarantine) == 1
    assert bench.kinds() == ["quarantine", "messages.rejected"]
    assert [each.stream for each in told if isinstance(each, changes.Held)] == ["tele"]
    assert bench.rejections() == {("gw-darcy", "message"): 2}


@given(name=st.text(min_size=1, max_size=120))
def test_a_points_name_is_split_and_joined_without_loss(name: str) -> None:
    assert full_name(*split_name(name)) == name


def test_names_a_database_cannot_hold_are_one_point_before_and_after_a_restart(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    for name in ("a\0/b", "a\ufffd/b"):
        bench.take(voice.samples({name: 1}))
    bench.ingest.rolled_back(bench.store.standing())
    bench.take(voice.samples({"a\0/b": 2}))
    assert (bench.count(schema.points), bench.count(schema.samples)) == (1, 3)


def test_a_gateway_that_names_points_without_end_keeps_its_stream_but_not_our_memory(
    bench: Bench, standin: Callable[..., StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.unpacking.POINTS_PER_GATEWAY_MAX", 3)
    voice = standin()
    told = bench.take(voice.samples({f"a/p{n}": n for n in range(5)}))
    assert values(told) == {"a/p0": 0, "a/p1": 1, "a/p2": 2}
    assert bench.heads(told)["state"].seq == 1
    assert (bench.count(schema.points), bench.count(schema.links)) == (3, 1)


@pytest.mark.parametrize("dt_ms", [2**63, -(2**63), 2**64 - 1])
def test_a_time_no_column_can_hold_is_bounded(bench: Bench, standin: Callable[..., StandIn], dt_ms: int) -> None:
    voice = standin()
    bench.take(voice.link("state", names=["a/b"], points=[0], dt_ms=[dt_ms], values=[1], t0_ms=2**62))
    history = bench.store.read(lambda connection: store.history(connection, ("gw-darcy", "a"), "b", 0, 10))
    assert [each.t_ms for each in history] == [min(max(0, 2**62 + dt_ms), 2**63 - 1)]


def test_a_death_of_an_earlier_connection_is_ignored(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    old_death = voice.death()
    voice.conn = 2
    bench.take(voice.birth())
    assert not [each for each in bench.take(old_death) if isinstance(each, changes.Died)]
    assert [each for each in bench.take(voice.death()) if isinstance(each, changes.Died)]
    assert not bench.ingest.standing.gateways["gw-darcy"].is_connected
    assert [each for each in bench.take(voice.heartbeat()) if isinstance(each, changes.Beaten)]


def test_a_heartbeat_played_again_is_ignored(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    beat = voice.heartbeat()
    bench.take(voice.birth(), beat)
    assert not [each for each in bench.take(beat) if isinstance(each, changes.Beaten)]


def test_a_gateway_we_do_not_know_is_asked_to_introduce_itself_but_not_hammered(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice = standin()
    t_ms = unix_ms()

    def rebirths(told: Iterable[Change]) -> list[bool]:
        topic = topics.parse("armoire/1/dijon/gw-darcy/down/ack")
        acks = [each.sealed for each in told if isinstance(each, changes.AckDue)]
        return [sealing.open_ack(bench.trust.ring, sealed, topic, t_ms).rebirth for sealed in acks]

    assert rebirths(bench.take(voice.samples({"a/b": 1}), now_ms=t_ms)) == [True]
    assert rebirths(bench.take(voice.samples({"a/b": 1}), now_ms=t_ms + 9_999)) == [False]
    assert rebirths(bench.take(voice.heartbeat(), now_ms=t_ms + 10_000)) == [True]
    bench.take(voice.birth(), now_ms=t_ms + 10_001)
    assert rebirths(bench.take(voice.samples({"a/b": 1}), now_ms=t_ms + 30_000)) == [False]


def test_a_gateway_whose_count_began_anew_is_believed_once_the_old_one_is_silent(
    bench: Bench, standin: Callable[..., StandIn]
) -> None:
    voice, wiped = standin(conn=50), standin(conn=1)
    t_ms = unix_ms()
    bench.take(voice.birth(t_ms=t_ms), now_ms=t_ms)
    bench.take(wiped.birth(t_ms=t_ms + 5_000), now_ms=t_ms + 5_000)
    assert bench.ingest.standing.gateways["gw-darcy"].conn == 50
    bench.take(wiped.birth(t_ms=t_ms - 60_000), now_ms=t_ms + 40_000)
    assert bench.ingest.standing.gateways["gw-darcy"].conn == 50
    bench.take(wiped.birth(t_ms=t_ms + 40_000), now_ms=t_ms + 40_000)
    assert bench.ingest.standing.gateways["gw-darcy"].conn == 1
    assert bench.kinds() == ["clone.suspected", "gateway.renumbered"]


def test_a_latch_is_remembered_until_it_is_cleared(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    bench.take(voice.birth(), voice.event("latch.set", "junction-1", "SR-02", "greens 1 and 2 together", "safety"))
    latch = bench.store.registry().gateways["gw-darcy"].latches["junction-1"]
    assert (latch.rule, latch.reason) == ("SR-02", "greens 1 and 2 together")
    bench.take(voice.event("latch.reset", "junction-1", stream="safety"))
    assert not bench.store.registry().gateways["gw-darcy"].latches


@pytest.mark.parametrize("stream", ["alarm", "audit", "state", "tele"])
def test_the_agent_can_neither_set_nor_reset_a_latch(
    bench: Bench, standin: Callable[..., StandIn], stream: str
) -> None:
    voice = standin()
    bench.take(voice.birth(), voice.event("latch.set", "junction-1", "SR-02", "greens 1 and 2 together", "safety"))
    told = bench.take(
        voice.event("latch.reset", "junction-1", stream=stream),
        voice.event("latch.set", "segment-1", "SR-02", "made up", stream),
    )
    assert not [each for each in told if isinstance(each, changes.Latched)]
    assert list(bench.store.registry().gateways["gw-darcy"].latches) == ["junction-1"]
    assert bench.kinds() == ["latch.set", "latch.reset", "latch.set"]


def test_a_birth_says_nothing_of_the_guards_stream(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    bench.take(voice.birth(), voice.event("trip", "junction-1", stream="safety"))
    held = voice.head("safety")
    for epoch, seq in ((1, 500), (2, 7), (2**32 - 1, 1)):
        floor = StreamHead("safety", epoch, seq, bytes(32))
        told = bench.take(voice.birth(floors=[floor]))
        assert bench.heads(told)["safety"] == held
    assert "stream.lost" not in bench.kinds()
    assert bench.heads(bench.take(voice.event("trip", "junction-1", stream="safety")))["safety"].seq == 2


def test_the_agents_own_streams_go_on_from_their_floor(bench: Bench, standin: Callable[..., StandIn]) -> None:
    voice = standin()
    for n in range(3):
        voice.samples({"a/b": n})
    told = bench.take(voice.birth(floors=[voice.head("state")]), voice.samples({"a/b": 3}))
    assert bench.heads(told)["state"] == voice.head("state")
    assert bench.kinds() == ["stream.lost"]


@pytest.mark.parametrize("stream", ["state", "safety"])
def test_an_epoch_far_above_the_time_is_held_and_told(
    bench: Bench, standin: Callable[..., StandIn], stream: str
) -> None:
    t_ms = unix_ms()
    now, far = standin(epoch=t_ms // 1000), standin(epoch=2**32 - 1)
    bench.take(now.event("a", stream=stream), now_ms=t_ms)
    absurd = far.event("b", stream=stream)
    told = [*bench.take(absurd, now_ms=t_ms), *bench.take(absurd, far.birth(), now_ms=t_ms)]
    assert bench.heads(told)[stream] == now.head(stream)
    assert [(each.stream, bool(each.reason)) for each in told if isinstance(each, changes.Held)] == [(stream, True)]
    assert bench.kinds() == ["a", "epoch.refused"]
    assert bench.rejections()["gw-darcy", "epoch"] >= 2
    told = bench.take(now.event("c", stream=stream), now_ms=t_ms)
    assert changes.Held("gw-darcy", stream, "") in told


def test_a_next_epoch_is_never_too_far(bench: Bench, standin: Callable[..., StandIn]) -> None:
    t_ms = unix_ms()
    last = t_ms // 1000 + EPOCH_AHEAD_S_MAX
    for epoch in (last, last + 1, last + 1 + EPOCHS_AHEAD_MAX):
        told = bench.take(standin(epoch=epoch).event("a"), now_ms=t_ms)
        assert bench.heads(told)["audit"].epoch == epoch


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_nothing_that_arrives_breaks_ingest_or_stops_a_neighbour(
    bench: Bench, standin: Callable[..., StandIn], data: st.DataObject
) -> None:
    voice, other = standin(epoch=data.draw(st.integers(1, 2**32 - 1))), standin("gw-monge", epoch=1)
    other.links = GOOD.setdefault(id(bench), {})
    classes = st.sampled_from([*topics.UP, "nothing"])
    message_class = data.draw(classes)
    hostile = [
        (data.draw(st.text(max_size=60)), data.draw(st.binary(max_size=200))),
        (f"armoire/1/dijon/gw-darcy/up/{message_class}", data.draw(st.binary(max_size=300))),
    ]
    if message_class in topics.UP:
        topic = voice.topic(message_class)
        payload = msgspec.msgpack.encode(data.draw(MESSAGES))
        signer = voice.guard if message_class == "safety" else voice.agent
        sealed = signer.seal(payload, topic)
        at = data.draw(st.integers(0, len(sealed) - 1))
        hostile += [(str(topic), sealed), (str(topic), sealed[:at] + os.urandom(1) + sealed[at + 1 :])]
    told = bench.take(*hostile, other.samples({"a/b": 1}), *hostile)
    assert bench.heads(told, "gw-monge")["state"] == other.head("state")


GOOD: dict[int, dict[str, list[Link]]] = {}
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20)
MESSAGES: st.SearchStrategy[Any] = st.recursive(
    SCALARS | st.binary(max_size=32),
    lambda inner: st.lists(inner, max_size=16) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=40,
) | st.lists(st.sampled_from([1, 2, 3, "gw-darcy", "state", NO_HASH, [], [["a/b"]], {}, 0, True, None]), max_size=16)
