"""Catching up: paced, so that what happens now has room, and never slower than what is produced."""

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.wire.messages import StreamHead
from agent.wire.streams import NO_HASH, WINDOW_LINKS, Lanes, Link, Outbound, Pacer, Want

SIZE_BYTES = 1_000
PACE_BYTES_PER_S = 10_000
STEP_MS = 10


def head(seq: int, stream: str = "state", epoch: int = 1) -> StreamHead:
    return StreamHead(stream, epoch, seq, seq.to_bytes(32, "big") if seq else NO_HASH)


def fetched(outbound: Outbound, want: Want) -> list[Link]:
    last = min(want.after_seq + want.limit, outbound.head.seq)
    return [Link(seq, seq.to_bytes(32, "big"), bytes(SIZE_BYTES)) for seq in range(want.after_seq + 1, last + 1)]


def sent(lanes: Lanes, outbound: Outbound, now_ms: int = 0) -> list[int]:
    """Send what may go now; the numbers sent."""
    want = lanes.want(now_ms)
    if want is None:
        return []
    going = outbound.sending(want, fetched(outbound, want), now_ms)
    for link in going:
        lanes.spent(outbound, len(link.sealed))
    return [link.seq for link in going]


def test_a_backlog_without_tokens_sends_one_link_for_each_it_produces() -> None:
    outbound = Outbound(head(100), 0)
    lanes = Lanes([outbound], pacer := Pacer(1000))
    pacer.spend(5000)  # 1000 were there: 4 s of debt.
    assert sent(lanes, outbound) == []
    outbound.committed(head(103))
    assert sent(lanes, outbound) == [1, 2, 3]
    assert sent(lanes, outbound) == []
    assert lanes.wait_ms(0) == 1000  # The stream's own deadline: the debt is as it was, and ends at 4.001 s.
    assert pacer.wait_ms(0) == 4001
    assert sent(lanes, outbound, 4001) == list(range(4, WINDOW_LINKS + 1))
    assert pacer.wait_ms(4001) == 13_000  # Those cost tokens, 13 links of a second each.


def test_what_was_produced_while_nothing_went_is_backlog_but_for_one_window() -> None:
    outbound = Outbound(head(0), 0)
    lanes = Lanes([outbound], pacer := Pacer(1000))
    pacer.spend(5000)
    outbound.committed(head(1000))
    outbound.committed(head(2000))
    assert len(sent(lanes, outbound)) == WINDOW_LINKS
    outbound.restart()
    assert sent(lanes, outbound) == []


def test_a_new_epoch_has_produced_nothing_yet() -> None:
    outbound = Outbound(head(5), 0)
    outbound.committed(head(9))
    assert outbound.fresh == 4
    outbound.committed(head(3, epoch=2))
    assert outbound.fresh == 0


def test_links_of_a_stream_without_backlog_are_matched_too() -> None:
    outbound = Outbound(head(0), 0)
    lanes = Lanes([outbound], pacer := Pacer(1000))
    outbound.committed(head(2))
    assert sent(lanes, outbound) == [1, 2]
    assert outbound.fresh == 0
    assert pacer.wait_ms(0) == 0


class Wire:
    """A link of a certain capacity, first in first out, that acknowledges what it delivers; and a cabinet behind it.

    Args:
        backlog_links: of ``state`` at the start. produced_bytes_per_s: of ``state`` from then on.
    """

    def __init__(self, capacity_bytes_per_s: int, produced_bytes_per_s: float, backlog_links: int) -> None:
        self.capacity_bytes_per_s, self.produced_bytes_per_s = capacity_bytes_per_s, produced_bytes_per_s
        self.state, self.alarm = Outbound(head(backlog_links), 0), Outbound(head(0, "alarm"), 0)
        self.lanes = Lanes((self.state, self.alarm), Pacer(PACE_BYTES_PER_S))
        self.first = backlog_links
        self.now_ms = 0
        self.produced = 0
        self.sent: list[tuple[int, int]] = []  # When, and how many of state were produced by then.
        self._queue: deque[tuple[Outbound, Link]] = deque()
        self._credit_bytes = 0.0

    def step(self) -> None:
        self.now_ms += STEP_MS
        self.produced = int(self.now_ms * self.produced_bytes_per_s / SIZE_BYTES / 1000)
        self.state.committed(head(self.first + self.produced))
        self._deliver()
        while want := self.lanes.want(self.now_ms):
            outbound = self.alarm if want.stream == "alarm" else self.state
            for link in outbound.sending(want, fetched(outbound, want), self.now_ms):
                self.lanes.spent(outbound, len(link.sealed))
                self._queue.append((outbound, link))
                if outbound is self.state:
                    self.sent.append((self.now_ms, self.produced))

    def _deliver(self) -> None:
        self._credit_bytes += self.capacity_bytes_per_s * STEP_MS / 1000
        while self._queue and self._credit_bytes >= SIZE_BYTES:
            self._credit_bytes -= SIZE_BYTES
            outbound, link = self._queue.popleft()
            outbound.receive_ack(StreamHead(outbound.stream, 1, link.seq, link.hash), link.hash, self.now_ms)
        if not self._queue:
            self._credit_bytes = min(self._credit_bytes, SIZE_BYTES)


wires = st.builds(
    lambda capacity, share, backlog: Wire(capacity, capacity * share, backlog),
    capacity=st.integers(20_000, 400_000),
    share=st.floats(0, 0.9),
    backlog=st.integers(WINDOW_LINKS + 1, 150),
)


@settings(max_examples=60, deadline=None)
@given(wire=wires)
def test_a_stream_that_produces_less_than_the_link_carries_catches_up(wire: Wire) -> None:
    spare = min(PACE_BYTES_PER_S, wire.capacity_bytes_per_s - wire.produced_bytes_per_s)
    at_most_ms = 2_000 + 1_500 * wire.first * SIZE_BYTES / spare
    while wire.state.backlog > WINDOW_LINKS:
        wire.step()
        assert wire.now_ms < at_most_ms


@settings(max_examples=60, deadline=None)
@given(wire=wires, at_steps=st.integers(0, 300))
def test_an_alarm_waits_for_one_window_of_backlog_at_most(wire: Wire, at_steps: int) -> None:
    for _ in range(at_steps):
        wire.step()
    raised_ms = wire.now_ms
    wire.alarm.committed(head(1, "alarm"))
    while wire.alarm.backlog:
        wire.step()
    window_ms = (WINDOW_LINKS + 1) * SIZE_BYTES * 1000 / wire.capacity_bytes_per_s
    assert wire.now_ms - raised_ms <= window_ms + 3 * STEP_MS


@settings(max_examples=60, deadline=None)
@given(wire=wires)
def test_catching_up_takes_no_more_than_its_pace_beyond_what_is_produced(wire: Wire) -> None:
    for _ in range(500):
        wire.step()
        if wire.state.backlog <= WINDOW_LINKS:
            return
    for start in range(0, len(wire.sent), 7):
        (from_ms, produced), (to_ms, produced_then) = wire.sent[start], wire.sent[-1]
        allowed = PACE_BYTES_PER_S * (1 + (to_ms - from_ms) / 1000) / SIZE_BYTES  # The bucket holds one second.
        beyond = len(wire.sent) - start - (produced_then - produced)
        assert beyond <= allowed + 2 * WINDOW_LINKS
