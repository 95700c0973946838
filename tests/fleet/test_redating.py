"""Records made before a gateway knew the time, at the manager: shown as undated, dated by a signed mark, never rewritten."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import event, select

from agent.wire.messages import Event, Value
from fleet import changes, page, redating, schema, store
from fleet.answers import EventAnswer, SampleAnswer
from fleet.changes import Change
from fleet.folder import Trust
from tests.fleet.conftest import GATEWAYS
from tests.fleet.intake import Bench
from tests.fleet.standin import StandIn, unix_ms

BOOT, OTHER = bytes(range(8)), bytes(range(8, 16))
NOW = unix_ms()
MINUTE = 60_000
StandIns = Callable[..., StandIn]


def history(bench: Bench, name: str = "level_percent") -> list[SampleAnswer]:
    return bench.store.read(lambda connection: store.history(connection, ("gw-darcy", "segment-1"), name, 0, 100))


def events(bench: Bench) -> list[EventAnswer]:
    return bench.store.read(lambda connection: store.events(connection, 100))[::-1]


def newest(told: Iterable[Change]) -> dict[str, int]:
    """Point -> when its newest value was read, as the console is told."""
    sampled = (each for each in told if isinstance(each, changes.Sampled))
    return {f"{equipment}/{name}": point.t_ms for each in sampled for equipment, name, point in each.values}


def undated(
    voice: StandIn, mono_ms: int, value: Value = 40, *, clock: int = 0, boot: bytes = BOOT
) -> tuple[str, bytes]:
    """A sample read half a second before it was sealed."""
    t0_ms = mono_ms if clock == 0 else NOW - 10 * 365 * 86_400_000 + mono_ms
    return voice.link(
        "state", names=["segment-1/level_percent"], points=[0], dt_ms=[-500], values=[value],
        t0_ms=t0_ms, mono_ms=mono_ms, clock=clock, boot=boot,
    )  # fmt: skip


def happened(voice: StandIn, mono_ms: int, stream: str = "audit") -> tuple[str, bytes]:
    said = [Event(0, "mode", "segment-1", "", "held", {}), Event(-1_000, "link.lost", "", "", "", {})]
    return voice.link(stream, events=said, t0_ms=mono_ms, mono_ms=mono_ms, clock=0, boot=BOOT)


def mark_detail(boot: bytes, mono_ms: int, at_ms: int = NOW, clock: int = 2) -> dict[str, Value]:
    return {"boot": boot.hex(), "mono_ms": mono_ms, "unix_ms": at_ms, "clock": clock, "within_ms": 40}


def marked(
    voice: StandIn, mono_ms: int, at_ms: int = NOW, *, boot: bytes = BOOT, clock: int = 2, stream: str = "audit"
) -> tuple[str, bytes]:
    """At ``mono_ms`` of the boot it was ``at_ms``, give or take 40 ms."""
    said = Event(0, "clock.mark", "", "", "the network keeps the time", mark_detail(boot, mono_ms, at_ms, clock))
    return voice.link(stream, events=[said], t0_ms=at_ms, mono_ms=mono_ms, clock=clock, boot=boot)


def test_an_undated_record_is_shown_as_such_until_its_mark_comes(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    told = bench.take(voice.birth(), undated(voice, 5 * MINUTE), happened(voice, 6 * MINUTE))
    (sample,) = history(bench)
    assert (sample.t_ms, sample.time, sample.within_ms) == (5 * MINUTE - 500, "unknown", 0)
    assert [(each.t_ms, each.time) for each in events(bench)] == [
        (6 * MINUTE, "unknown"),
        (6 * MINUTE - 1_000, "unknown"),
    ]
    assert newest(told)["segment-1/level_percent"] == 5 * MINUTE - 500
    told = bench.take(marked(voice, 15 * MINUTE))
    (sample,) = history(bench)
    assert (sample.t_ms, sample.time) == (NOW - 10 * MINUTE - 500, "re-dated")
    assert sample.within_ms == 40 + 60, "the mark's own error, and 100 ppm of the ten minutes between"
    mode, lost, mark = events(bench)
    assert [each.t_ms for each in (mode, lost, mark)] == [NOW - 9 * MINUTE, NOW - 9 * MINUTE - 1_000, NOW]
    assert [each.time for each in (mode, lost, mark)] == ["re-dated", "re-dated", "clock"]
    assert newest(told) == {"segment-1/level_percent": NOW - 10 * MINUTE - 500}
    assert bench.undated() == 0


def test_the_envelopes_stay_as_they_were_signed(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    messages = [undated(voice, 5 * MINUTE), happened(voice, 6 * MINUTE), marked(voice, 15 * MINUTE)]
    bench.take(*messages)
    kept = bench.store.read(lambda connection: connection.execute(select(schema.links.c.envelope)).scalars().all())
    assert kept == [sealed for _, sealed in messages]
    query = select(schema.undated.c.t0_ms, schema.undated.c.shift_ms).order_by(schema.undated.c.link_no)
    rows = bench.store.read(lambda connection: connection.execute(query).all())
    assert [tuple(row) for row in rows] == [(n * MINUTE, NOW - 15 * MINUTE) for n in (5, 6)]


@pytest.mark.parametrize("together", [True, False])
def test_the_order_in_which_record_and_mark_arrive_does_not_matter(
    bench: Bench, standin: StandIns, together: bool
) -> None:
    voice = standin()
    mark, late = marked(voice, 15 * MINUTE), undated(voice, 5 * MINUTE)
    for group in [[mark, late]] if together else [[mark], [late]]:
        told = bench.take(*group)
    assert [(each.t_ms, each.time) for each in history(bench)] == [(NOW - 10 * MINUTE - 500, "re-dated")]
    assert newest(told) == {"segment-1/level_percent": NOW - 10 * MINUTE - 500}


def test_a_newer_value_is_not_dated_back_by_an_older_one(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    bench.take(undated(voice, 5 * MINUTE), voice.samples({"segment-1/level_percent": 80}, t_ms=NOW + 5))
    bench.take(marked(voice, 15 * MINUTE))
    registry = bench.store.registry()
    assert registry.gateway("gw-darcy").points["segment-1"]["level_percent"].t_ms == NOW + 5
    assert [each.t_ms for each in history(bench)] == [NOW - 10 * MINUTE - 500, NOW + 5]


def test_a_clock_of_its_own_that_was_ten_years_behind_is_corrected_too(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    bench.take(undated(voice, 5 * MINUTE, clock=1))
    (sample,) = history(bench)
    assert (sample.time, sample.t_ms < NOW - 9 * 365 * 86_400_000) == ("own clock", True)
    bench.take(marked(voice, 15 * MINUTE))
    assert [(each.t_ms, each.time) for each in history(bench)] == [(NOW - 10 * MINUTE - 500, "re-dated")]


def test_a_better_clock_dates_again_what_a_worse_one_has_dated(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    bench.take(undated(voice, 5 * MINUTE), marked(voice, 10 * MINUTE, NOW - 7 * MINUTE, clock=1))
    assert [each.t_ms for each in history(bench)] == [NOW - 12 * MINUTE - 500]
    bench.take(marked(voice, 15 * MINUTE))
    assert [each.t_ms for each in history(bench)] == [NOW - 10 * MINUTE - 500]
    bench.take(marked(voice, 20 * MINUTE, NOW + 99 * MINUTE))
    assert [each.t_ms for each in history(bench)] == [NOW - 10 * MINUTE - 500], "as good a clock changes nothing"


def test_a_mark_of_another_boot_or_another_gateway_or_the_agent_s_dates_nothing_of_the_guard(
    bench: Bench, standin: StandIns
) -> None:
    voice, other = standin(), standin(GATEWAYS[1])
    bench.take(happened(voice, 6 * MINUTE, "safety"), undated(voice, 5 * MINUTE))
    bench.take(marked(voice, 15 * MINUTE, boot=OTHER), marked(other, 15 * MINUTE))
    assert bench.undated() == 2
    bench.take(marked(voice, 15 * MINUTE))
    assert [each.time for each in events(bench) if each.stream == "safety"] == ["unknown", "unknown"]
    bench.take(marked(voice, 15 * MINUTE, stream="safety"))
    assert [each.time for each in events(bench) if each.kind == "mode"] == ["re-dated"]


def test_a_mark_that_makes_no_sense_is_an_event_and_no_more(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    detail: dict[str, Value] = {"boot": "zz", "mono_ms": -1, "unix_ms": "soon", "clock": 9}
    bench.take(undated(voice, 5 * MINUTE), voice.link("audit", events=[Event(0, "clock.mark", "", "", "", detail)]))
    assert [each.time for each in history(bench)] == ["unknown"]


def test_a_long_time_without_the_time_is_dated_a_part_at_a_time_also_over_a_restart(
    bench: Bench, standin: StandIns, monkeypatch: pytest.MonkeyPatch, trust: Trust, tmp_path: Path
) -> None:
    monkeypatch.setattr(redating, "LINKS_PER_TURN_MAX", 4)
    voice = standin()
    bench.take(*(undated(voice, n * MINUTE, n) for n in range(1, 11)))
    bench.take(marked(voice, 15 * MINUTE))
    assert bench.undated() == 6
    bench.ingest.rolled_back(bench.store.standing())
    bench.take(voice.heartbeat())
    bench.take(voice.heartbeat())
    assert [each.t_ms for each in history(bench)] == [NOW - (15 - n) * MINUTE - 500 for n in range(1, 11)]


def test_a_manager_that_does_not_store_dates_nothing(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    bench.ingest.is_storing = False
    bench.take(undated(voice, 5 * MINUTE), marked(voice, 15 * MINUTE))
    assert bench.count(schema.undated) == bench.count(schema.clock_marks) == 0


@contextmanager
def counted(bench: Bench) -> Iterator[list[str]]:
    """What the database is asked."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(bench.store.engine, "before_cursor_execute", note)
    try:
        yield asked
    finally:
        event.remove(bench.store.engine, "before_cursor_execute", note)


