"""The menu of faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.bollard_plc import BollardPlc
from simulators.cabinet import LightingCabinet
from simulators.faults import MENU, FaultError, FaultPanel, parse
from simulators.signal_controller.controller import FAULTS


@given(st.text(max_size=80))
def test_any_name_is_a_known_fault_or_a_fault_error(spec: str) -> None:
    try:
        name, _ = parse(spec)
    except FaultError:
        return
    assert name in MENU


def test_a_fault_is_switched_on_and_off_by_name() -> None:
    panel = FaultPanel(("stuck_green", "slow"))
    panel.switch("stuck_green:3")
    panel.switch("stuck_green:5")
    panel.switch("slow:0.5")
    assert panel.listed() == ["slow:0.5", "stuck_green:3", "stuck_green:5"]
    assert panel.numbers("stuck_green") == (3, 5)
    panel.switch("stuck_green:3", on=False)
    assert panel.numbers("stuck_green") == (5,)
    panel.switch("stuck_green", on=False)
    panel.switch("all", on=False)
    assert panel.listed() == []


@pytest.mark.parametrize("spec", ["slow:fast", "stuck_green:999", "silent:1", "loop_occupied:C", "exception:-1", ""])
def test_a_senseless_argument_is_refused(spec: str) -> None:
    with pytest.raises(FaultError):
        parse(spec)


def test_a_device_refuses_a_fault_it_cannot_have() -> None:
    with pytest.raises(FaultError, match="not possible here"):
        LightingCabinet().faults.switch("stuck_green:1")


def test_every_fault_of_the_menu_belongs_to_some_device() -> None:
    possible = {*LightingCabinet().faults.supported, *BollardPlc().faults.supported, *FAULTS}
    assert possible == set(MENU)
