"""The lease: at most one manager leads at any moment, whatever pauses, clocks and lost answers do; and somebody soon does."""

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine

from fleet import lease_rows, schema
from fleet.fence import DeposedError, Fence
from fleet.lease import (
    ASIDE_MS,
    CLOCK_RATE_PERCENT,
    EXPIRY_MS,
    LEASE_MS,
    LOOK_MS,
    RENEW_MS,
    Lease,
    LeaseRow,
    Step,
)
from fleet.lease_rows import Claim

FREE = LeaseRow("", "", 0, 0, 0, "", "", "")
CALM_MS = 20_000


class Candidate:
    """One manager with a clock of its own, in a world that stops it, delays it and loses its answers."""

    def __init__(self, world: "City", number: int) -> None:
        self.world = world
        self.name = f"room-{number}"
        self.lives = count(1)
        self.rate = 1 + world.dice.uniform(-1, 1) * CLOCK_RATE_PERCENT / 100
        self.offset_ms = world.dice.randint(0, 10**9)
        self.deaf_until_ms = 0.0
        self.restart()

    def restart(self) -> None:
        self.lease = Lease(self.name, f"{self.name}-{next(self.lives)}")

    def clock_ms(self) -> int:
        return self.offset_ms + int(self.world.now_ms * self.rate)

    @property
    def holds(self) -> bool:
        return self.lease.holds(self.clock_ms())

    def step(self) -> None:
        """Ask; the store does it some time later; the answer comes later still, or never."""
        lease, asked_ms = self.lease, self.clock_ms()
        step = lease.next(asked_ms)
        seen, life, term = lease.row, lease.life, lease.term
        asked_s, answer_s = self.world.delay(), self.world.delay()
        is_deaf = self.world.now_ms < self.deaf_until_ms
        is_lost = is_deaf or self.world.is_lost()

        def act() -> None:
            is_done = not is_deaf and (not is_lost or self.world.dice.random() < 0.5)
            row = self.world.do(step, seen, self.name, life, term) if is_done else None
            self.world.after(answer_s, lambda: answer(row))

        def answer(row: LeaseRow | None) -> None:
            if self.lease is not lease:
                return  # It was killed meanwhile.
            now_ms = self.clock_ms()
            if step is Step.RELEASE:
                lease.released(now_ms)
            elif is_lost:
                lease.failed(step, now_ms)
            elif step is Step.LOOK:
                assert row is not None
                lease.looked(row, now_ms)
            elif row is None:
                lease.lost(now_ms)
            else:
                (lease.took if step is Step.TAKE else lease.renewed)(row, asked_ms)
            pause_ms = self.world.pause()
            self.world.after(pause_ms + lease.wait_ms(self.clock_ms()) / self.rate, self.step_if(lease))

        self.world.after(asked_s, act)

    def step_if(self, lease: Lease) -> Callable[[], None]:
        return lambda: self.step() if self.lease is lease else None


class City:
    """The row, real time, and trouble."""

    def __init__(self, seed: int, managers: int) -> None:
        self.dice = random.Random(seed)
        self.now_ms = 0.0
        self.row = FREE
        self.is_troubled = True
        self.terms: list[int] = []
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self.managers = [Candidate(self, number) for number in range(managers)]
        for each in self.managers:
            self.after(self.dice.uniform(0, 500), each.step_if(each.lease))

    def after(self, wait_ms: float, work: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_ms + max(0.0, wait_ms), next(self._order), work))

    def delay(self) -> float:
        return self.dice.choice((1, 5, 50, 400, 2_500)) * self.dice.random() if self.is_troubled else 2.0

    def pause(self) -> float:
        """SIGSTOP, a suspended machine, a disk that hangs."""
        return self.dice.choice((300, 1_600, 10_000)) if self.is_troubled and self.dice.random() < 0.1 else 0.0

    def is_lost(self) -> bool:
        return self.is_troubled and self.dice.random() < 0.15

    def do(self, step: Step, seen: LeaseRow | None, name: str, life: str, term: int) -> LeaseRow | None:
        """What ``fleet.lease_rows`` does."""
        row = self.row
        is_ours = (row.life, row.term) == (life, term)
        if step is Step.LOOK:
            return row
        if step is Step.TAKE:
            assert seen is not None
            if (row.life, row.term, row.beat) != (seen.life, seen.term, seen.beat):
                return None
            self.row = LeaseRow(name, life, row.term + 1, row.beat + 1, 0, "", "", "")
            self.terms.append(self.row.term)
        elif not is_ours:
            return None
        elif step is Step.RENEW:
            self.row = replace(row, beat=row.beat + 1)
        else:
            self.row = replace(row, life="", beat=row.beat + 1)
        return self.row

    def run_until(self, end_ms: float) -> Iterator[None]:
        while self._events and self._events[0][0] <= end_ms:
            self.now_ms, _, work = heapq.heappop(self._events)
            work()
            yield

    def trouble(self) -> None:
        """Somebody is killed and starts anew, hands over, or is asked to lead."""
        manager = self.dice.choice(self.managers)
        match self.dice.randrange(5):
            case 0:
                manager.restart()
                self.after(self.dice.uniform(0, 3_000), manager.step_if(manager.lease))
            case 1:
                manager.lease.give_up()
            case 2 | 3:  # Cut off from the store: whoever leads is not renewed, and does not know it.
                manager.deaf_until_ms = self.now_ms + 4_000
            case _:
                self.row = replace(self.row, wanted=manager.name)
        if self.is_troubled:
            self.after(self.dice.uniform(500, 6_000), self.trouble)


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), managers=st.integers(2, 3))
def test_never_two_lead_at_once_and_soon_after_the_trouble_one_does(seed: int, managers: int) -> None:
    city = City(seed, managers)
    city.after(1_000, city.trouble)
    for _ in city.run_until(60_000):
        assert sum(each.holds for each in city.managers) <= 1
    city.is_troubled = False
    for _ in city.run_until(60_000 + 16_000 + CALM_MS):  # A pause that had begun, and the courtesy of a hand-over.
        assert sum(each.holds for each in city.managers) <= 1
    assert sum(each.holds for each in city.managers) == 1
    assert all(later > earlier for earlier, later in pairwise(city.terms))


