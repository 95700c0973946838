"""Bad input: counted by reason, told in events and metrics, judged slowly on the topic it comes on, and no neighbour's loss."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.wire.rejections import JUDGED_AT_ONCE, JUDGED_PER_S, TELL_PERIOD_MS, THROTTLED, TOPICS_MAX, Rejections
from fleet import presence, schema
from fleet.arrival import Arrival
from fleet.folder import Trust
from fleet.ingest import Ingest
from fleet.metrics import Figures, Metrics
from fleet.rows import Rows
from fleet.standing import Known
from fleet.store import Store
from fleet.writer import Writer
from tests.attack.sync.test_against_fleet import MakeVoice
from tests.fleet.intake import CITY, Bench
from tests.fleet.standin import unix_ms
from tests.waiting import wait_until
from tests.wire.party import signer

FORGED = 10_000
GROUP = 500


def test_ten_thousand_forgeries_on_one_topic_cost_their_neighbours_nothing(bench: Bench, standin: MakeVoice) -> None:
    voice, neighbour = standin(), standin("gw-monge")
    topic = str(voice.topic("state"))
    forged = (topic, signer("thief/1").seal(b"\x90", voice.topic("state")))
    noise = (topic, b"\xd2\x84 nothing of ours")
    now_ms, began_s = unix_ms(), time.thread_time()
    for n in range(FORGED // GROUP):
        good = [neighbour.samples({"a/b": n}), voice.event("fault", stream="alarm")]
        bench.take(*[forged, noise] * (GROUP // 4), *good, *[noise, forged] * (GROUP // 4), now_ms=now_ms + 100 * n)
    took_s = time.thread_time() - began_s
    assert bench.count(schema.links) == 2 * FORGED // GROUP
    rejections = bench.rejections()
    assert sum(rejections.values()) == FORGED
    assert set(rejections) == {("gw-darcy", "unknown-key"), ("gw-darcy", "envelope"), ("gw-darcy", THROTTLED)}
    judged = FORGED - rejections["gw-darcy", THROTTLED]
    assert JUDGED_AT_ONCE <= judged <= JUDGED_AT_ONCE + JUDGED_PER_S * 3
    assert bench.kinds().count("messages.rejected") == 1
    print(f"{FORGED} forgeries among good links: {took_s:.2f} s")


def test_what_is_rejected_is_in_the_metrics_by_reason() -> None:
    text = Metrics(lambda: Figures({}, {}, {"signature": 3, THROTTLED: 7}, {})).text().decode()
    assert 'armoire_fleet_rejections_total{reason="signature"} 3.0' in text
    assert 'armoire_fleet_rejections_total{reason="throttled"} 7.0' in text


def test_an_event_a_minute_tells_how_many_and_why(bench: Bench, standin: MakeVoice) -> None:
    topic, now_ms = str(standin().topic("state")), unix_ms()
    bench.take((topic, b""), (topic, b""), now_ms=now_ms)
    bench.take((topic, b""), now_ms=now_ms + TELL_PERIOD_MS - 1)
    assert bench.kinds() == ["messages.rejected"]
    bench.take(now_ms=now_ms + TELL_PERIOD_MS)
    assert bench.kinds() == ["messages.rejected"] * 2
    bench.take(now_ms=now_ms + 10 * TELL_PERIOD_MS)
    assert bench.kinds() == ["messages.rejected"] * 2


def test_a_topic_that_was_flooded_is_heard_again(bench: Bench, standin: MakeVoice) -> None:
    voice = standin()
    topic, now_ms = str(voice.topic("state")), unix_ms()
    good = voice.samples({"a/b": 1})
    bench.take(*[(topic, b"")] * (JUDGED_AT_ONCE + 50), good, now_ms=now_ms)
    assert bench.count(schema.links) == 0
    bench.take(good, now_ms=now_ms + 1_000)
    assert bench.count(schema.links) == 1


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5_000, 60_000), st.booleans()), max_size=400))
def test_nothing_is_lost_in_counting_and_no_topic_pays_for_another(steps: list[tuple[str, int, bool]]) -> None:
    rejections, now_ms, told, bad = Rejections(), 0, 0, 0
    for topic, step_ms, is_bad in steps:
        now_ms += step_ms
        if not rejections.may_judge(topic, now_ms):
            bad += 1
        elif is_bad:
            rejections.rejected(topic, "envelope", "why", now_ms)
            bad += 1
        told += sum(sum(notice.counts.values()) for notice in rejections.notices(now_ms))
        assert rejections.may_judge("quiet", now_ms)
    told += sum(sum(notice.counts.values()) for notice in rejections.notices(now_ms + TELL_PERIOD_MS + 10**9))
    assert told == bad == sum(rejections.counts.values())


def test_a_million_topics_fill_no_memory() -> None:
    rejections = Rejections()
    for n in range(TOPICS_MAX + 500):
        rejections.rejected(f"t/{n}", "topic", "no topic of ours", 0)
    assert len(rejections._places) == TOPICS_MAX
    assert rejections.counts == {"topic": TOPICS_MAX + 500}


async def test_a_message_that_the_database_will_not_have_is_left_out_and_its_neighbours_are_stored(
    tmp_path: Path, trust: Trust, standin: MakeVoice, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a decoder lets through one day: here, a column that takes no name."""
    voice, neighbour = standin(), standin("gw-monge")
    store = Store(tmp_path / "fleet.db")
    ingest = Ingest(CITY, trust.ring, trust.director, store.standing(), 7)
    kept = presence.keep

    def keep_badly(known: Known, gateway: str, rows: Rows) -> None:
        kept(known, gateway, rows)
        if gateway == "gw-darcy":
            rows.gateways[gateway] = (*rows.gateways[gateway][:2], None, *rows.gateways[gateway][3:])

    monkeypatch.setattr(presence, "keep", keep_badly)
    writer = Writer(store, ingest, lambda _changes: None, unix_ms)
    for n in range(20):
        writer.arrived(Arrival(*neighbour.samples({"a/b": n})))
        if n == 7:
            writer.arrived(Arrival(*voice.birth()))
    writer.start()
    await wait_until(lambda: ingest.tally.batches >= 20)
    await writer.stop()
    assert (writer.problem, ingest.standing.rejections) == ("", {("gw-darcy", "message"): 1})
    store.close()
    assert neighbour.head("state").seq == 20
