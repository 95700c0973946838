"""Tables on the page: replaced whole, and nothing beside them."""

from datetime import UTC, datetime
from pathlib import Path

from benchmarks import page
from benchmarks.machine import Machine
from benchmarks.table import Row, Table, written

MACHINE = Machine("CPU", 2, 4.0, "6.1", "3.11", "abc", {"sqlite": "3.40"})
THEN = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


def table(value: float) -> Table:
    made = Table("Title", "Method.")
    made.add("figure", "ms", [value, value + 2], "≤ 9")
    made.add("never measured", "ms", [])
    return made


def test_a_part_is_added_once_and_then_replaced(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    path.write_text("# By hand\n")
    for name, value in (("one", 1.0), ("two", 2.0), ("one", 5.0)):
        page.write(name, table(value), MACHINE, [0.1, 0.2], THEN, path)
    text = path.read_text()
    assert text.startswith("# By hand\n\n<!-- one: begin -->\n## Title\n\nMethod.\n")
    assert text.count("<!-- one: begin -->") == text.count("<!-- two: end -->") == 1
    assert "| figure | ms | 2 | 5.00 | 6.00 |  | 7.00 | ≤ 9 |" in text
    assert "| figure | ms | 2 | 1.00 |" not in text
    assert "never measured" not in text
    assert "2026-01-02 03:04 UTC, load average 0.1 → 0.2" in text


def test_the_99th_percentile_needs_a_hundred_values() -> None:
    assert Row("x", "ms", tuple(range(99))).p99 is None
    assert Row("x", "ms", tuple(range(100))).p99 == 99
    assert Row("x", "ms", tuple(range(1000))).p99 == 990


def test_numbers_are_written_with_three_digits_that_mean_something() -> None:
    assert [written(value) for value in (12345.6, 100, 45.67, 1.234, 0.1234, 0)] == [
        "12,346", "100", "45.7", "1.23", "0.123", "0.00",
    ]  # fmt: skip
