"""The ledger: what it says is stored is stored, in order, and nothing is numbered twice."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.ledger.errors import LedgerBusyError, LedgerError, UnsealableError
from agent.ledger.ledger import RAISE_INTERVAL_MS, Ledger
from agent.model.identity import EquipmentId
from agent.model.observation import PointValue, Quality
from agent.safety.latch import Latch
from agent.wire import envelope
from agent.wire.messages import Batch, Event, StreamHead, decode
from agent.wire.receiving import Fate, Inbound
from agent.wire.sealing import open_batch
from agent.wire.streams import NO_HASH, Durable, Forked, Superseded, Unmoved, gap_of
from agent.wire.topics import up
from tests.wire.party import CITY, GATEWAY, T0_MS, HandClock, ring, signer

STREAMS = ("alarm", "state", "tele", "audit")
Open = Callable[..., Ledger]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def open_ledger(tmp_path: Path, clock: HandClock) -> Iterator[Open]:
    opened: list[Ledger] = []

    def open_(name: str = "agent.db", **kwargs: object) -> Ledger:
        key = signer(f"{GATEWAY}/agent/1")
        ledger = Ledger(tmp_path / name, key, CITY, GATEWAY, STREAMS, clock, **kwargs)  # type: ignore[arg-type]
        opened.append(ledger)
        return ledger

    yield open_
    for ledger in opened:
        ledger.close()


def samples(count: int, start: int = 0) -> list[PointValue]:
    return [PointValue(f"seg-{n % 7}/level", n, Quality.GOOD, T0_MS + n) for n in range(start, start + count)]


def event(text: str, equipment: str = "j1") -> Event:
    return Event(0, "link.lost", equipment, "", text, {"seen": 3})


def drain(ledger: Ledger, stream: str, inbound: Inbound) -> list[Batch]:
    """Deliver all that is left to an honest receiver and acknowledge it."""
    stored = []
    keys = ring()
    epoch, seq = ledger.head(stream).epoch, ledger.acked(stream).seq
    while links := ledger.sealed_after(stream, epoch, seq, 16):
        for link in links:
            opened = open_batch(keys, link.sealed, up(CITY, GATEWAY, stream), T0_MS)
            received = inbound.receive(opened.batch, opened.digest)
            assert received.fate is Fate.STORE, received
            assert received.head.hash == link.hash
            stored.append(opened.batch)
            seq = link.seq
        inbound.committed()
        for head in inbound.acks(GATEWAY):
            if head.stream == stream:
                assert isinstance(ledger.acknowledged(head), Durable)
    return stored


def test_every_link_names_the_one_before_it_and_any_receiver_can_follow(open_ledger: Open) -> None:
    ledger = open_ledger()
    for n in range(20):
        ledger.append_samples("state", samples(30, 30 * n))
    batches = drain(ledger, "state", Inbound())
    assert [batch.seq for batch in batches] == list(range(1, 21))
    values = [value for batch in batches for value in batch.values]
    assert values == list(range(600))
    first = batches[0]
    assert first.prev == NO_HASH
    assert [first.names[point] for point in first.points[:3]] == ["seg-0/level", "seg-1/level", "seg-2/level"]
    assert first.t0_ms + first.dt_ms[5] == T0_MS + 5
    assert ledger.acked("state") == ledger.head("state")


def test_numbers_go_on_after_a_restart_even_if_everything_was_acknowledged(open_ledger: Open) -> None:
    ledger = open_ledger(tail_links=0)
    ledger.append_samples("tele", samples(3))
    drain(ledger, "tele", inbound := Inbound())
    ledger.close()
    ledger = open_ledger(tail_links=0)
    assert ledger.damage is None
    head = ledger.append_samples("tele", samples(3))
    assert head.seq == 2
    assert [batch.seq for batch in drain(ledger, "tele", inbound)] == [2]


def test_what_does_not_fit_one_link_becomes_several(open_ledger: Open) -> None:
    ledger = open_ledger()
    ledger.append_samples("tele", samples(1201))
    ledger.append_events("alarm", [event("x" * 500) for _ in range(400)])
    tele, alarm = (drain(ledger, stream, Inbound()) for stream in ("tele", "alarm"))
    assert [len(batch.points) for batch in tele] == [500, 500, 201]
    assert sum(len(batch.events) for batch in alarm) == 400
    assert len(alarm) > 2


def test_what_devices_say_is_cleaned_before_it_is_sealed(open_ledger: Open) -> None:
    ledger = open_ledger()
    values = ["y" * 900, "\ud800 half a pair", 2**80, float("nan"), -(2**70), True, None]
    ledger.append_samples("tele", [PointValue("p/x", value, Quality.BAD, T0_MS) for value in values])
    ledger.append_events(
        "audit", [Event(0, "note", "", "SR-0000000000001", "\udfff" + "z" * 900, {"n" * 200: "w" * 900})]
    )
    batch = drain(ledger, "tele", Inbound())[0]
    assert batch.values[0] == "y" * 500
    assert batch.values[1] == "? half a pair"
    assert batch.values[2] == float(2**80)
    assert len(batch.quality) == len(values)
    assert len(drain(ledger, "audit", Inbound())[0].events[0].text) == 500


def test_a_record_that_no_link_can_carry_is_an_error_and_changes_nothing(open_ledger: Open) -> None:
    ledger = open_ledger()
    before = ledger.head("audit")
    huge = {f"n{n}": "v" * 500 for n in range(200)}
    for wrong in (Event(0, "k", "", "", "", huge), Event(0, "", "", "", "an empty kind", {})):
        with pytest.raises(UnsealableError):
            ledger.append_events("audit", [event("fine"), wrong])
        assert ledger.head("audit") == before
    assert ledger.append_events("audit", [event("fine")]).seq == before.seq + 1


def test_a_second_process_is_refused(open_ledger: Open) -> None:
    ledger = open_ledger()
    with pytest.raises(LedgerBusyError):
        open_ledger()
    ledger.append_samples("tele", samples(1))


def test_an_exception_inside_a_transaction_undoes_it_and_what_is_nested_only_itself(open_ledger: Open) -> None:
    ledger = open_ledger()

    def fail() -> None:
        with ledger.atomic():
            ledger.append_samples("tele", samples(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert ledger.head("tele").seq == 0
    with ledger.atomic():
        ledger.append_samples("tele", samples(1))
        with pytest.raises(RuntimeError):
            fail()
        ledger.append_samples("tele", samples(1))
    assert [batch.seq for batch in drain(ledger, "tele", Inbound())] == [1, 2]


def test_counters_only_rise_and_survive(open_ledger: Open) -> None:
    ledger = open_ledger()
    ledger.raise_counter("alice/1", 7)
    ledger.raise_counter("alice/1", 3)
    ledger.close()
    assert open_ledger().counters == {"alice/1": 7}


def test_latches_survive_until_they_are_cleared(open_ledger: Open) -> None:
    ledger = open_ledger()
    latch = Latch(EquipmentId("j1"), "SR-02", "two greens", T0_MS, flash_requested=True)
    ledger.set_latch(latch)
    ledger.close()
    ledger = open_ledger()
    assert ledger.latches() == {"j1": latch}
    ledger.clear_latch(EquipmentId("j1"))
    ledger.close()
    assert open_ledger().latches() == {}


def test_connection_numbers_never_repeat(open_ledger: Open) -> None:
    ledger = open_ledger()
    assert [ledger.next_number("conn"), ledger.next_number("conn")] == [1, 2]
    ledger.close()
    assert open_ledger().next_number("conn") == 3


def test_acknowledged_links_stay_for_the_log_but_not_for_ever(open_ledger: Open) -> None:
    ledger = open_ledger(tail_links=20)
    inbound = Inbound()
    for n in range(100):
        ledger.append_events("alarm", [event(f"event {n}")])
        drain(ledger, "alarm", inbound)
    kept = ledger.sealed_after("alarm", ledger.head("alarm").epoch, 0, 1000)
    assert 20 <= len(kept) <= 26
    assert ledger.floor("alarm").seq == kept[0].seq - 1
    assert ledger.floor("alarm").hash == decode(envelope.parse(kept[0].sealed).payload, Batch).prev
    assert [entry.text for entry in ledger.log("", 3)] == ["event 97", "event 98", "event 99"]


def test_the_log_is_filtered_by_equipment_newest_last(open_ledger: Open) -> None:
    ledger = open_ledger()
    for n in range(6):
        ledger.append_events("alarm" if n % 2 else "audit", [event(f"{n}", f"j{n % 3}")])
    assert [(entry.text, entry.stream) for entry in ledger.log("j1", 9)] == [("1", "alarm"), ("4", "audit")]
    assert [entry.text for entry in ledger.log("", 2)] == ["4", "5"]
    assert ledger.log("j9", 9) == []


def test_a_full_store_sheds_the_oldest_and_says_so_in_a_signed_gap_record(open_ledger: Open) -> None:
    ledger = open_ledger(quotas={"state": 40_000})
    sealed = 0
    for n in range(300):
        ledger.append_samples("state", samples(20, 20 * n))
        sealed += 20
    assert ledger.size_bytes("state") <= 40_000
    batches = drain(ledger, "state", Inbound())
    gap = gap_of(batches[0])
    assert gap is not None
    assert (gap.first, gap.last) == (1, batches[1].seq - 1)
    assert gap.count + sum(len(batch.points) for batch in batches) == sealed
    assert batches[-1].values[-1] == 5999


def test_shedding_while_the_fleet_holds_part_of_it_still_joins_up(open_ledger: Open) -> None:
    ledger = open_ledger(quotas={"state": 40_000})
    inbound = Inbound()
    keys = ring()
    for n in range(10):
        ledger.append_samples("state", samples(20, 20 * n))
    for link in ledger.sealed_after("state", ledger.head("state").epoch, 0, 5):  # Stored there; the ack got lost.
        opened = open_batch(keys, link.sealed, up(CITY, GATEWAY, "state"), T0_MS)
        assert inbound.receive(opened.batch, opened.digest).fate is Fate.STORE
    inbound.committed()
    lost_ack = inbound.acks(GATEWAY)[0]
    for n in range(10, 300):
        ledger.append_samples("state", samples(20, 20 * n))
    assert isinstance(ledger.acknowledged(lost_ack), Unmoved)
    assert drain(ledger, "state", inbound)[0].seq > 5


def test_alarms_and_audit_are_never_shed(open_ledger: Open) -> None:
    ledger = open_ledger(quotas={"alarm": 10_000, "audit": 10_000})
    for stream in ("alarm", "audit"):
        for n in range(50):
            ledger.append_events(stream, [event(f"event {n}" + "." * 400)])
        assert [batch.seq for batch in drain(ledger, stream, Inbound())] == list(range(1, 51))


def test_a_fork_begins_a_new_epoch_with_everything_not_acknowledged(open_ledger: Open, clock: HandClock) -> None:
    ledger = open_ledger()
    inbound = Inbound()
    ledger.append_samples("state", samples(5))
    drain(ledger, "state", inbound)
    ledger.append_samples("state", samples(5, 5))
    ledger.append_samples("state", samples(5, 10))
    old = ledger.head("state")
    foreign = StreamHead("state", old.epoch, 2, bytes(31) + b"!")
    assert isinstance(ledger.acknowledged(foreign), Forked)
    head = ledger.head("state")
    assert head.epoch > old.epoch
    first, *rest = drain(ledger, "state", inbound)
    assert first.events[0].kind == "stream.epoch"
    assert first.events[0].detail["from_epoch"] == old.epoch
    assert [value for batch in rest for value in batch.values] == list(range(5, 15))
    assert [entry.kind for entry in ledger.log("", 9)] == ["stream.epoch"]


def test_an_ack_beyond_our_end_is_a_fork_too(open_ledger: Open) -> None:
    ledger = open_ledger()
    epoch = ledger.head("audit").epoch
    assert isinstance(ledger.acknowledged(StreamHead("audit", epoch, 500, bytes(32))), Forked)
    assert ledger.head("audit").epoch == epoch + 1


def test_an_ack_of_a_newer_epoch_is_answered_with_one_above_it(open_ledger: Open) -> None:
    ledger = open_ledger()
    epoch = ledger.head("audit").epoch + 1000
    assert isinstance(ledger.acknowledged(StreamHead("audit", epoch, 9, bytes(32))), Superseded)
    assert ledger.head("audit").epoch == epoch + 1


def test_two_cabinets_with_one_identity_cannot_spin(open_ledger: Open, clock: HandClock) -> None:
    ledger = open_ledger()
    for _ in range(5):
        ledger.acknowledged(StreamHead("audit", ledger.head("audit").epoch, 500, bytes(32)))
    first = ledger.head("audit").epoch
    assert ledger.head("audit").seq == 1
    clock.advance(RAISE_INTERVAL_MS)
    ledger.acknowledged(StreamHead("audit", first, 500, bytes(32)))
    assert ledger.head("audit").epoch > first


def test_stale_acks_of_every_kind_change_nothing(open_ledger: Open) -> None:
    ledger = open_ledger()
    ledger.append_samples("state", samples(5))
    inbound = Inbound()
    drain(ledger, "state", inbound)
    ledger.append_samples("state", samples(5))
    head = ledger.head("state")
    for stale in (
        StreamHead("state", head.epoch - 1, 7, bytes(32)),
        StreamHead("state", head.epoch, 0, NO_HASH),
        inbound.acks(GATEWAY)[0],
    ):
        assert isinstance(ledger.acknowledged(stale), Unmoved)
    assert ledger.head("state") == head
    assert ledger.acked("state").seq == 1


def test_a_fleet_that_lost_its_store_gets_again_what_is_still_kept(open_ledger: Open) -> None:
    ledger = open_ledger(tail_links=4)
    inbound = Inbound()
    for n in range(30):
        ledger.append_samples("state", samples(1, n))
    drain(ledger, "state", inbound)
    ledger.append_samples("state", samples(1, 30))
    ledger.regressed("state", 0)
    floor = ledger.floor("state")
    assert floor.seq >= 20
    assert ledger.acked("state") == floor
    fresh = Inbound()
    assert fresh.adopt(GATEWAY, floor)
    assert [batch.seq for batch in drain(ledger, "state", fresh)] == list(range(floor.seq + 1, 32))


def test_a_folder_that_is_not_there_is_a_ledger_error(open_ledger: Open) -> None:
    with pytest.raises(LedgerError):
        open_ledger("no/such/folder/agent.db")
