"""The table of points says exactly what changed, whatever happens to the equipment."""

from hypothesis import given
from hypothesis import strategies as st

from agent.model.identity import EquipmentId
from agent.model.observation import PointValue, Quality, Scalar
from agent.runtime.points import PointTable

METER = EquipmentId("meter-1")
NAMES = ("a", "b", "c")
readings = st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(0, 3), max_size=3)
happenings = st.lists(
    st.one_of(st.tuples(readings, st.frozensets(st.sampled_from(NAMES))), st.sampled_from(["silent", "nonsense"])),
    max_size=30,
)


@given(happenings)
def test_whoever_follows_the_changes_knows_the_table_and_hears_nothing_twice(
    happened: list[tuple[dict[str, Scalar], frozenset[str]] | str],
) -> None:
    table, followed = PointTable(), dict[str, tuple[Scalar, Quality]]()
    for now_ms, each in enumerate(happened, start=1):
        if each == "silent":
            changed = table.silence(METER, NAMES, now_ms)
        elif each == "nonsense":
            changed = table.disbelieve(METER, NAMES, now_ms)
        else:
            values, bad = each
            changed = table.take(METER, values, bad, now_ms)  # type: ignore[arg-type]
        for change in changed:
            told = (change.value, change.quality)
            assert followed.get(change.point) != told
            followed[change.point] = told
        shown = {f"{METER}/{name}": (seen.value, seen.quality) for name, seen in table.of(METER).items()}
        assert followed == shown
        if each == "silent":
            assert {quality for _, quality in followed.values()} <= {Quality.STALE, Quality.BAD}
            assert table.silence(METER, NAMES, now_ms) == []
        if each == "nonsense":
            assert set(followed.values()) == {(None, Quality.BAD)}


def test_a_stale_point_keeps_its_last_value_and_its_time() -> None:
    table = PointTable()
    table.take(METER, {"a": 230.5}, (), 1_000)
    assert table.silence(METER, ("a", "b"), 9_000) == [
        PointValue("meter-1/a", 230.5, Quality.STALE, 1_000),
        PointValue("meter-1/b", None, Quality.STALE, 9_000),
    ]
    assert table.take(METER, {"a": 230.5}, (), 10_000) == [PointValue("meter-1/a", 230.5, Quality.GOOD, 10_000)]


def test_what_was_bad_does_not_become_merely_stale() -> None:
    table = PointTable()
    table.take(METER, {"a": None}, {"a"}, 1_000)
    assert table.silence(METER, ("a",), 2_000) == []
    assert table.of(METER)["a"].quality is Quality.BAD
