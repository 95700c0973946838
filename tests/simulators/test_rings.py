"""The dual-ring kernel under hostile demand."""

import random
from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest

from simulators.signal_controller.aspects import ALL_CHANNELS, bit, lamps_of, numbers
from simulators.signal_controller.demand import TENTHS, Demand
from simulators.signal_controller.event_log import EventLog
from simulators.signal_controller.program import dual_ring_program
from simulators.signal_controller.rings import RingKernel
from tests.referee import TellingJudge, judging

PERMITTED = {(1, 5), (1, 6), (2, 5), (2, 6), (3, 7), (3, 8), (4, 7), (4, 8)}


class ShownKernel(RingKernel):
    """Shows a judge what its lamps would show."""

    judge: TellingJudge
    tenth = 0

    def restart(self, tenth: int) -> None:
        super().restart(tenth)
        self._show(tenth)

    def tick(self, tenth: int, demand: Demand) -> None:
        super().tick(tenth, demand)
        self._show(tenth)

    def _show(self, tenth: int) -> None:
        self.tenth = tenth
        self.judge.show(tenth / TENTHS, lamps_of(self.picture(), ALL_CHANNELS))


@pytest.fixture
def kernel() -> Iterator[ShownKernel]:
    """The reference junction's, started."""
    kernel = ShownKernel(dual_ring_program(), EventLog())
    with judging(lambda: kernel.tenth / TENTHS) as kernel.judge:
        kernel.restart(0)
        yield kernel


def hostile(chance: random.Random) -> Demand:
    """Anything a network could ask for."""
    plan = dual_ring_program().plan(chance.choice([0, 0, 1, 2, 3]))
    return Demand(
        actuations=chance.getrandbits(8) & chance.getrandbits(8),
        ped_calls=chance.getrandbits(8) & chance.getrandbits(8),
        omit=chance.getrandbits(8) & chance.getrandbits(8) & chance.getrandbits(8),
        hold=chance.getrandbits(8) & chance.getrandbits(8) & chance.getrandbits(8),
        force_off=chance.getrandbits(8),
        preempt=chance.choice([0, 0, 0, bit(2) | bit(5), bit(4) | bit(7)]),
        plan=plan,
        clear=chance.random() < 0.05,
    )


@pytest.mark.parametrize("seed", range(12))
def test_no_demand_makes_the_kernel_unsafe(kernel: ShownKernel, seed: int) -> None:
    chance = random.Random(seed)
    demand = hostile(chance)
    since = dict.fromkeys(range(1, 9), 0)
    shown = {phase: "green" if phase in (2, 6) else "red" for phase in range(1, 9)}
    for tenth in range(1, 6000):
        if tenth % 17 == 0:
            demand = hostile(chance)
        kernel.tick(tenth, demand)
        if kernel.all_red and not demand.clear:
            kernel.restart(tenth)
        picture = kernel.picture()
        lit = numbers(picture.greens | picture.yellows)
        assert all(pair in PERMITTED for pair in combinations(lit, 2)), (seed, tenth, lit)
        assert picture.reds ^ picture.yellows ^ picture.greens == 0xFF
        for phase in range(1, 9):
            mask = bit(phase)
            now = "green" if picture.greens & mask else "yellow" if picture.yellows & mask else "red"
            if now == shown[phase]:
                continue
            lasted = tenth - since[phase]
            assert (shown[phase], now) in {("green", "yellow"), ("yellow", "red"), ("red", "green")}, "no other order"
            assert now != "yellow" or lasted >= 60, "SR-05"
            assert now != "red" or lasted == 30, "SR-04"
            shown[phase], since[phase] = now, tenth


def test_every_called_phase_is_served(kernel: ShownKernel) -> None:
    served = set()
    for tenth in range(1, 1800):
        kernel.tick(tenth, Demand(actuations=0xFF if tenth == 1 else 0, ped_calls=0xFF if tenth == 1 else 0))
        served |= set(numbers(kernel.picture().greens))
        served |= {-phase for phase in numbers(kernel.picture().walks)}
    assert served == {1, 2, 3, 4, 5, 6, 7, 8, -2, -4, -6, -8}


def test_a_signal_plan_repeats_with_its_cycle(kernel: ShownKernel) -> None:
    plan = dual_ring_program().plan(1)
    assert plan is not None
    begins = []
    for tenth in range(1, 4000):
        before = kernel.picture().greens & bit(3)
        kernel.tick(tenth, Demand(plan=plan))
        if kernel.picture().greens & bit(3) and not before:
            begins.append(tenth)
    assert {after - before for before, after in pairwise(begins)} == {plan.cycle_s * 10}
