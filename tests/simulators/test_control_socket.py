"""The back door of the simulators."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulators.bollard_plc import BollardPlc, Bollards
from simulators.cabinet import Cabinet, LightingCabinet
from simulators.clock import ManualClock
from simulators.control_socket import ControlError, answer_line, ask
from simulators.device import Stand
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.referee import wired

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["fault", "on", "get", "set", "do", "unit"])


@given(st.binary(max_size=200) | st.dictionaries(KEYS, JSON).map(lambda entry: json.dumps(entry).encode()))
def test_whatever_line_comes_in_one_json_line_goes_out(line: bytes) -> None:
    stand = Stand({1: LightingCabinet(), 2: BollardPlc()}, ManualClock())
    answer = answer_line(line, stand.respond)
    assert answer.count(b"\n") == 1
    assert isinstance(json.loads(answer)["ok"], bool)


async def test_a_fault_is_switched_over_a_unix_socket(tmp_path: Path) -> None:
    path = str(tmp_path / "control")
    async with Bollards.serve(count=2, control=path):
        assert (await ask(path, {"fault": "loop_fault", "unit": 2}))["active"] == ["loop_fault"]
        assert (await ask(path, {"get": "state", "unit": 2}))["state"]["faults"] == ["loop_fault"]
        assert (await ask(path, {"get": "state"}))["state"]["faults"] == []
        with pytest.raises(ControlError, match="no unit 9"):
            await ask(path, {"get": "state", "unit": 9})
    assert not Path(path).exists()


async def test_a_socket_left_behind_by_a_killed_simulator_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "control"
    async with Cabinet.serve(control=str(path)):
        path.rename(tmp_path / "kept")
    (tmp_path / "kept").rename(path)
    async with Cabinet.serve(control=str(path)):
        assert (await ask(str(path), {"get": "state"}))["ok"]


async def test_a_control_line_reaches_the_controller_over_tcp_too() -> None:
    async with wired(lambda monitor: SignalCabinet.serve(control="127.0.0.1:0", monitor=monitor)) as (cabinet, _):
        address = cabinet.stand.control_address
        assert (await ask(address, {"do": "sets"}))["sets"] == []
        assert isinstance((await ask(address, {"get": "events", "since": 0}))["events"], list)
        assert "stuck_green" in (await ask(address, {"get": "faults"}))["menu"]
