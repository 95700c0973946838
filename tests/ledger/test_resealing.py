"""A new epoch under a quota: what was not acknowledged is sealed again, or a signed gap record counts it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ledger.ledger import RAISE_INTERVAL_MS, Ledger
from agent.ledger.linking import SHED_KIND, batch_of
from agent.model.observation import PointValue, Quality
from agent.wire import envelope
from agent.wire.chain import Chain
from agent.wire.messages import Event
from agent.wire.receiving import Fate, Inbound
from agent.wire.sealing import OpenedBatch
from agent.wire.streams import SHEDDABLE, Durable, gap_of
from tests.wire.party import CITY, GATEWAY, T0_MS, HandClock, signer

STREAMS = ("alarm", "tele", "safety")
EPOCH_KIND = "stream.epoch"


class Told:
    """Everything the fleet was told: records by their text, and how many were shed."""

    def __init__(self) -> None:
        self.inbound = Inbound()
        self.records: list[str] = []
        self.epochs = 0
        self.shed = 0

    def deliver(self, ledger: Ledger, stream: str, limit: int) -> None:
        """Deliver the next links and acknowledge them."""
        links = ledger.sealed_after(stream, ledger.head(stream).epoch, ledger.acked(stream).seq, limit)
        for link in links:
            batch = batch_of(link.sealed)
            received = self.inbound.receive(batch, envelope.digest(link.sealed))
            assert received.fate is Fate.STORE, received
            self.records += [str(value) for value in batch.values]
            if gap := gap_of(batch):
                self.shed += gap.count
                continue
            for event in batch.events:
                if event.kind == SHED_KIND:
                    self.shed += int(str(event.detail["count"]))
                elif event.kind == EPOCH_KIND:
                    self.epochs += 1
                else:
                    self.records.append(event.text)
        self.inbound.committed()
        for head in self.inbound.acks(GATEWAY):
            if links and head.stream == stream:
                assert isinstance(ledger.acknowledged(head), Durable)


@contextmanager
def opened(folder: Path, clock: HandClock, quotas: dict[str, int]) -> Iterator[Ledger]:
    key = signer(f"{GATEWAY}/agent/1")
    ledger = Ledger(folder / "a.db", key, CITY, GATEWAY, STREAMS, clock, quotas=quotas, tail_links=5)
    ledger._database.execute("PRAGMA synchronous=OFF")  # The order matters here, not the power cut.
    try:
        yield ledger
    finally:
        ledger.close()


def append(ledger: Ledger, stream: str, texts: Sequence[str]) -> None:
    if stream == "tele":
        ledger.append_samples(stream, [PointValue("p/x", text, Quality.GOOD, T0_MS) for text in texts])
    else:
        ledger.append_events(stream, [Event(0, "link.lost", "j1", "", text, {}) for text in texts])


@pytest.mark.parametrize("stream", ["alarm", "safety"])
def test_two_hundred_alarms_beyond_the_quota_all_pass_into_the_new_epoch_in_order(tmp_path: Path, stream: str) -> None:
    texts = [f"{n} " + "." * 150 for n in range(200)]
    with opened(tmp_path, HandClock(), {stream: 60_000}) as ledger:
        for text in texts:
            append(ledger, stream, [text])
        assert ledger.raise_epoch(stream, 0, "for the test")
        told = Told()
        told.deliver(ledger, stream, 1_000)
        assert (told.records, told.epochs, told.shed) == (texts, 1, 0)


def test_telemetry_that_no_longer_fits_is_counted_in_one_gap_record(tmp_path: Path) -> None:
    with opened(tmp_path, HandClock(), {"tele": 20_000}) as ledger:
        made = 0
        while ledger.size_bytes("tele") < 19_800:
            append(ledger, "tele", [f"{made} " + "." * 50])
            made += 1
        assert ledger.raise_epoch("tele", 0, "for the test")
        assert ledger.size_bytes("tele") <= 20_000
        first, *rest = [
            batch_of(link.sealed) for link in ledger.sealed_after("tele", ledger.head("tele").epoch, 0, 999)
        ]
        gap = gap_of(first)
        assert gap is not None
        assert gap.count + len(rest) == made + 1  # And the event that says why.
        told = Told()
        told.deliver(ledger, "tele", 999)
        assert told.records[-1].startswith(f"{made - 1} ")


def test_an_epoch_is_not_kept_twice_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path, HandClock(), {"alarm": 10_000}) as ledger:
        for n in range(200):
            append(ledger, "alarm", [f"{n}" + "." * 150])
        size_bytes = ledger.size_bytes("alarm")
        sizes = []
        link = ledger._link
        monkeypatch.setattr(ledger, "_link", lambda *args: (link(*args), sizes.append(ledger.size_bytes("alarm"))))
        assert ledger.raise_epoch("alarm", 0, "for the test")
        assert len(sizes) == 201
        assert max(sizes) < size_bytes + 2_000


def test_shed_once_and_sealed_again_and_shed_again_stays_counted(tmp_path: Path) -> None:
    clock = HandClock()
    with opened(tmp_path, clock, {"tele": 5_000}) as ledger:
        made = 0
        for _ in range(4):
            for _ in range(40):
                append(ledger, "tele", [f"{made} " + "." * 50])
                made += 1
            clock.advance(RAISE_INTERVAL_MS)
            assert ledger.raise_epoch("tele", 0, "for the test")
        told = Told()
        told.deliver(ledger, "tele", 999)
        assert len(told.records) + told.shed + told.epochs == made + 4


def check_evidence(ledger: Ledger, stream: str) -> None:
    """What is kept of older epochs can be checked offline: each follows the end of the one before."""
    chain = Chain()
    for _, _, sealed in ledger.page(stream, (0, 0), 100_000).rows:
        chain.follow(OpenedBatch("", batch_of(sealed), envelope.digest(sealed)))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.sampled_from(STREAMS), st.integers(1, 12)),
        st.tuples(st.just("deliver"), st.sampled_from(STREAMS), st.integers(1, 6)),
        st.tuples(st.just("raise"), st.sampled_from(STREAMS), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(1, 300), st.integers(600, 8_000))
def test_whatever_the_mix_the_quota_and_the_moment_every_record_is_there_once_or_counted(
    steps: list[tuple[str, str, int]], length: int, quota_bytes: int
) -> None:
    clock = HandClock()
    made: Counter[str] = Counter()
    raised: Counter[str] = Counter()
    told = {stream: Told() for stream in STREAMS}
    with TemporaryDirectory() as folder, opened(Path(folder), clock, dict.fromkeys(STREAMS, quota_bytes)) as ledger:
        for step, stream, count in steps:
            match step:
                case "append":
                    append(ledger, stream, [f"{made[stream] + n} " + "." * length for n in range(count)])
                    made[stream] += count
                case "deliver":
                    told[stream].deliver(ledger, stream, count)
                case _:
                    clock.advance(RAISE_INTERVAL_MS)
                    assert ledger.raise_epoch(stream, 0, "for the test")
                    raised[stream] += 1
            check_evidence(ledger, stream)
        for stream, fleet in told.items():
            fleet.deliver(ledger, stream, 100_000)
    for stream, fleet in told.items():
        numbers = [int(text.split()[0]) for text in fleet.records]
        assert numbers == sorted(set(numbers))
        assert len(numbers) + fleet.shed + fleet.epochs == made[stream] + raised[stream]
        if stream not in SHEDDABLE:
            assert numbers == list(range(made[stream]))


def test_what_stays_of_older_epochs_has_no_hole_in_it(tmp_path: Path) -> None:
    clock = HandClock()
    with opened(tmp_path, clock, {"alarm": 10_000}) as ledger:
        append(ledger, "alarm", ["one"])
        assert ledger.raise_epoch("alarm", 0, "for the test")
        while ledger.size_bytes("alarm") < 8_000:
            append(ledger, "alarm", ["." * 50])
        clock.advance(RAISE_INTERVAL_MS)
        assert ledger.raise_epoch("alarm", 0, "for the test")
        check_evidence(ledger, "alarm")
