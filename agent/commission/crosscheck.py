"""The observer looks at what the search calls lawful, and must have nothing to say. Pure: walks are drawn from a fixed seed.

The other way round, that it speaks of what is unlawful, is for its own tests.
"""

from dataclasses import dataclass
from random import Random

from agent.commission.controller import FLASH, NORMAL
from agent.commission.search import FLASH_DECISION, LEAVE_DECISION, Decision, Searched, Step, word_of
from agent.commission.stages import Stages
from agent.model.equipment import Junction
from agent.model.observation import JunctionObserved
from agent.safety.matrix import FlashStatus
from agent.safety.observer import JunctionMemory, Trip, watch

SAMPLE_MS = 100
"""As often as the guard looks."""
SAMPLES = 30_000
"""Fifty minutes of signals."""
WALK_STEPS = 200
SEED = 1
FLASH_CHANCE, FLASH_END_CHANCE, REQUEST_CHANCE = 0.01, 0.2, 0.1


@dataclass(frozen=True, slots=True)
class Watched:
    """What the observer made of lawful signals.

    Args:
        trips: empty, or two of our own parts contradict each other; ``trace`` then leads there.
    """

    samples: int
    trips: tuple[Trip, ...] = ()
    trace: tuple[Step, ...] = ()


def watched(junction: Junction, searched: Searched, stages: Stages, samples: int = SAMPLES) -> Watched:
    """Walk through lawful states at random, sampled as the guard samples."""
    random = Random(SEED)  # The same walks for everybody who checks this site
    seen = 0
    while seen < samples:
        start_up = random.choice((FlashStatus.NOT_FLASH, FlashStatus.STARTUP))
        steps = _walk(searched, stages, random)
        memory = JunctionMemory()
        for place, step in enumerate(steps):
            for at_ms in range(0, searched.controller.step_ms, SAMPLE_MS):
                now_ms = place * searched.controller.step_ms + at_ms
                memory, trips = watch(memory, _observed(junction, searched, step, now_ms, start_up), junction)
                seen += 1
                if trips:
                    return Watched(seen, trips, steps[: place + 1])
    return Watched(seen)


def _walk(searched: Searched, stages: Stages, random: Random) -> tuple[Step, ...]:
    number, stage = 0, random.choice(stages.masks)
    steps = [Step("", searched.states[0])]
    for _ in range(WALK_STEPS):
        if random.random() < REQUEST_CHANCE:
            stage = random.choice(stages.masks)
        decision = _decision(searched, number, stage, random)
        number = searched.moves[number][decision]
        steps.append(Step(word_of(decision), searched.states[number]))
    return tuple(steps)


def _decision(searched: Searched, number: int, stage: int, random: Random) -> Decision:
    state, controller = searched.states[number], searched.controller
    if state[0] == FLASH:
        return LEAVE_DECISION if random.random() < FLASH_END_CHANCE else FLASH_DECISION
    if random.random() < FLASH_CHANCE:
        return FLASH_DECISION
    return controller.decided(controller.choice(state), stage) if state[0] == NORMAL else (0, 0)


def _observed(
    junction: Junction, searched: Searched, step: Step, now_ms: int, start_up: FlashStatus
) -> JunctionObserved:
    shown = searched.controller.shown(step.state)
    everything = sum(group.bit for group in junction.groups)
    greens, yellows = (
        sum(group.bit for n, group in enumerate(junction.groups) if mask >> n & 1)
        for mask in (shown.greens, shown.yellows)
    )
    phase = step.state[0]
    status = FlashStatus.NOT_FLASH if phase == NORMAL else FlashStatus.AUTOMATIC if phase == FLASH else start_up
    return JunctionObserved(
        equipment=junction.id,
        at_ms=now_ms,
        greens=greens,
        yellows=yellows,
        reds=0 if shown.is_flashing else everything & ~greens & ~yellows,
        control_status=2,
        flash_status=status,
        pattern=1,
        backup_time_s=junction.backup_time_s,
    )
