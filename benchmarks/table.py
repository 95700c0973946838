"""A measurement's result: rows of repeated values, and how they were come by."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

P99_VALUES_MIN = 100
"""With fewer values the 99th percentile would only be another word for the maximum."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, measured again and again.

    Args:
        values: every repetition, in order; at least one.
        target: what it should be, in words; empty if nothing was promised.
    """

    name: str
    unit: str
    values: tuple[float, ...]
    target: str = ""

    @property
    def p99(self) -> float | None:
        """The 99th percentile, None for too few values."""
        if len(self.values) < P99_VALUES_MIN:
            return None
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]

    def cells(self) -> list[str]:
        """The row as text: name, unit, n, min, median, p99, max, target."""
        p99 = self.p99
        figures = (min(self.values), median(self.values), p99, max(self.values))
        shown = ["" if each is None else written(each) for each in figures]
        return [self.name, self.unit, str(len(self.values)), *shown, self.target]


HEADINGS = ("figure", "unit", "n", "min", "median", "p99", "max", "target")


@dataclass(slots=True)
class Table:
    """One benchmark's figures.

    Args:
        method: how they were measured, in sentences a reader can check.
        remarks: what else was seen in this run.
    """

    title: str
    method: str
    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(self, name: str, unit: str, values: Sequence[float], target: str = "") -> None:
        """Add a figure, unless there is none."""
        if values:
            self.rows.append(Row(name, unit, tuple(values), target))


def written(value: float) -> str:
    """A number as a person writes it: three digits that mean something."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 or size == 0 else f"{value:.3f}"
