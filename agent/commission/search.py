"""Every reachable state of a junction: breadth first, every request at every step. Pure.

A request that changes nothing at a step is the same as any other such request: of all stages only those are followed
that let different groups end or start. Loss of control is a request too: from then on the controller's own plan asks.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from agent.commission.auditor import Audit, Auditor, Breach
from agent.commission.controller import FLASH, NORMAL, Choice, Controller, State
from agent.commission.stages import Stages

STATES_MAX = 300_000
"""About a quarter of a gigabyte and half a minute. A junction with more is proven pair by pair (``proof``)."""
PROGRESS_STATES = 2_000
Decision = tuple[int, int]
"""Groups that end, groups that start."""
Node = tuple[int, Audit]
Progress = Callable[[int], None]

FLASH_DECISION: Decision = (-1, 0)
LEAVE_DECISION: Decision = (-2, 0)
_WORDS = {FLASH_DECISION: "flash", LEAVE_DECISION: "flash ends"}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a trace: what was decided, and the state after it."""

    decision: str
    state: State


@dataclass(slots=True)
class Searched:
    """What a search found.

    Args:
        states: every state of the controller, in the order it was reached. moves: per state its decisions and where
            each leads. breach: the first broken property, with the shortest way to it.
        is_whole: nothing was left out.
    """

    controller: Controller
    states: list[State] = field(default_factory=list)
    moves: list[dict[Decision, int]] = field(default_factory=list)
    count: int = 0
    transitions: int = 0
    breach: Breach | None = None
    trace: tuple[Step, ...] = ()
    is_whole: bool = True


def search(
    controller: Controller,
    auditor: Auditor,
    stages: Stages,
    progress: Progress = lambda _states: None,
    states_max: int = STATES_MAX,
) -> Searched:
    """Explore until everything is known, a property breaks or ``states_max`` states are reached.

    Args:
        progress: told now and then how many states are known.
    """
    found = Searched(controller, [controller.start], [{}])
    numbers = {controller.start: 0}
    first: Node = (0, auditor.start)
    parents: dict[Node, tuple[Node, Decision] | None] = {first: None}
    waiting = deque((first,))
    decisions = Decisions(controller, stages)
    while waiting:
        node = waiting.popleft()
        number, audit = node
        state = found.states[number]
        for decision in decisions.of(state):
            found.transitions += 1
            reached = after(controller, state, decision)
            seen, breach = auditor.see(audit, controller.shown(reached))
            if breach is not None:
                found.breach, found.count = breach, len(parents)
                found.trace = (*_way(found, parents, node), Step(word_of(decision), reached))
                return found
            if reached not in numbers:
                numbers[reached] = len(found.states)
                found.states.append(reached)
                found.moves.append({})
            found.moves[number][decision] = numbers[reached]
            next_ = (numbers[reached], seen)
            if next_ not in parents:
                parents[next_] = (node, decision)
                waiting.append(next_)
        if len(parents) > states_max:
            found.is_whole = False
            break
        if len(parents) % PROGRESS_STATES < 2:
            progress(len(parents))
    found.count = len(parents)
    return found


class Decisions:
    """What different requests make a controller do."""

    def __init__(self, controller: Controller, stages: Stages) -> None:
        self._controller = controller
        self._stages = stages
        self._known: dict[Choice, tuple[Decision, ...]] = {}

    def of(self, state: State) -> Iterator[Decision]:
        """Every different decision in a state, flash among them."""
        if state[0] == FLASH:
            yield LEAVE_DECISION
        elif state[0] == NORMAL:
            choice = self._controller.choice(state)
            if choice not in self._known:
                decided = (self._controller.decided(choice, stage) for stage in self._stages.masks)
                self._known[choice] = tuple(dict.fromkeys(decided))
            yield from self._known[choice]
        else:
            yield (0, 0)
        yield FLASH_DECISION


def after(controller: Controller, state: State, decision: Decision) -> State:
    """The state one step later."""
    if decision == FLASH_DECISION:
        return controller.flash(state)
    if decision == LEAVE_DECISION:
        return controller.leave_flash(state)
    return controller.run(state, *decision)


def word_of(decision: Decision) -> str:
    """A decision for a person; empty for what needs no word."""
    return _WORDS.get(decision, "")


def _way(found: Searched, parents: dict[Node, tuple[Node, Decision] | None], node: Node) -> tuple[Step, ...]:
    """The shortest way to a node, from the start on."""
    steps = []
    before = parents[node]
    while before is not None:  # Ends at the start, which has no parent.
        steps.append(Step(word_of(before[1]), found.states[node[0]]))
        node = before[0]
        before = parents[node]
    steps.append(Step("", found.states[node[0]]))
    return tuple(reversed(steps))
