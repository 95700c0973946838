"""The bollard and its PLC, stepped by hand."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.bollard import Fault, State
from simulators.bollard_plc import EFO_RAISE, HOLD_DOWN, LOWER, RAISE, BollardPlc
from simulators.bollard_site import Build
from simulators.modbus_frame import Table

REFUSED = b"\x85\x04"


class Bench:
    """A PLC, its clock, and a gateway that keeps its heart beating."""

    def __init__(self, build: Build | None = None, position: float = 0.0) -> None:
        self.plc = BollardPlc(build, position)
        self.now_s = 0.0
        self.alive = True
        self.plc.step(0.0)
        self.run(5.0)

    @property
    def state(self) -> State:
        return self.plc.bollard.state

    def run(self, seconds: float, step_s: float = 0.05) -> None:
        end_s = self.now_s + seconds
        while self.now_s < end_s - 1e-9:
            self.now_s += step_s
            if self.alive:
                self.plc.execute(struct.pack(">BHH", 6, 0, int(self.now_s * 20) & 0xFFFF))
            self.plc.step(self.now_s)

    def coil(self, number: int, on: bool = True) -> bytes:
        answer = self.plc.execute(struct.pack(">BHH", 5, number, 0xFF00 if on else 0))
        self.plc.step(self.now_s)
        return answer

    def set(self, **stimulus: Any) -> None:
        self.plc.stimulate(stimulus)
        self.plc.step(self.now_s)

    def input(self, number: int) -> int:
        return self.plc.tables[Table.DISCRETES][number]


def risen() -> Bench:
    bench = Bench()
    bench.coil(RAISE)
    bench.run(8)
    assert bench.state is State.UP
    return bench


def test_sr_20_a_bollard_warns_before_it_rises_and_shows_red_from_the_first_moment() -> None:
    bench = Bench()
    assert (bench.input(12), bench.input(13)) == (0, 1)
    bench.coil(RAISE)
    assert bench.state is State.PREWARN
    assert (bench.input(12), bench.input(13), bench.input(14)) == (1, 0, 1)
    bench.run(2.9)
    assert bench.plc.bollard.position == 0
    bench.run(4.2)
    assert bench.state is State.UP
    assert bench.plc.bollard.cycles == 1


@pytest.mark.parametrize("reason", ["loop_a", "loop_b", "loop_fault", "pressure", "local_key"])
def test_sr_19_a_bollard_does_not_rise_into_trouble(reason: str) -> None:
    bench = Bench()
    bench.set(**{reason: True})
    assert bench.coil(RAISE) == REFUSED
    bench.run(10)
    assert bench.plc.bollard.position == 0


def test_sr_19_loops_must_have_been_free_for_two_seconds() -> None:
    bench = Bench()
    bench.set(loop_a=True)
    bench.set(loop_a=False)
    bench.run(1.9)
    assert bench.coil(RAISE) == REFUSED
    bench.run(0.3)
    assert bench.coil(RAISE) != REFUSED


def test_a_loop_during_the_warning_cancels_the_rise() -> None:
    bench = Bench()
    bench.coil(RAISE)
    bench.run(1)
    bench.set(loop_b=True)
    bench.run(0.1)
    assert bench.state is State.DOWN


@pytest.mark.parametrize("reason", ["loop_a", "pressure", "loop_fault"])
def test_sr_20_an_obstructed_rise_turns_back_within_a_tenth_of_a_second(reason: str) -> None:
    bench = Bench()
    bench.coil(RAISE)
    bench.run(5)
    height = bench.plc.bollard.position
    bench.set(**{reason: True})
    bench.run(0.1)
    assert bench.state is State.REVERSING
    assert bench.plc.bollard.position <= height + 3
    bench.run(5)
    assert bench.state is State.DOWN


def test_sr_21_after_three_reversals_it_stays_down_until_somebody_asks_again() -> None:
    bench = Bench()
    bench.coil(RAISE)
    for _ in range(3):
        while bench.state is not State.RISING:
            bench.run(0.1)
        bench.run(1)
        bench.set(pressure=True)
        bench.run(0.2)
        bench.set(pressure=False)
        bench.run(2)
    assert bench.state is State.HELD_DOWN
    assert bench.plc.bollard.fault is Fault.REVERSALS
    bench.run(60)
    assert bench.plc.bollard.position == 0
    assert bench.coil(RAISE) == REFUSED
    assert bench.coil(LOWER) != REFUSED
    assert bench.coil(RAISE) != REFUSED


def test_sr_22_a_rise_that_takes_too_long_comes_down_and_latches() -> None:
    bench = Bench()
    bench.coil(RAISE)
    bench.run(4)
    bench.plc.faults.switch("stuck_drive")
    bench.run(9)
    assert bench.plc.bollard.fault is Fault.UP_TRAVEL_TIMEOUT
    bench.run(9)
    assert bench.state is State.FAULT_STUCK
    assert bench.input(12) == 1
    assert bench.input(11) == 1


def test_sr_23_the_emergency_raise_is_never_taken_from_the_wire() -> None:
    bench = Bench()
    assert bench.coil(EFO_RAISE) == REFUSED
    bench.set(efo=True)
    bench.run(1)
    assert bench.state is State.EFO
    bench.set(loop_a=True)
    bench.run(0.1)
    assert bench.plc.bollard.position < 10
    assert bench.state in (State.REVERSING, State.DOWN)


def test_both_limit_switches_at_once_are_a_latched_fault_cleared_on_site_only() -> None:
    bench = Bench()
    bench.plc.faults.switch("both_limits")
    bench.run(1)
    assert bench.state is State.FAULT_DOWN
    assert bench.input(13) == 0
    bench.plc.faults.switch("both_limits", on=False)
    assert bench.coil(4) == REFUSED
    bench.set(local_key=True)
    assert bench.coil(4) != REFUSED
    bench.set(local_key=False)
    bench.run(1)
    assert bench.state is State.DOWN


def test_sr_11_without_the_gateway_heartbeat_remote_control_is_dropped() -> None:
    bench = Bench()
    bench.coil(HOLD_DOWN)
    assert bench.state is State.HELD_DOWN
    bench.alive = False
    bench.run(10.5)
    assert bench.state is State.DOWN
    assert bench.coil(RAISE) == REFUSED
    assert bench.coil(LOWER) != REFUSED


def test_a_jump_of_the_clock_carries_no_rise_past_the_lapse_of_remote_control() -> None:
    bench = Bench()
    bench.alive = False
    bench.now_s += 600
    bench.plc.step(bench.now_s)
    assert bench.coil(RAISE) == REFUSED


@pytest.mark.parametrize(("spring", "position"), [(True, 0.0), (False, 100.0)])
def test_a_power_cut_lowers_a_spring_bollard_and_no_other(spring: bool, position: float) -> None:
    bench = Bench(Build(spring_down=spring), position=100)
    bench.plc.faults.switch("power_cut")
    bench.run(5)
    assert bench.state is State.POWERFAIL
    assert bench.plc.bollard.position == position
    assert (bench.input(9), bench.input(12), bench.input(13)) == (0, 0, 0)


def test_sr_19_power_return_never_raises() -> None:
    bench = risen()
    bench.plc.faults.switch("power_cut")
    bench.run(1)
    bench.plc.bollard.position = 40
    bench.plc.faults.switch("power_cut", on=False)
    bench.run(0.2)
    assert bench.state is State.LOWERING
    bench.run(30)
    assert bench.state is State.DOWN


def test_the_frozen_heartbeat_stands_still() -> None:
    bench = Bench()
    beats = []
    for frozen in (False, True):
        bench.plc.faults.switch("frozen_heartbeat", frozen)
        before = bench.plc.tables[Table.INPUTS][2]
        bench.run(3)
        beats.append(bench.plc.tables[Table.INPUTS][2] - before)
    assert beats == [3, 0]


def test_the_automatic_rise_has_a_floor_of_fifteen_seconds() -> None:
    bench = risen()
    assert bench.plc.execute(bytes.fromhex("060002000e")) == b"\x86\x03"
    bench.plc.execute(bytes.fromhex("060002000f"))
    bench.coil(LOWER)
    bench.run(17)
    assert bench.state is State.DOWN
    bench.run(10)
    assert bench.state is State.UP


STIMULI = st.sampled_from(["loop_a", "loop_b", "loop_fault", "pressure", "local_key", "mains", "efo"])
FAULTS = st.sampled_from(["both_limits", "stuck_drive", "loop_fault", "power_cut"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("coil"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("set"), STIMULI, st.booleans()),
        st.tuples(st.just("fault"), FAULTS, st.booleans()),
        st.tuples(st.just("run"), st.floats(0.1, 6), st.booleans()),
    ),
    max_size=25,
)


@given(STEPS)
def test_whatever_happens_the_interlocks_hold(steps: list[tuple[Any, ...]]) -> None:
    bench = Bench()
    busy_s = 0.0
    for kind, what, on in steps:
        if kind == "coil":
            bench.coil(what, on)
        elif kind == "set":
            bench.set(**{what: on})
        elif kind == "fault":
            bench.plc.faults.switch(what, on)
        else:
            bench.alive = on
            for _ in range(int(what / 0.1)):
                before = bench.plc.bollard.position
                bench.run(0.1)
                bollard = bench.plc.bollard
                busy_s = busy_s + 0.1 if bollard.around.loops_busy else 0.0
                rising = bollard.position > before
                assert not (rising and busy_s > 0.15 and bollard.state is not State.LOCAL)
                assert not (bollard.green and bollard.position > 0)
                assert not (bollard.green and bollard.red)
                assert not (bollard.moving_up and bollard.moving_down)
                assert not (rising and not bollard.around.mains)
                assert bollard.reversals <= 3
