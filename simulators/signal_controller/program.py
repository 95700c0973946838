"""What a controller is configured with: phases, rings, barriers, signal plans.

Times follow French practice: yellow 3 s in town, least green 6 s, no red with yellow.
"""

from dataclasses import dataclass, field, replace

from simulators.signal_controller.aspects import ALL_CHANNELS, bit


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase. Times in seconds; ``walk_s`` 0 means it has no pedestrians."""

    number: int
    ring: int
    barrier: int
    min_green_s: float = 6.0
    passage_s: float = 2.5
    max_green_s: float = 30.0
    yellow_s: float = 3.0
    red_clear_s: float = 2.0
    walk_s: float = 0.0
    ped_clear_s: float = 0.0
    recall: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """A signal plan: each phase ends its split when its time is over."""

    number: int
    offset_s: int
    splits_s: dict[int, int]

    @property
    def cycle_s(self) -> int:
        """The cycle: the splits of ring 1 add up to it."""
        return sum(seconds for phase, seconds in self.splits_s.items() if phase <= 4)


@dataclass(frozen=True, slots=True)
class Program:
    """The whole configuration.

    ``start_phases`` show the first green after start-up. ``local_plan`` is what runs when nobody
    commands: a plan number, or 254 for free. ``preempts`` maps a preempt number to its phases.
    """

    phases: tuple[Phase, ...]
    plans: tuple[Plan, ...] = ()
    start_phases: frozenset[int] = frozenset({2, 6})
    local_plan: int = 254
    preempts: dict[int, frozenset[int]] = field(default_factory=dict)
    start_up_flash_s: float = 0.0
    start_up_yellow_s: float = 3.0
    start_up_red_s: float = 3.0
    channels: int = ALL_CHANNELS
    everyone: int = field(init=False, repr=False, default=0)
    with_peds: int = field(init=False, repr=False, default=0)

    def __post_init__(self) -> None:
        """Reckon the masks of all phases and of those with pedestrians: every picture needs them."""
        object.__setattr__(self, "everyone", sum(bit(phase.number) for phase in self.phases))
        object.__setattr__(self, "with_peds", sum(bit(phase.number) for phase in self.phases if phase.walk_s))

    def phase(self, number: int) -> Phase:
        """Return a phase by number. Raises KeyError."""
        for phase in self.phases:
            if phase.number == number:
                return phase
        raise KeyError(number)

    def plan(self, number: int) -> Plan | None:
        """Return a plan by number, None if it is not stored."""
        return next((plan for plan in self.plans if plan.number == number), None)

    def changed(self, number: int, **times: float) -> "Program":
        """Return a program with one phase's times changed."""
        phases = tuple(replace(phase, **times) if phase.number == number else phase for phase in self.phases)  # type: ignore[arg-type]
        return replace(self, phases=phases)


def dual_ring_program() -> Program:
    """Return the reference junction: eight phases, left turns on 1, 3, 5, 7, pedestrians beside 2, 4, 6, 8.

    Rings 1-2-3-4 and 5-6-7-8 with a barrier after 2 and 6, and after 4 and 8.
    """
    phases = []
    for number in range(1, 9):
        through = number % 2 == 0
        phases.append(
            Phase(
                number,
                ring=(number - 1) // 4,
                barrier=((number - 1) % 4) // 2,
                walk_s=6.0 if through else 0.0,
                ped_clear_s=8.0 if through else 0.0,
                recall=number in (2, 6),
            )
        )
    plans = tuple(
        Plan(number, offset_s, dict(zip(range(1, 9), splits + splits, strict=True)))
        for number, offset_s, splits in (
            (1, 0, (12, 24, 12, 22)),
            (2, 10, (14, 34, 14, 28)),
            (3, 0, (11, 19, 11, 19)),
        )
    )
    preempts = {1: frozenset({2, 5}), 2: frozenset({4, 7})}
    return Program(tuple(phases), plans, local_plan=1, preempts=preempts)
