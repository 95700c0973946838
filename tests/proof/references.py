"""The reference junctions, small enough to be searched to the end, and how each is searched."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import combinations

from agent.model.equipment import GroupKind, Junction, Position
from agent.model.identity import EquipmentId, PlanNumber
from tests.proof.controllers import Controller, RingController, StageController
from tests.proof.hostile import Hostile
from tests.proof.search import Lawful, Sought
from tests.safety.facts import JUNCTION, group, pairs

HERE = Position(47.322, 5.0415)


def _all_both_ways(conflicts: list[tuple[int, int]], seconds: Callable[[int, int], int]) -> dict[tuple[int, int], int]:
    both = [*conflicts, *((second, first) for first, second in conflicts)]
    return {pair: 1000 * seconds(*pair) for pair in both}


def crossing() -> Junction:
    """Two streets, a crossing on foot and a bus lane: the junction of the kernel's own tests."""
    return JUNCTION


CROSSING_STAGES = {1: 0b1001, 2: 0b0110, 7: 0b1000}


def pedestrian_and_bus() -> Junction:
    """A street (1), a crossing over it (2) that clears slowly, a bus gate (3); each against each."""
    conflicts = [(1, 2), (1, 3), (2, 3)]
    leaves_after = {1: 5, 2: 12, 3: 7}
    return Junction(
        id=EquipmentId("bus-gate"),
        name="A crossing beside a bus gate",
        position=HERE,
        groups=(
            group(1, GroupKind.VEHICLE, 10, 3),
            group(2, GroupKind.PEDESTRIAN, 6, 0),
            group(3, GroupKind.BUS, 6, 5),
        ),
        conflicts=pairs(*conflicts),
        intergreen_ms=_all_both_ways(conflicts, lambda ending, _: leaves_after[ending]),  # type: ignore[arg-type]
        plans=frozenset(map(PlanNumber, (1, 2, 3))),
        backup_time_s=30,
    )


PEDESTRIAN_STAGES = {1: 0b001, 2: 0b010, 3: 0b100}


def dual_ring() -> Junction:
    """Eight vehicle phases: 1 to 4 in the first ring, 5 to 8 in the second, the barrier after 2 and 6."""
    one_side = ({1, 2, 5, 6}, {3, 4, 7, 8})
    conflicts = [
        (first, second)
        for first, second in combinations(range(1, 9), 2)
        if (first <= 4) == (second <= 4) or not any({first, second} <= side for side in one_side)
    ]
    return Junction(
        id=EquipmentId("dual-ring"),
        name="Eight phases in two rings",
        position=HERE,
        groups=tuple(group(number, GroupKind.VEHICLE, 6, 3) for number in range(1, 9)),
        conflicts=pairs(*conflicts),
        intergreen_ms=_all_both_ways(  # type: ignore[arg-type]
            conflicts, lambda ending, starting: 5 if any({ending, starting} <= side for side in one_side) else 6
        ),
        plans=frozenset(map(PlanNumber, (1, 2, 3, 4))),
        backup_time_s=60,
    )


RING_STAGES = {1: 0b0010_0010, 2: 0b0001_0001, 3: 0b1000_1000, 4: 0b0100_0100}


def lawful_crossing(without: frozenset[str] = frozenset()) -> Lawful:
    """The crossing under guard."""
    return Lawful(StageController(crossing(), without), CROSSING_STAGES, without)


def lawful_pedestrian(without: frozenset[str] = frozenset()) -> Lawful:
    """The crossing beside a bus gate, under guard."""
    return Lawful(StageController(pedestrian_and_bus(), without), PEDESTRIAN_STAGES, without)


def lawful_ring(without: frozenset[str] = frozenset()) -> Lawful:
    """The dual ring under guard."""
    return Lawful(RingController(dual_ring(), without), RING_STAGES, without)


CONTROLLERS: Mapping[str, Callable[[], tuple[Controller, dict[int, int]]]] = {
    "4-group crossing": lambda: (StageController(crossing()), CROSSING_STAGES),
    "pedestrian and bus": lambda: (StageController(pedestrian_and_bus()), PEDESTRIAN_STAGES),
    "8-phase dual ring": lambda: (RingController(dual_ring()), RING_STAGES),
}
LAWFUL: Mapping[str, Callable[[frozenset[str]], Lawful]] = {
    "4-group crossing": lawful_crossing,
    "pedestrian and bus": lawful_pedestrian,
    "8-phase dual ring": lawful_ring,
}


@cache
def lawful(name: str) -> Sought:
    """Every command each second, and the street may want anything. Searched once: more than one test asks."""
    return LAWFUL[name](frozenset()).search(f"{name}, lawful")


def hostile(name: str, without: frozenset[str] = frozenset(), *, knows_times: bool = False) -> Sought:
    """Any lamp reported wrongly at any second, once or twice, and every command."""
    controller, stages = CONTROLLERS[name]()
    words = f"{name}, lying{' (the observer remembers times)' if knows_times else ''}"
    return Hostile(controller, stages, without, knows_times=knows_times).search(words)


def polled(name: str, lost_max: int) -> Sought:
    """True reports of which some are lost: nobody is accused."""
    controller, stages = CONTROLLERS[name]()
    words = f"{name}, true, up to {lost_max} samples in a row lost"
    return Hostile(controller, stages, lies=False, knows_times=True, lost_max=lost_max).search(words)


SEARCHES: Mapping[str, Callable[[], Sought]] = {
    **{f"lawful {name}": partial(lawful, name) for name in CONTROLLERS},
    **{f"lying {name}": partial(hostile, name) for name in CONTROLLERS},
    "polled 4-group crossing": partial(polled, "4-group crossing", 0),
    "polled pedestrian and bus": partial(polled, "pedestrian and bus", 1),
    "polled 8-phase dual ring": partial(polled, "8-phase dual ring", 1),
}
"""What CI searches to the end."""
IN_FULL: Mapping[str, Callable[[], Sought]] = {
    **{f"polled in full {name}": partial(polled, name, 2) for name in CONTROLLERS},
    "lying in full pedestrian and bus": partial(hostile, "pedestrian and bus", knows_times=True),
}
"""What takes minutes and gigabytes more."""
