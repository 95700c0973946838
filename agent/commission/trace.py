"""A trace as a person reads it: one line per group, one letter per step. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.commission.controller import Controller
from agent.commission.search import Step
from agent.model.equipment import Junction

COLUMNS_MAX = 60
NAME_LENGTH_MAX = 28
RULER_EVERY = 10
LEGEND = "G green, Y yellow, R red, F flash"


@dataclass(frozen=True, slots=True)
class Row:
    """What one group showed, step by step."""

    number: int
    name: str
    aspects: str


@dataclass(frozen=True, slots=True)
class Trace:
    """What a junction showed.

    Args:
        from_ms: time of the first column; longer traces lose their beginning.
        notes: (time in ms, what happened then).
    """

    step_ms: int
    from_ms: int
    rows: tuple[Row, ...]
    notes: tuple[tuple[int, str], ...]

    def lines(self) -> list[str]:
        """The table, with a ruler of seconds above it."""
        width = max(len(row.name[:NAME_LENGTH_MAX]) for row in self.rows)
        ruler = ""
        for column in range(len(self.rows[0].aspects)):
            if column % RULER_EVERY == 0:
                ruler = ruler.ljust(column) + f"{(self.from_ms + column * self.step_ms) / 1000:g}"
        lines = [f"one letter is {self.step_ms / 1000:g} s: {LEGEND}", f"{'s':>{width + 5}}  {ruler}"]
        lines += (f"  {row.number:>2} {row.name[:NAME_LENGTH_MAX]:<{width}}  {row.aspects}" for row in self.rows)
        lines += (f"  at {at_ms / 1000:g} s: {text}" for at_ms, text in self.notes)
        return lines


def trace_of(junction: Junction, controller: Controller, steps: Sequence[Step], more: str = "") -> Trace:
    """Lay out the steps of a search.

    Args:
        more: what happened at the last step.
    """
    cut = max(0, len(steps) - COLUMNS_MAX)
    shown = [controller.shown(step.state) for step in steps[cut:]]
    rows = []
    for n, group in enumerate(junction.groups):
        letters = (
            "F" if each.is_flashing else "G" if each.greens >> n & 1 else "Y" if each.yellows >> n & 1 else "R"
            for each in shown
        )
        rows.append(Row(group.number, group.name, "".join(letters)))
    step_ms = controller.step_ms
    notes = [(place * step_ms, step.decision) for place, step in enumerate(steps) if step.decision and place >= cut]
    if more:
        notes.append(((len(steps) - 1) * step_ms, more))
    return Trace(step_ms, cut * step_ms, tuple(rows), tuple(notes))
