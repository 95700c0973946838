"""Delivery of streams, both ends, sans-IO. A link is one sealed batch; the links of a stream form a hash chain.

Sender (gateway)   keeps every link until the fleet has said, signed, that it is durable there: up to WINDOW_LINKS ahead
                   of that, back to it when nothing moves.
Receiver (fleet)   takes links in order only; anything else is dropped and answered with where it stands.

    ack says                                     sender
    -------------------------------------------  --------------------------------------------------------------------
    seq we hold, our hash                        Durable: trim up to it
    seq at or below what was acked before        nothing; after REGRESS_GO_BACKS without progress Regressed: send again
    seq we hold, another hash; seq beyond ours   Forked: stop, keep everything, alarm, start a new epoch
    an older epoch                               nothing: the fleet has not seen this epoch yet
    a newer epoch                                Superseded: this journal is a restored copy; start an epoch above it

Epochs rise whenever a journal is created, restored or forked; inside (stream, epoch) seq has no holes. Links shed for
lack of room are replaced by one signed gap record that carries the hash of the last link it stands for, so the chain
stays whole (``docs/wire.md``).
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from agent.wire.messages import HASH_BYTES, Batch, Event, StreamHead, Value

WINDOW_LINKS = 16
"""Links of one stream on their way (sync.md 3.4): hides a round trip of a mobile link, bounds what a loss repeats."""
GO_BACK_MS_MIN = 1_000
GO_BACK_MS_MAX = 30_000
NEW_LEADER_GO_BACK_MS = 500
REGRESS_GO_BACKS = 3
"""Go-backs without progress before an ack below an earlier one is believed: a late ack is no lost store."""
SUSPECT_MS = 10_000
"""An idle stream whose acks stay low that long sends its newest link once more, to learn how the fleet stands."""
EPOCH_MAX = 2**32 - 1
NO_HASH = bytes(HASH_BYTES)
GAP_KIND = "stream.gap"
SHEDDABLE = ("state", "tele")
PRIORITY = ("alarm", "safety", "state", "audit", "tele")
"""Strict: a link of an earlier stream always goes first."""
UNPACED = ("alarm", "safety")


@dataclass(frozen=True, slots=True)
class Link:
    """One link as it is kept and sent.

    Args:
        hash: what the next link names as ``prev``: the digest of ``sealed``; for a gap record the hash it carries.
    """

    seq: int
    hash: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Want:
    """The links a stream would send now: of ``epoch``, after ``after_seq``, at most ``limit``."""

    stream: str
    epoch: int
    after_seq: int
    limit: int


@dataclass(frozen=True, slots=True)
class Durable:
    """Everything up to ``seq`` is durable at the fleet and may be trimmed."""

    seq: int


@dataclass(frozen=True, slots=True)
class Unmoved:
    """The ack says nothing new."""


@dataclass(frozen=True, slots=True)
class Forked:
    """Two histories under one number. Nothing may be trimmed or overwritten; somebody must be told."""

    reason: str


@dataclass(frozen=True, slots=True)
class Superseded:
    """The fleet knows ``epoch``, which is newer than ours."""

    epoch: int


@dataclass(frozen=True, slots=True)
class Regressed:
    """The fleet has lost what it acknowledged: it stands at ``seq``. Send again what is still kept."""

    seq: int


AckVerdict = Durable | Unmoved | Forked | Superseded


def judge_ack(ack: StreamHead, own: StreamHead, acked_seq: int, own_hash: bytes | None) -> AckVerdict:
    """Compare what the fleet says with what we hold.

    Args:
        own: our newest link. acked_seq: durable at the fleet as far as we knew.
        own_hash: the hash of our link ``ack.seq`` of this epoch, None if we do not keep it.
    """
    if ack.epoch > own.epoch:
        return Superseded(ack.epoch)
    if ack.epoch < own.epoch or ack.seq == 0:
        return Unmoved()
    if ack.seq > own.seq:
        return Forked(f"the fleet holds link {ack.seq} of {ack.stream}, ours end at {own.seq}")
    if own_hash is not None and own_hash != ack.hash:
        return Forked(f"link {ack.seq} of {ack.stream} has another content at the fleet")
    if ack.seq <= acked_seq or own_hash is None:
        return Unmoved()
    return Durable(ack.seq)


class Outbound:
    """The sending end of one stream.

    Args:
        head: our newest link. acked_seq: durable at the fleet as far as we know.
    """

    def __init__(self, head: StreamHead, acked_seq: int) -> None:
        assert 0 <= acked_seq <= head.seq
        self.stream = head.stream
        self.head = head
        self.acked_seq = acked_seq
        self.is_forked = False
        self.go_backs = 0
        self.fresh = 0  # Links produced and not yet matched by one sent, at most a window.
        self.answer_ms = 0  # How long the broker's answers take: the fleet's cannot come sooner.
        self._in_flight: deque[tuple[int, bytes]] = deque()
        self._waiting_since_ms: int | None = None
        self._go_back_ms = GO_BACK_MS_MIN
        self._fruitless = 0
        self._lowest_ack: int | None = None
        self._low_since_ms = 0
        self._is_probing = False

    @property
    def backlog(self) -> int:
        """Links not yet durable at the fleet."""
        return self.head.seq - self.acked_seq

    @property
    def deadline_ms(self) -> int | None:
        """When ``tick`` would go back, None if nothing is on its way."""
        since_ms = self._waiting_since_ms
        return None if since_ms is None else since_ms + self._go_back_ms + 2 * self.answer_ms

    def want(self) -> Want | None:
        """What to send next, None while the window is full, nothing is left or the stream is forked."""
        if self._is_probing and not self._in_flight and self.acked_seq == self.head.seq:
            return Want(self.stream, self.head.epoch, self.acked_seq - 1, 1)
        after = self._in_flight[-1][0] if self._in_flight else self.acked_seq
        room = WINDOW_LINKS - len(self._in_flight)
        if self.is_forked or room <= 0 or after >= self.head.seq:
            return None
        return Want(self.stream, self.head.epoch, after, room)

    def sending(self, want: Want, links: Iterable[Link], now_ms: int) -> list[Link]:
        """Note that these links, fetched for ``want``, go out now; return those that should.

        Things may have changed while they were fetched: an answer to an outdated question is dropped.
        """
        now = self.want()
        if now is None or (now.epoch, now.after_seq) != (want.epoch, want.after_seq):
            return []
        taken = list(links)[: min(want.limit, now.limit)]
        previous = want.after_seq
        for link in taken:
            assert link.seq > previous
            previous = link.seq
            self._in_flight.append((link.seq, link.hash))
        if self._is_probing and not taken:
            self._fruitless = REGRESS_GO_BACKS  # Not even the newest is kept: there is nothing to ask with.
        if self._waiting_since_ms is None and (taken or self._is_probing):
            self._waiting_since_ms = now_ms
        return taken

    def in_flight_hash(self, seq: int) -> bytes | None:
        """The hash of a link on its way; saves asking the journal."""
        return next((link_hash for each, link_hash in self._in_flight if each == seq), None)

    def receive_ack(self, ack: StreamHead, own_hash: bytes | None, now_ms: int) -> AckVerdict:
        """Take in one stream's head from a verified ack.

        Args:
            own_hash: of our link ``ack.seq`` (``in_flight_hash``, else the journal's), None if we do not keep it.
        """
        verdict = judge_ack(ack, self.head, self.acked_seq, own_hash)
        match verdict:
            case Durable(seq):
                self._progress(seq, now_ms)
            case Forked():
                self.is_forked = True
                self._clear()
            case Superseded():
                self._clear()
            case Unmoved():
                self._suspect(ack, now_ms)
        return verdict

    def _suspect(self, ack: StreamHead, now_ms: int) -> None:
        if ack.epoch != self.head.epoch:
            return
        if ack.seq >= self.acked_seq:
            self._lowest_ack = None
            if self._is_probing:
                self._clear()
            return
        if self._lowest_ack is None:
            self._low_since_ms = now_ms
        self._lowest_ack = ack.seq

    def tick(self, now_ms: int) -> Regressed | None:
        """Go back to the last ack if nothing moved for too long.

        Returns:
            Regressed if the fleet stands below what it acknowledged: ``rewind`` to what is still kept.

        Time counts from the last *progress*, not from the last activity: a timer that new data resets never fires.
        """
        deadline = self.deadline_ms
        if deadline is None and self._lowest_ack is not None and now_ms - self._low_since_ms >= SUSPECT_MS:
            self._is_probing = self.acked_seq == self.head.seq
        if deadline is None or now_ms < deadline:
            return None
        self.go_backs += 1
        self._fruitless += 1
        self._in_flight.clear()
        self._waiting_since_ms = None
        self._go_back_ms = min(2 * self._go_back_ms, GO_BACK_MS_MAX)
        if self._fruitless < REGRESS_GO_BACKS or self._lowest_ack is None:
            return None
        lost_to, self._lowest_ack, self._fruitless = self._lowest_ack, None, 0
        return Regressed(lost_to)

    def rewind(self, acked_seq: int) -> None:
        """Send again everything above ``acked_seq``, the newest link that is acknowledged or no longer kept."""
        self.acked_seq = min(acked_seq, self.acked_seq)
        self._clear()

    def committed(self, head: StreamHead) -> None:
        """The journal has grown, or stands in a new epoch."""
        if head.epoch != self.head.epoch:
            self.acked_seq = 0
            self.is_forked = False
            self._clear()
            self.fresh = 0
        else:
            self.fresh = min(WINDOW_LINKS, self.fresh + head.seq - self.head.seq)
        assert head.epoch > self.head.epoch or head.seq >= self.head.seq
        self.head = head

    def restart(self, *, is_new_leader: bool = False) -> None:
        """A new connection, or another manager leads: send again from the last ack, at once.

        Args:
            is_new_leader: its own store may lack what was just acknowledged. Low acks of a new term are no old ones.
        """
        self._clear()
        if is_new_leader:
            self._fruitless, self._go_back_ms = REGRESS_GO_BACKS - 1, NEW_LEADER_GO_BACK_MS

    def _progress(self, seq: int, now_ms: int) -> None:
        self.acked_seq = seq
        while self._in_flight and self._in_flight[0][0] <= seq:
            self._in_flight.popleft()
        self._go_back_ms, self._fruitless, self._lowest_ack = GO_BACK_MS_MIN, 0, None
        self._is_probing = False
        self._waiting_since_ms = now_ms if self._in_flight else None

    def _clear(self) -> None:
        self._in_flight.clear()
        self._waiting_since_ms = None
        self._go_back_ms, self._fruitless, self._lowest_ack = GO_BACK_MS_MIN, 0, None
        self._is_probing = False


class Pacer:
    """A token bucket for backlog, so that catching up leaves room on the link for what happens now.

    Args:
        bytes_per_s: half of what the link carries.
    """

    def __init__(self, bytes_per_s: int) -> None:
        assert bytes_per_s > 0
        self._bytes_per_s = bytes_per_s
        self._tokens = float(bytes_per_s)
        self._at_ms: int | None = None

    def wait_ms(self, now_ms: int) -> int:
        """Milliseconds until backlog may go on; 0 for now."""
        if self._at_ms is not None:
            earned = (now_ms - self._at_ms) * self._bytes_per_s / 1000
            self._tokens = min(float(self._bytes_per_s), self._tokens + earned)
        self._at_ms = now_ms
        return 0 if self._tokens > 0 else int(-self._tokens * 1000 / self._bytes_per_s) + 1

    def spend(self, size_bytes: int) -> None:
        """Account for backlog sent."""
        self._tokens -= size_bytes


class Lanes:
    """Which stream goes next: strict priority, backlog paced.

    For each link a stream produces it may send one unpaced, as if it had no backlog: only catching up is paced. So a
    stream that produces faster than the pace still catches up, and costs the others no more than it would without.
    """

    def __init__(self, outbounds: Iterable[Outbound], pacer: Pacer) -> None:
        self._outbounds = sorted(outbounds, key=lambda each: PRIORITY.index(each.stream))
        self._pacer = pacer

    def want(self, now_ms: int, away: Collection[str] = ()) -> Want | None:
        """The next links to fetch and send, None if there are none or they must wait.

        Args:
            away: streams whose source gives nothing at the moment.
        """
        backlog_may_go = self._pacer.wait_ms(now_ms) == 0
        for outbound in self._outbounds:
            want = None if outbound.stream in away else outbound.want()
            if want is None:
                continue
            if backlog_may_go or not self._is_paced(outbound):
                return want
            if outbound.fresh:
                return replace(want, limit=min(want.limit, outbound.fresh))
        return None

    def spent(self, outbound: Outbound, size_bytes: int) -> None:
        """Account for one link sent."""
        if outbound.fresh:
            outbound.fresh -= 1
        elif self._is_paced(outbound):
            self._pacer.spend(size_bytes)

    def wait_ms(self, now_ms: int) -> int | None:
        """How long nothing will happen by itself; None for ever."""
        waits = [deadline - now_ms for each in self._outbounds if (deadline := each.deadline_ms) is not None]
        if any(each.want() is not None for each in self._outbounds):
            waits.append(self._pacer.wait_ms(now_ms))
        return max(0, min(waits)) if waits else None

    @staticmethod
    def _is_paced(outbound: Outbound) -> bool:
        return outbound.stream not in UNPACED and outbound.backlog > WINDOW_LINKS


@dataclass(frozen=True, slots=True)
class Gap:
    """What a gap record says: links ``first``..``last`` were shed for ``reason``; ``hash`` is that of ``last``."""

    first: int
    last: int
    count: int
    reason: str
    hash: bytes

    def event(self) -> Event:
        """The only event of the batch that stands for the shed links; that batch has ``seq`` = ``last``."""
        text = f"{self.count} records shed: {self.reason}"
        detail: dict[str, Value] = {
            "first": self.first,
            "last": self.last,
            "count": self.count,
            "reason": self.reason,
            "hash": self.hash.hex(),
        }
        return Event(0, GAP_KIND, "", "", text, detail)


def gap_of(batch: Batch) -> Gap | None:
    """Read the gap record a batch is, None if it is an ordinary one (or a malformed gap, which is then no link)."""
    if len(batch.events) != 1 or batch.events[0].kind != GAP_KIND:
        return None
    detail = batch.events[0].detail
    first, last, count = (detail.get(name) for name in ("first", "last", "count"))
    reason, text = detail.get("reason"), detail.get("hash")
    if type(first) is not int or type(last) is not int or type(count) is not int:
        return None
    if not isinstance(reason, str) or not isinstance(text, str) or len(text) != 2 * HASH_BYTES:
        return None
    try:
        return Gap(first, last, count, reason, bytes.fromhex(text))
    except ValueError:
        return None