@pytest.mark.parametrize("is_dated", [True, False])
def test_a_gateway_that_seals_thousands_of_marks_costs_a_few_statements_and_a_few_rows(
    bench: Bench, standin: StandIns, is_dated: bool
) -> None:
    voice = standin()
    bench.take(voice.birth(), *(marked(voice, 15 * MINUTE, boot=bytes([9, n])) for n in range(20)))
    group = []
    for n in range(500):
        boots = [bytes([n >> 8, n & 255, k]) for k in range(5)]
        said = [Event(0, "clock.mark", "", "", "", mark_detail(each, n + 1)) for each in boots]
        clock = 2 if is_dated else 0
        group.append(voice.link("audit", events=said, t0_ms=n, mono_ms=n, clock=clock, boot=boots[0]))
    before = bench.rejections()[GATEWAYS[0], "mark"]
    with counted(bench) as asked:
        bench.take(*group)
    assert len(asked) < 150, len(asked)
    assert bench.count(schema.clock_marks) == redating.BOOTS_MAX
    assert bench.rejections()[GATEWAYS[0], "mark"] - before == 2_500 - redating.BOOTS_MAX
    bench.take(*(marked(voice, n, boot=BOOT) for n in range(50)))
    newest = redating.BOOTS_MAX - 1 + redating.MARKS_PER_BOOT_MAX
    assert bench.count(schema.clock_marks) == newest
    bench.take(undated(voice, 5 * MINUTE))
    assert [each.time for each in history(bench)] == ["re-dated"]