def holder(life: str = "a1", now_ms: int = 0) -> tuple[Lease, LeaseRow]:
    lease = Lease("control-room", life)
    lease.looked(FREE, now_ms)
    assert lease.next(now_ms) is Step.TAKE
    row = LeaseRow("control-room", life, 1, 1, 0, "", "", "")
    lease.took(row, now_ms)
    return lease, row


def test_it_lasts_from_when_it_was_asked_for_not_from_when_the_answer_came() -> None:
    lease, row = holder()
    lease.renewed(replace(row, beat=2), 1_000)
    assert lease.holds(1_000 + LEASE_MS - 1)
    assert not lease.holds(1_000 + LEASE_MS)


def test_who_was_stopped_has_ceased_to_lead_when_it_wakes_and_comes_back_under_another_term() -> None:
    lease, row = holder()
    assert not lease.holds(10_000)
    assert lease.next(10_000) is Step.LOOK
    assert lease.term == 0
    lease.looked(row, 10_001)
    assert lease.next(10_001) is Step.TAKE  # Its own name in the row: nobody else can have led under it.


def test_another_waits_longer_than_the_holder_counts() -> None:
    _, row = holder()
    other = Lease("failover-room", "b1")
    other.looked(row, 50)
    for now_ms in range(50, 50 + EXPIRY_MS, 100):
        assert other.next(now_ms) is Step.LOOK
        other.looked(row, now_ms)
    assert other.next(50 + EXPIRY_MS) is Step.TAKE
    assert EXPIRY_MS * (100 - CLOCK_RATE_PERCENT) >= LEASE_MS * (100 + CLOCK_RATE_PERCENT)


def test_a_renewal_seen_begins_the_wait_anew_and_a_question_without_answer_does_not() -> None:
    _, row = holder()
    other = Lease("failover-room", "b1")
    other.looked(row, 0)
    other.looked(replace(row, beat=2), 1_000)
    assert other.next(EXPIRY_MS) is Step.LOOK
    other.failed(Step.LOOK, 1_200)
    assert other.wait_ms(1_200) == LOOK_MS
    assert other.next(1_000 + EXPIRY_MS) is Step.TAKE


def test_who_is_asked_to_hand_over_acts_no_more_and_leaves_it_to_the_other_for_a_while() -> None:
    lease, row = holder()
    lease.renewed(replace(row, beat=2, wanted="failover-room"), RENEW_MS)
    assert not lease.holds(RENEW_MS)
    assert lease.next(RENEW_MS) is Step.RELEASE
    lease.released(400)
    free = replace(row, life="", beat=3)
    lease.looked(free, 400)
    assert lease.next(400 + ASIDE_MS - 1) is Step.LOOK
    assert lease.next(400 + ASIDE_MS) is Step.TAKE
    other = Lease("failover-room", "b1")
    other.looked(replace(free, wanted="failover-room"), 400)
    assert other.next(400) is Step.TAKE


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    schema.metadata.create_all(made, tables=[schema.leases])
    with made.begin() as connection:
        lease_rows.prepare(connection, "control-room")
    yield made
    made.dispose()


def test_of_two_who_saw_the_same_row_one_takes_it(engine: Engine) -> None:
    claims = [Claim("control-room", "a1", "http://a/"), Claim("failover-room", "b1", "http://b/")]
    with engine.begin() as connection:
        seen = lease_rows.read(connection)
        taken = [lease_rows.take(connection, seen, claim, above=40, unix_ms=7) for claim in claims]
        assert taken == [LeaseRow("control-room", "a1", 41, 1, 7, "http://a/", "", "control-room"), None]
        assert lease_rows.read(connection) == taken[0]
        assert lease_rows.renew(connection, "b1", 41) is None
        assert not lease_rows.release(connection, "b1", 41)
        lease_rows.want(connection, "failover-room")
        renewed = lease_rows.renew(connection, "a1", 41)
        assert renewed is not None
        assert (renewed.beat, renewed.wanted) == (2, "failover-room")
        raised = lease_rows.raise_term(connection, "a1", 41, 50)
        assert raised is not None
        assert raised.term == 51
        assert lease_rows.release(connection, "a1", 51)
        assert lease_rows.read(connection).life == ""


def test_a_deposed_manager_writes_nothing_of_what_it_had_begun(engine: Engine) -> None:
    fence = Fence("a1")
    with engine.begin() as connection:
        lease_rows.take(connection, lease_rows.read(connection), Claim("control-room", "a1", ""), 0, 0)
    fence.term = 1
    with engine.begin() as connection:
        fence.check(connection)
    assert fence.committed() is not None
    with engine.begin() as connection:
        lease_rows.take(connection, lease_rows.read(connection), Claim("failover-room", "b1", ""), 0, 0)

    def write() -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE leases SET url = 'written by nobody'")
            fence.check(connection)

    with pytest.raises(DeposedError):
        write()
    assert fence.term == 0
    with engine.begin() as connection:
        assert lease_rows.read(connection).url == ""
