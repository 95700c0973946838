"""Streams, one end at a time; both ends together are in test_synchronisation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.messages import SCHEMA, Batch, Event, StreamHead
from agent.wire.receiving import Fate, Inbound
from agent.wire.streams import (
    EPOCH_MAX,
    GAP_KIND,
    GO_BACK_MS_MAX,
    GO_BACK_MS_MIN,
    NO_HASH,
    SUSPECT_MS,
    WINDOW_LINKS,
    Durable,
    Forked,
    Gap,
    Lanes,
    Link,
    Outbound,
    Pacer,
    Regressed,
    Superseded,
    Unmoved,
    gap_of,
)

GATEWAY = "gw-darcy"


def digest(seq: int, salt: int = 0) -> bytes:
    return seq.to_bytes(16, "big") + salt.to_bytes(16, "big")


def head(seq: int, epoch: int = 1, stream: str = "state") -> StreamHead:
    return StreamHead(stream, epoch, seq, digest(seq) if seq else NO_HASH)


def links(after: int, up_to: int) -> list[Link]:
    return [Link(seq, digest(seq), b"sealed") for seq in range(after + 1, up_to + 1)]


def send_all(outbound: Outbound, now_ms: int = 0) -> list[int]:
    want = outbound.want()
    if want is None:
        return []
    sent = outbound.sending(want, links(want.after_seq, outbound.head.seq), now_ms)
    return [link.seq for link in sent]


def batch(seq: int, prev: bytes, epoch: int = 1, stream: str = "state", events: list[Event] | None = None) -> Batch:
    note = [Event(0, "note", "", "", "", {})]
    return Batch(
        SCHEMA, GATEWAY, stream, epoch, seq, prev, 0, 0, 2, [], [], [], [], [], note if events is None else events
    )


def fill(inbound: Inbound, up_to: int, epoch: int = 1) -> None:
    for seq in range(1, up_to + 1):
        prev = digest(seq - 1) if seq > 1 else NO_HASH
        assert inbound.receive(batch(seq, prev, epoch), digest(seq)).fate is Fate.STORE
    inbound.committed()


# The sending end.


def test_no_more_than_a_window_is_on_its_way() -> None:
    outbound = Outbound(head(100), 10)
    assert send_all(outbound) == list(range(11, 11 + WINDOW_LINKS))
    assert outbound.want() is None
    assert outbound.receive_ack(head(13), digest(13), 5) == Durable(13)
    assert send_all(outbound) == [27, 28, 29]


def test_nothing_is_wanted_when_all_is_acknowledged() -> None:
    assert Outbound(head(5), 5).want() is None
    assert Outbound(head(0), 0).want() is None


def test_new_data_does_not_put_off_the_going_back() -> None:
    outbound = Outbound(head(1), 0)
    send_all(outbound, 0)
    for now_ms in range(100, 1000, 100):
        outbound.committed(head(1 + now_ms // 100))
        send_all(outbound, now_ms)
        assert outbound.tick(now_ms) is None
    assert outbound.go_backs == 0
    outbound.tick(GO_BACK_MS_MIN)
    assert outbound.go_backs == 1
    assert send_all(outbound, 1000)[0] == 1


def test_the_pause_doubles_up_to_its_bound_and_progress_resets_it() -> None:
    outbound = Outbound(head(10), 0)
    now_ms, pauses = 0, []
    for _ in range(8):
        send_all(outbound, now_ms)
        deadline = outbound.deadline_ms
        assert deadline is not None
        outbound.tick(deadline - 1)
        assert outbound.deadline_ms == deadline
        outbound.tick(deadline)
        pauses.append(deadline - now_ms)
        now_ms = deadline
    assert pauses == [1000, 2000, 4000, 8000, 16000, 30000, GO_BACK_MS_MAX, GO_BACK_MS_MAX]
    send_all(outbound, now_ms)
    outbound.receive_ack(head(3), digest(3), now_ms)
    assert outbound.deadline_ms == now_ms + GO_BACK_MS_MIN


def test_an_ack_for_another_content_stops_the_stream_until_a_new_epoch() -> None:
    outbound = Outbound(head(10), 0)
    send_all(outbound)
    verdict = outbound.receive_ack(StreamHead("state", 1, 4, digest(4, salt=1)), digest(4), 5)
    assert isinstance(verdict, Forked)
    assert outbound.is_forked
    assert outbound.want() is None
    assert outbound.acked_seq == 0
    outbound.committed(head(3, epoch=2))
    assert send_all(outbound) == [1, 2, 3]


def test_an_ack_beyond_our_end_is_a_fork() -> None:
    assert isinstance(Outbound(head(10), 5).receive_ack(head(11), None, 0), Forked)


def test_acks_of_other_epochs() -> None:
    outbound = Outbound(head(10, epoch=5), 0)
    assert outbound.receive_ack(head(9, epoch=4), None, 0) == Unmoved()
    assert outbound.receive_ack(head(9, epoch=6), None, 0) == Superseded(6)


def test_a_late_ack_is_no_lost_store_but_a_lasting_one_is() -> None:
    outbound = Outbound(head(20), 10)
    now_ms = 0
    for n in range(3):
        send_all(outbound, now_ms)
        assert outbound.receive_ack(head(4), digest(4), now_ms) == Unmoved()
        deadline = outbound.deadline_ms
        assert deadline is not None
        now_ms = deadline
        assert outbound.tick(now_ms) == (Regressed(4) if n == 2 else None)
    outbound.rewind(4)
    assert send_all(outbound, now_ms)[0] == 5


def test_one_good_ack_forgets_the_suspicion() -> None:
    outbound = Outbound(head(20), 10)
    now_ms = 0
    for _ in range(4):
        send_all(outbound, now_ms)
        outbound.receive_ack(head(4), digest(4), now_ms)
        outbound.receive_ack(head(10), digest(10), now_ms)
        now_ms = outbound.deadline_ms or 0
        assert outbound.tick(now_ms) is None


def test_an_idle_stream_asks_with_its_newest_link_before_it_believes_in_a_lost_store() -> None:
    outbound = Outbound(head(20), 20)
    outbound.receive_ack(head(4), digest(4), 0)
    assert outbound.tick(SUSPECT_MS - 1) is None
    assert outbound.want() is None
    outbound.tick(SUSPECT_MS)
    assert send_all(outbound, SUSPECT_MS) == [20]
    assert outbound.receive_ack(head(20), digest(20), SUSPECT_MS + 9) == Unmoved()
    assert outbound.want() is None
    assert outbound.deadline_ms is None

    now_ms = 2 * SUSPECT_MS
    outbound.receive_ack(head(4), digest(4), now_ms)
    now_ms += SUSPECT_MS
    verdicts = []
    for _ in range(3):
        outbound.tick(now_ms)
        assert send_all(outbound, now_ms) == [20]
        now_ms = outbound.deadline_ms or 0
        verdicts.append(outbound.tick(now_ms))
    assert verdicts == [None, None, Regressed(4)]


def test_an_idle_stream_that_keeps_nothing_says_at_once_that_the_store_is_lost() -> None:
    outbound = Outbound(head(20), 20)
    outbound.receive_ack(head(4), digest(4), 0)
    outbound.tick(SUSPECT_MS)
    want = outbound.want()
    assert want is not None
    assert outbound.sending(want, [], SUSPECT_MS) == []
    assert outbound.tick(SUSPECT_MS + GO_BACK_MS_MIN) == Regressed(4)


def test_links_fetched_for_an_outdated_question_are_not_sent() -> None:
    outbound = Outbound(head(10), 0)
    want = outbound.want()
    assert want is not None
    outbound.receive_ack(head(2), digest(2), 0)
    assert outbound.sending(want, links(0, 10), 0) == []
    assert send_all(outbound)[0] == 3


def test_a_restart_sends_from_the_last_ack_at_once() -> None:
    outbound = Outbound(head(10), 4)
    send_all(outbound)
    outbound.restart()
    assert send_all(outbound)[0] == 5


def test_a_gap_record_counts_as_one_link_of_the_window() -> None:
    outbound = Outbound(head(1000), 0)
    want = outbound.want()
    assert want is not None
    sent = outbound.sending(want, [Link(900, digest(900), b"gap"), *links(900, 1000)], 0)
    assert len(sent) == WINDOW_LINKS
    assert outbound.receive_ack(head(900), outbound.in_flight_hash(900), 0) == Durable(900)


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 3)), max_size=60))
def test_no_sequence_of_acks_trims_what_was_not_acknowledged_with_our_hash(acks: list[tuple[int, bool, int]]) -> None:
    outbound = Outbound(head(20, epoch=2), 0)
    now_ms, best = 0, 0
    for seq, is_ours, epoch in acks:
        send_all(outbound, now_ms)
        ack = StreamHead("state", epoch, seq, digest(seq, 0 if is_ours else 1))
        own = digest(seq) if epoch == 2 and 0 < seq <= 20 else None
        verdict = outbound.receive_ack(ack, own, now_ms)
        if isinstance(verdict, Durable):
            assert epoch == 2
            assert is_ours
            best = max(best, seq)
        assert outbound.acked_seq == best
        now_ms += 700
        outbound.tick(now_ms)


# Which stream goes first.


def test_alarms_go_before_everything_and_are_not_paced() -> None:
    streams = {
        stream: Outbound(head(100, stream=stream), 0) for stream in ("tele", "state", "alarm", "safety", "audit")
    }
    lanes = Lanes(streams.values(), pacer := Pacer(1000))
    order = []
    while want := lanes.want(0):
        order.append(want.stream)
        streams[want.stream].sending(want, links(want.after_seq, 100), 0)
    assert order == ["alarm", "safety", "state", "audit", "tele"]
    pacer.spend(5000)
    for outbound in streams.values():
        outbound.restart()
    want = lanes.want(0)
    assert want is not None
    assert want.stream == "alarm"
    for stream in ("alarm", "safety"):
        want = streams[stream].want()
        assert want is not None
        streams[stream].sending(want, links(0, 100), 0)
    assert lanes.want(0) is None
    assert lanes.wait_ms(0) == 1000
    later = lanes.want(4100)
    assert later is not None
    assert later.stream == "state"


def test_what_happens_now_is_not_paced() -> None:
    outbound = Outbound(head(WINDOW_LINKS, stream="tele"), 0)
    lanes = Lanes([outbound], pacer := Pacer(1000))
    pacer.spend(99_999)
    assert lanes.want(0) is not None


def test_an_idle_lane_waits_for_ever() -> None:
    assert Lanes([Outbound(head(5), 5)], Pacer(1000)).wait_ms(0) is None


# The receiving end.


def test_links_are_stored_in_order_only() -> None:
    inbound = Inbound()
    fill(inbound, 3)
    assert inbound.receive(batch(5, digest(4)), digest(5)).fate is Fate.AHEAD
    assert inbound.receive(batch(2, digest(1)), digest(2)).fate is Fate.DUPLICATE
    assert inbound.receive(batch(4, digest(3)), digest(4)).fate is Fate.STORE
    assert inbound.acks(GATEWAY) == [head(3)]
    inbound.committed()
    assert inbound.acks(GATEWAY) == [head(4)]


def test_a_failed_transaction_is_forgotten() -> None:
    inbound = Inbound()
    fill(inbound, 3)
    inbound.receive(batch(4, digest(3)), digest(4))
    inbound.rolled_back()
    assert inbound.receive(batch(4, digest(3)), digest(4)).fate is Fate.STORE


def test_forks_are_seen_at_the_end_below_it_and_after_it() -> None:
    inbound = Inbound()
    fill(inbound, 5)
    assert inbound.receive(batch(5, digest(4)), digest(5, 1)).fate is Fate.FORKED
    assert inbound.receive(batch(3, digest(2)), digest(3, 1), known_hash=digest(3)).fate is Fate.FORKED
    assert inbound.receive(batch(6, digest(5, 1)), digest(6)).fate is Fate.FORKED
    assert inbound.is_forked(GATEWAY, "state")
    assert inbound.receive(batch(1, NO_HASH, epoch=2), digest(1)).is_new_epoch
    assert not inbound.is_forked(GATEWAY, "state")


def test_an_older_epoch_is_stale_and_answered_with_the_newer_one() -> None:
    inbound = Inbound()
    fill(inbound, 2, epoch=7)
    received = inbound.receive(batch(3, digest(2), epoch=6), digest(3))
    assert received.fate is Fate.STALE
    assert received.head.epoch == 7


def test_an_epoch_met_in_the_middle_is_answered_with_nothing_of_it() -> None:
    inbound = Inbound()
    assert inbound.receive(batch(5, digest(4)), digest(5)).fate is Fate.AHEAD
    assert inbound.acks(GATEWAY) == [StreamHead("state", 1, 0, NO_HASH)]
    fill(inbound, 1)
    assert inbound.acks(GATEWAY) == [head(1)]


def test_the_first_link_of_an_epoch_has_no_predecessor() -> None:
    assert Inbound().receive(batch(1, digest(9)), digest(1)).fate is Fate.FORKED


def test_adopting_goes_on_where_the_gateways_store_begins() -> None:
    inbound = Inbound()
    fill(inbound, 3)
    assert not inbound.adopt(GATEWAY, head(2))
    assert not inbound.adopt(GATEWAY, head(0))
    assert inbound.adopt(GATEWAY, head(10))
    assert inbound.receive(batch(11, digest(10)), digest(11)).fate is Fate.STORE
    assert inbound.adopt(GATEWAY, head(1, epoch=2))


def test_a_gap_record_stands_for_its_links() -> None:
    inbound = Inbound()
    fill(inbound, 3)
    gap = Gap(4, 9, 60, "full", digest(9))
    received = inbound.receive(batch(9, digest(3), events=[gap.event()]), digest(9, 5))
    assert (received.fate, received.gap, received.head) == (Fate.STORE, gap, head(9))
    assert inbound.receive(batch(10, digest(9)), digest(10)).fate is Fate.STORE
    assert inbound.receive(batch(9, digest(3), events=[gap.event()]), digest(9, 5), digest(9)).fate is Fate.DUPLICATE


def test_a_gap_record_may_overlap_what_is_held_and_may_begin_an_epoch() -> None:
    inbound = Inbound()
    fill(inbound, 6)
    gap = Gap(4, 9, 60, "full", digest(9))
    assert inbound.receive(batch(9, digest(3), events=[gap.event()]), digest(9, 5)).fate is Fate.STORE
    gap = Gap(1, 9, 60, "full", digest(9))
    assert inbound.receive(batch(9, NO_HASH, epoch=2, events=[gap.event()]), digest(9, 5)).fate is Fate.STORE


@pytest.mark.parametrize(
    ("gap", "stream", "seq", "fate"),
    [
        (Gap(4, 9, 60, "full", digest(9)), "alarm", 9, Fate.FORKED),
        (Gap(4, 9, 60, "full", digest(9)), "state", 8, Fate.FORKED),
        (Gap(9, 4, 60, "full", digest(9)), "state", 4, Fate.FORKED),
        (Gap(0, 9, 60, "full", digest(9)), "state", 9, Fate.FORKED),
        (Gap(5, 9, 60, "full", digest(9)), "state", 9, Fate.AHEAD),
    ],
)
def test_a_gap_record_that_does_not_fit_is_not_stored(gap: Gap, stream: str, seq: int, fate: Fate) -> None:
    inbound = Inbound()
    fill(inbound, 3)
    assert inbound.receive(batch(seq, digest(3), stream=stream, events=[gap.event()]), digest(9, 5)).fate is fate


Scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=70)


@given(st.dictionaries(st.sampled_from(["first", "last", "count", "reason", "hash", "x"]), Scalars))
def test_no_gap_record_however_malformed_raises_or_is_stored_as_a_link(detail: dict[str, object]) -> None:
    event = Event(0, GAP_KIND, "", "", "", detail)  # type: ignore[arg-type]
    if gap_of(batch(1, NO_HASH, events=[event])) is None:
        assert Inbound().receive(batch(1, NO_HASH, events=[event]), digest(1)).fate is Fate.FORKED


@given(st.integers(0, EPOCH_MAX), st.integers(0, 2**63 - 1), st.integers(1, 2**63 - 1), st.integers(0, EPOCH_MAX))
def test_no_number_however_large_raises(epoch: int, seq: int, batch_seq: int, batch_epoch: int) -> None:
    held = StreamHead("state", epoch, seq, digest(1))
    inbound = Inbound([(GATEWAY, held)])
    received = inbound.receive(batch(batch_seq, digest(1), epoch=batch_epoch), digest(2))
    if received.fate is Fate.STORE:
        assert (batch_epoch, batch_seq) > (epoch, seq)
