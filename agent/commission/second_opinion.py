"""The intergreens once more, by a solver: not states and steps, but inequalities over times of any millisecond. Pure.

Every group is green twice, whenever it likes, for as long as its least green or longer. Between two conflicting greens
the commissioned intergreen is kept, and nothing else is. Is there a choice of times in which a group turns green before
a conflicting one has cleared? ``unsat`` means there is none, for any controller that keeps these numbers.

z3 is a large package that only this check needs: without it there is no second opinion, and that is said.
"""

from dataclasses import dataclass
from enum import StrEnum

from agent.commission.clearance import required_ms
from agent.commission.trace import Row, Trace
from agent.model.equipment import Junction
from agent.model.identity import SignalGroupNumber

TIMEOUT_MS = 20_000
GREENS = 2
TRACE_STEP_MS = 500
TRACE_MS_MAX = 30_000


class Answer(StrEnum):
    """What the solver said."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    UNDECIDED = "undecided"
    NOT_ASKED = "not asked"


@dataclass(frozen=True, slots=True)
class Opinion:
    """The solver's answer.

    Args:
        text: for a person. trace: times that satisfy every number and are unsafe all the same.
    """

    answer: Answer
    text: str
    trace: Trace | None = None


NOT_ASKED = Opinion(Answer.NOT_ASKED, "")


def second_opinion(junction: Junction) -> Opinion:
    """Ask z3 about one junction's intergreens."""
    try:
        import z3
    except ImportError:
        return Opinion(Answer.NOT_ASKED, "z3 is not installed: pip install armoire[commission]")
    z3.set_param("timeout", TIMEOUT_MS)
    solver = z3.Solver()
    starts = {
        (group.number, k): z3.Int(f"start_{group.number}_{k}") for group in junction.groups for k in range(GREENS)
    }
    ends = {(group.number, k): z3.Int(f"end_{group.number}_{k}") for group in junction.groups for k in range(GREENS)}
    for group in junction.groups:
        for k in range(GREENS):
            before = ends[group.number, k - 1] + group.yellow_ms_min if k else 0
            solver.add(starts[group.number, k] >= before)
            solver.add(ends[group.number, k] >= starts[group.number, k] + group.green_ms_min)
    unsafe = []
    for pair in junction.conflicts:
        one, other = sorted(pair)
        for k in range(GREENS):
            for m in range(GREENS):
                first = starts[other, m] >= ends[one, k] + junction.intergreen_ms.get((one, other), 0)
                second = starts[one, k] >= ends[other, m] + junction.intergreen_ms.get((other, one), 0)
                solver.add(z3.Or(first, second))
                for (ending, e), (starting, s) in (((one, k), (other, m)), ((other, m), (one, k))):
                    is_later = starts[starting, s] >= starts[ending, e]
                    is_early = starts[starting, s] < ends[ending, e] + required_ms(junction, ending)
                    unsafe.append(z3.And(is_later, is_early))
    solver.add(z3.Or(unsafe))
    verdict = solver.check()
    if verdict == z3.unsat:
        return Opinion(Answer.SAFE, "unsat: no times that keep these intergreens show a conflict")
    if verdict == z3.unknown:
        return Opinion(Answer.UNDECIDED, f"z3 gave no answer within {TIMEOUT_MS // 1000} s")
    model = solver.model()
    times = {key: (model.eval(starts[key], True).as_long(), model.eval(ends[key], True).as_long()) for key in starts}
    return Opinion(Answer.UNSAFE, "sat: these times keep every number and are unsafe", _trace(junction, times))


def _trace(junction: Junction, times: dict[tuple[SignalGroupNumber, int], tuple[int, int]]) -> Trace:
    """The solver's times around the early green, in the form of every other trace."""
    from_ms, until_ms = _window(junction, times)
    rows = []
    for group in junction.groups:
        letters = []
        for at_ms in range(from_ms, until_ms, TRACE_STEP_MS):
            spans = [times[group.number, k] for k in range(GREENS)]
            is_green = any(start <= at_ms < end for start, end in spans)
            is_yellow = any(end <= at_ms < end + group.yellow_ms_min for _, end in spans)
            letters.append("G" if is_green else "Y" if is_yellow else "R")
        rows.append(Row(group.number, group.name, "".join(letters)))
    return Trace(TRACE_STEP_MS, from_ms, tuple(rows), ())


def _window(junction: Junction, times: dict[tuple[SignalGroupNumber, int], tuple[int, int]]) -> tuple[int, int]:
    """Some seconds around the first green that is too early."""
    found = min(
        begin
        for pair in junction.conflicts
        for ending in pair
        for (number, _), (started, ended) in times.items()
        if number == ending
        for (foe, _), (begin, _) in times.items()
        if foe in pair - {ending} and started <= begin < ended + required_ms(junction, ending)
    )
    from_ms = max(0, found - TRACE_MS_MAX // 2) // TRACE_STEP_MS * TRACE_STEP_MS
    return from_ms, from_ms + TRACE_MS_MAX
