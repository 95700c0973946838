"""P5: every stage, requested and left alone, is shown within 120 s, from every reachable state. Pure.

A request that stands makes the controller's next steps certain, so the wait is a walk: no clock of requests is needed
in the state. A request that another one replaces, or flash, is not waited for; both begin anew.
"""

from dataclasses import dataclass

from agent.commission.controller import FLASH, NORMAL
from agent.commission.search import Searched, Step
from agent.commission.stages import Stages

WAIT_MS_MAX = 120_000
"""Longest wait at a red: Certu sheet 20 citing IISR part 6."""
NEVER = -1
"""Instead of a number of steps: the walk goes round without coming there."""
TRACE_STEPS_MAX = 600


@dataclass(frozen=True, slots=True)
class Response:
    """How long the slowest stage was waited for.

    Args:
        steps: NEVER, or how many. stage: its number in the list of stages, 0 for the first.
        state: number of the state it was requested in.
    """

    steps: int
    stage: int
    state: int


def slowest(searched: Searched, stages: Stages) -> Response:
    """The longest wait there is; a stage that is never shown is the longest of all."""
    worst = Response(0, 0, 0)
    for stage, mask in enumerate(stages.masks):
        waits = _waits(searched, mask)
        for state, wait in enumerate(waits):
            if wait == NEVER:
                return Response(NEVER, stage, state)
            if wait > worst.steps:
                worst = Response(wait, stage, state)
    return worst


def walk(searched: Searched, stages: Stages, response: Response) -> tuple[Step, ...]:
    """What shows while the slowest stage is waited for."""
    state = response.state
    steps = [Step("", searched.states[state])]
    limit = TRACE_STEPS_MAX if response.steps == NEVER else response.steps
    for _ in range(limit):
        state = _next(searched, state, stages.masks[response.stage])
        steps.append(Step("", searched.states[state]))
    return tuple(steps)


def _waits(searched: Searched, mask: int) -> list[int]:
    """Steps from every state until exactly this stage is green, its request standing; 0 in flash, which is left to others."""
    unknown = -2
    waits = [unknown] * len(searched.states)
    for first in range(len(waits)):
        path = []
        state = first
        while waits[state] == unknown:  # Each state is met once: those on the path are marked.
            if _is_there(searched, state, mask):
                waits[state] = 0
                break
            waits[state] = NEVER
            path.append(state)
            state = _next(searched, state, mask)
        wait = waits[state]
        for passed in reversed(path):
            wait = NEVER if wait == NEVER else wait + 1
            waits[passed] = wait
    return waits


def _is_there(searched: Searched, state: int, mask: int) -> bool:
    phase = searched.states[state][0]
    return phase == FLASH or (phase == NORMAL and searched.controller.shown(searched.states[state]).greens == mask)


def _next(searched: Searched, state: int, mask: int) -> int:
    controller, here = searched.controller, searched.states[state]
    decision = controller.decided(controller.choice(here), mask) if here[0] == NORMAL else (0, 0)
    return searched.moves[state][decision]
