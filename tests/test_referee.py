"""The referee whistles: a judgement that could not fail would prove nothing."""

import ast
import os
import signal
from collections.abc import Iterator

import pytest

from simulators.clock import ManualClock
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic
from tests import referee
from tests.referee import Rack, RefereeLostError, Verdict, judged, rack, wired
from tests.simulators.junction import run, unjudged_cabinet
from tests.test_tidy import called_name
from tests.tree import Function, python_files, syntax, text
from tests.waiting import wait_until

STARTERS = ("SignalCabinet.serve", "serve_recording", "unjudged_cabinet", "RingKernel")
JUDGES = {"judged", "judging", "wired"}
# The referee itself, tests of the monitor and its wires, and one in which no time passes.
UNJUDGED = {
    "tests/test_referee.py",
    "tests/simulators/junction.py",
    "tests/simulators/test_conflict_monitor.py",
    "tests/simulators/test_snmp_message.py",
}


def conflicting(seconds: float, verdict: Verdict) -> None:
    """A junction with green on 2, 4 and 6 for so long."""
    cabinet = unjudged_cabinet()
    with judged(cabinet, verdict) as judge:
        run(cabinet, 3)
        cabinet.fault("stuck_green:4")
        run(cabinet, seconds)
        cabinet.fault("stuck_green:4", on=False)
        run(cabinet, 0.05)
        state = judge.state()
        assert (state["latched"], state["channels"]) == (("conflict", [2, 4]) if seconds > 0.3 else (None, []))
        assert state["at_s"] == (pytest.approx(3.25, abs=0.06) if seconds > 0.3 else None)


def test_a_junction_in_order_is_clear_and_every_sample_was_taken() -> None:
    cabinet = unjudged_cabinet(traffic=Traffic(1))
    with judged(cabinet) as judge:
        for _ in range(600):
            run(cabinet, 1.07)
    with pytest.raises(RefereeLostError, match="refused"):
        judge.state()


@pytest.mark.parametrize(("seconds", "seen"), [(0.06, "brief"), (0.25, "brief"), (0.4, "conflict"), (30.0, "conflict")])
def test_a_conflict_is_seen_however_short_and_named_by_what_it_was(seconds: float, seen: Verdict) -> None:
    conflicting(seconds, seen)
    conflicting(seconds, None)
    with pytest.raises(AssertionError, match=f"verdict is '{seen}', not 'clear'"):
        conflicting(seconds, "clear")


def test_a_conflict_between_two_steps_of_the_test_is_seen() -> None:
    """One step of a minute: the controller shows each of its tenths."""
    cabinet = unjudged_cabinet()
    tick, greens = cabinet.controller._tick, cabinet.controller.faults

    def for_half_a_second(tenth: int) -> None:
        tick(tenth)
        if tenth in (300, 305):
            greens.switch("stuck_green:4", on=tenth == 300)

    cabinet.controller._tick = for_half_a_second  # type: ignore[method-assign]
    with judged(cabinet, "conflict"):
        run(cabinet, 60)


def test_a_conflict_that_was_announced_and_never_came_fails_too() -> None:
    cabinet = unjudged_cabinet()
    with pytest.raises(AssertionError, match="verdict is 'clear', not 'conflict'"), judged(cabinet, "conflict"):
        run(cabinet, 60)


def test_a_controller_that_stops_showing_its_lamps_fails() -> None:
    cabinet = unjudged_cabinet()

    def stop_showing() -> None:
        with judged(cabinet):
            run(cabinet, 5)
            cabinet.controller.witness = None
            run(cabinet, 5)

    with pytest.raises(RefereeLostError, match="101 samples were judged; there was time for 201"):
        stop_showing()


def test_a_monitor_that_dies_fails_the_test_it_judged_and_the_next_has_another(monkeypatch: pytest.MonkeyPatch) -> None:
    cabinet, mortal = unjudged_cabinet(), Rack.start()
    monkeypatch.setitem(referee._RACKS, os.getpid(), mortal)

    def lose_it() -> None:
        with judged(cabinet):
            run(cabinet, 5)
            mortal.process.kill()
            mortal.process.wait()
            run(cabinet, 5)

    try:
        with pytest.raises(RefereeLostError, match="gone"):
            lose_it()
    finally:
        mortal.end()
    monkeypatch.undo()
    with judged(cabinet):
        run(cabinet, 5)


def test_a_monitor_that_does_not_answer_in_time_fails_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referee, "ANSWER_TIMEOUT_S", 0.2)
    cabinet, frozen = unjudged_cabinet(), Rack.start()
    monkeypatch.setattr(referee, "ANSWER_TIMEOUT_S", 20.0)
    monkeypatch.setitem(referee._RACKS, os.getpid(), frozen)

    def freeze() -> None:
        with judged(cabinet):
            frozen.process.send_signal(signal.SIGSTOP)

    try:
        with pytest.raises(RefereeLostError, match="timed out"):
            freeze()
        assert rack() is not frozen
    finally:
        frozen.process.send_signal(signal.SIGCONT)
        frozen.end()
        referee._RACKS[os.getpid()].end()


@pytest.mark.hil
async def test_by_the_clock_a_conflict_is_seen_over_the_wire_and_nothing_is_sent_back() -> None:
    async def conflict(verdict: Verdict) -> SignalCabinet:
        serving = wired(lambda monitor: SignalCabinet.serve(started=True, monitor=monitor), verdict)
        async with serving as (cabinet, judge):
            cabinet.fault("stuck_green:4")
            await wait_until(lambda: judge.state()["latched"] is not None)
        return cabinet

    assert not (await conflict("conflict")).controller.mmu_flash
    with pytest.raises(AssertionError, match="not 'clear'"):
        await conflict("clear")


@pytest.mark.hil
async def test_a_wire_on_which_nothing_comes_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referee, "SEEN_TIMEOUT_S", 0.3)
    with pytest.raises(RefereeLostError, match="too little"):
        async with wired(lambda _monitor: SignalCabinet.serve(started=True)):
            pass


def test_a_failing_test_fails_with_its_own_words() -> None:
    cabinet = unjudged_cabinet()

    def fail() -> None:
        with judged(cabinet, "conflict"):
            run(cabinet, 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert cabinet.controller.witness is None


def starts(function: ast.AST) -> Iterator[ast.Call]:
    """Where the body of a function starts a simulated controller."""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(STARTERS):
            yield node


def test_no_test_starts_a_junction_that_is_not_judged() -> None:
    """Who starts a controller has it judged in the same function."""
    found = []
    for path in python_files("tests"):
        if str(path) in UNJUDGED or not any(each in (text(path) or "") for each in STARTERS):
            continue
        judging = {
            call
            for function in ast.walk(syntax(path))
            if isinstance(function, Function)
            and any(isinstance(node, ast.Call) and called_name(node) in JUDGES for node in ast.walk(function))
            for call in starts(function)
        }
        found += [f"{path}:{call.lineno}" for call in starts(syntax(path)) if call not in judging]
    assert found == []


def test_the_clock_of_a_judged_junction_stands_at_its_beginning() -> None:
    """Nothing runs, and the one sample of that moment is judged all the same."""
    cabinet = unjudged_cabinet()
    assert isinstance(cabinet.stand.clock, ManualClock)
    with judged(cabinet) as judge:
        pass
    assert judge.address[1] == 0
