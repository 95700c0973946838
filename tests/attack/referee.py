"""Who judges what the lamps show: the conflict monitor with its own matrix, sampled with every scan.

Where the clock is moved by hand the monitor cannot be a process of its own; ``test_monitored.py`` has it as one.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from simulators.conflict_monitor import CARDS, Card, ConflictMonitor
from tests.guard.rig import TICK_S, JunctionRig


@contextmanager
def refereed(rig: JunctionRig) -> Iterator[ConflictMonitor]:
    """Have every scan of a rig judged; at the end the monitor must have nothing to say."""
    monitor = ConflictMonitor(Card.load(CARDS / "dual_ring.toml"))
    scan = rig.tick

    async def tick(step_s: float = TICK_S) -> None:
        await scan(step_s)
        monitor.sample(rig.clock.now_s(), rig.signals.controller.lamps())

    rig.tick = tick  # type: ignore[method-assign]
    yield monitor
    assert monitor.latched is None
    assert monitor.samples > 0
