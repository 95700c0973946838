"""What a verdict and an observation cost: the safety kernel by itself."""

import time
from collections.abc import Callable

from agent.model.command import (
    LOCAL_PLAN,
    Command,
    Origin,
    RaiseBollard,
    ReleaseJunction,
    RequestFlash,
    Role,
    SelectPlan,
    SetLevel,
)
from agent.model.equipment import Bollard, Junction, Position, Segment
from agent.model.identity import EquipmentId, PlanNumber
from agent.model.observation import BollardObserved, JunctionObserved, Observed, SegmentObserved
from agent.model.site import Site
from agent.model.site_file import read_cabinet
from agent.safety.kernel import judge
from agent.safety.observer import JunctionMemory, watch
from agent.safety.standing import Standing
from agent.safety.verdict import Approved
from benchmarks.bench import Run
from benchmarks.child import BenchError
from benchmarks.machine import ROOT
from benchmarks.table import Table
from simulators.signal_controller.controller import SignalController
from simulators.signal_controller.event_log import EventLog
from simulators.signal_controller.program import dual_ring_program
from simulators.signal_controller.rings import RingKernel
from simulators.signal_controller.traffic import Traffic

SITE = ROOT / "configs" / "sites" / "gw-republique.toml"
NOW_MS = 1_000_000
SCAN_MS = 100
SEED = 1
DIJON = Position(47.322, 5.0415)
METHOD = (
    "In one process, without I/O. `judge` is called with one command of each kind against the reference junction (12 "
    "groups, 44 conflicts), a bollard and a lit segment, approved and refused. `watch` is given, sample by sample at "
    "100 ms, what the simulated controller shows in an hour of traffic; *of a change* counts only samples that differ "
    "from the one before. Each value is the mean of one round."
)


def measure(run: Run) -> Table:
    """Verdicts, then observations."""
    table = Table("The safety kernel", METHOD)
    rounds, calls = run.count(20, 3), run.count(5_000, 500)
    cases = _cases()
    for number, (name, command, seen, is_approved) in enumerate(cases):
        run.advance("verdicts", number, len(cases))

        def once(command: Command = command, seen: Observed = seen) -> object:
            return judge(command, SITE_FACTS, seen, Standing(), NOW_MS)

        if isinstance(once(), Approved) is not is_approved:
            raise BenchError(f"judge: {name}: {once()}")
        table.add(f"judge: {name}", "µs", [_mean_us(once, calls) for _ in range(rounds)], "≤ 100")
    junction = next(each for each in SITE_FACTS.equipment.values() if isinstance(each, Junction))
    samples = _hour(run, junction)
    every, changes = [], []
    for number in range(run.count(10, 2)):
        run.advance("observations", number, run.count(10, 2))
        mean_us, change_us = _watch_us(samples, junction)
        every.append(mean_us)
        changes.append(change_us)
    table.add("watch: every sample", "µs", every)
    table.add("watch: of a change", "µs", changes)
    return table


def _facts() -> Site:
    site = read_cabinet(SITE.read_text(), SITE.name).site
    bollard = Bollard(EquipmentId("bollard"), "Bollard", DIJON, 2_000)
    segment = Segment(EquipmentId("segment"), "Segment", DIJON, "M4", 30, 80, 12 * 3_600_000)
    equipment = {**site.equipment, bollard.id: bollard, segment.id: segment}
    return Site(site.city, site.gateway, site.name, equipment, site.fleet_silence_ms)


SITE_FACTS = _facts()


def _cases() -> list[tuple[str, Command, Observed, bool]]:
    junction, bollard, segment = EquipmentId("j-republique"), EquipmentId("bollard"), EquipmentId("segment")
    one, two = Origin(Role.OPERATOR, ("alice",)), Origin(Role.OPERATOR, ("alice", "bruno"))
    seen_junction = JunctionObserved(junction, NOW_MS, 0b100010, 0, 0b111111011101, 2, 2, 1, 60)
    seen_segment = SegmentObserved(segment, NOW_MS, True, True, 80, True, False, False)
    free, occupied = _bollard(bollard, loop_a=False), _bollard(bollard, loop_a=True)
    return [
        ("plan, approved", SelectPlan(junction, one, PlanNumber(2), 600_000), seen_junction, True),
        ("plan not commissioned, refused", SelectPlan(junction, one, PlanNumber(9), 600_000), seen_junction, False),
        ("flash by two, approved", RequestFlash(junction, two, 600_000), seen_junction, True),
        ("flash by one, refused", RequestFlash(junction, one, 600_000), seen_junction, False),
        ("release, approved", ReleaseJunction(junction, LOCAL_PLAN), seen_junction, True),
        ("raise bollard, approved", RaiseBollard(bollard, one), free, True),
        ("raise bollard on an occupied loop, refused", RaiseBollard(bollard, one), occupied, False),
        ("lamp level, approved", SetLevel(segment, one, 50, 600_000), seen_segment, True),
        ("lamp level under its floor, refused", SetLevel(segment, one, 5, 600_000), seen_segment, False),
    ]


def _bollard(bollard: EquipmentId, *, loop_a: bool) -> BollardObserved:
    return BollardObserved(
        equipment=bollard,
        at_ms=NOW_MS,
        state=0,
        at_top=False,
        at_bottom=True,
        moving_up=False,
        moving_down=False,
        loop_a=loop_a,
        loop_b=False,
        loop_fault=False,
        pressure_trip=False,
        local_key=False,
        mains_ok=True,
        door_open=False,
        fault_latched=False,
        red_on=False,
        green_on=True,
        reversals=0,
        position_percent=0,
        loops_free_since_ms=None if loop_a else NOW_MS - 60_000,
        heartbeat_at_ms=NOW_MS - 500,
    )


def _mean_us(call: Callable[[], object], calls: int) -> float:
    began_s = time.perf_counter()
    for _ in range(calls):
        call()
    return 1e6 * (time.perf_counter() - began_s) / calls


def _hour(run: Run, junction: Junction) -> list[JunctionObserved]:
    """What a guard sees of the reference junction."""
    program, log = dual_ring_program(), EventLog()
    controller = SignalController(program, RingKernel(program, log), log, Traffic(SEED), 60, started=True)
    samples = []
    for at_ms in range(SCAN_MS, run.count(3_600_000, 300_000), SCAN_MS):
        controller.step(at_ms / 1000)
        lamps = controller.lamps()
        flash = int(controller.flash_status())
        pattern = controller.pattern_status()
        masks = (lamps.greens, lamps.yellows, lamps.reds)
        samples.append(JunctionObserved(junction.id, at_ms, *masks, 6, flash, pattern, 60, delay_ms=2))
    return samples


def _watch_us(samples: list[JunctionObserved], junction: Junction) -> tuple[float, float]:
    memory = JunctionMemory()
    whole_ns, changes_ns, changes = 0, 0, 0
    last = (-1, -1)
    for seen in samples:
        began_ns = time.perf_counter_ns()
        memory, trips = watch(memory, seen, junction)
        took_ns = time.perf_counter_ns() - began_ns
        if trips:
            raise BenchError(f"a lawful junction tripped: {trips}")
        whole_ns += took_ns
        if (seen.greens, seen.yellows) != last:
            last = (seen.greens, seen.yellows)
            changes_ns += took_ns
            changes += 1
    return whole_ns / len(samples) / 1000, changes_ns / changes / 1000