def test_a_mark_that_has_just_come_is_kept_whatever_time_it_says(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    bench.take(*(marked(voice, 1, 2 * NOW + n, boot=bytes([9, n])) for n in range(redating.BOOTS_MAX)))
    bench.take(undated(voice, 5 * MINUTE), marked(voice, 15 * MINUTE))
    assert [(each.t_ms, each.time) for each in history(bench)] == [(NOW - 10 * MINUTE - 500, "re-dated")]


def test_a_page_says_how_a_time_is_known() -> None:
    known = page.clock(NOW)
    rows = [
        ("clock", 0, NOW),
        ("unknown", 0, 300_000),
        ("re-dated", 61, NOW),
        ("re-dated", -1, NOW),
        ("own clock", 0, NOW),
    ]
    told = [page.when({"time": time, "within_ms": within_ms, "t_ms": t_ms}) for time, within_ms, t_ms in rows]
    assert told == [
        known,
        "start + 300 s",
        f"{known} ± 0.1 s",
        f"{known} by its own clock",
        f"{known} by its own clock",
    ]
    assert page.when({"t_ms": NOW}) == known


def test_a_gateway_s_clock_is_shown(bench: Bench, standin: StandIns) -> None:
    voice = standin()
    told = bench.take(voice.birth())
    (born,) = (each for each in told if isinstance(each, changes.Born))
    registry = bench.store.registry()
    registry.born(born.birth, NOW)
    assert registry.gateway("gw-darcy").clock == 2
