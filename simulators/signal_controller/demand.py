"""What is asked of a kernel."""

from dataclasses import dataclass

from simulators.signal_controller.program import Plan

TENTHS = 10  # ticks a second


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of the kernel during one tenth of a second, as phase masks."""

    actuations: int = 0
    ped_calls: int = 0
    omit: int = 0
    ped_omit: int = 0
    hold: int = 0
    force_off: int = 0
    preempt: int = 0
    plan: Plan | None = None
    clear: bool = False  # end every green in order and stay red
