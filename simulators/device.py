"""What every simulated device has in common: time, faults, stimuli, a ticker and a control socket.

Device logic is a model with ``step(now_s)``; tests may step it without any socket.
The host below moves it on a ticker and again before each request is answered.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from simulators.background import alongside
from simulators.clock import Clock
from simulators.control_socket import Answer, ControlError, ControlSocket
from simulators.faults import MENU, FaultPanel

TICK_S = 0.02  # finer than the fastest reaction a model promises (bollard reversal, 100 ms)

Action = Callable[[Mapping[str, Any]], Answer]


class Device(Protocol):
    """A model: stepped, broken, stimulated and looked at."""

    @property
    def faults(self) -> FaultPanel:
        """Its fault switches."""
        ...

    def step(self, now_s: float) -> None:
        """Move to ``now_s``; an earlier moment changes nothing."""
        ...

    def state(self) -> dict[str, Any]:
        """Describe everything a test may want to look at, JSON-ready."""
        ...

    def stimulate(self, stimulus: Mapping[str, Any]) -> None:
        """Change the world around the device. Raises ControlError for an unknown name or value."""
        ...


class Stand:
    """Devices by unit number, one clock, one ticker, one control socket."""

    def __init__(self, devices: Mapping[int, Device], clock: Clock, tick_s: float = TICK_S) -> None:
        self.devices = dict(devices)
        self.clock = clock
        self.actions: dict[str, Action] = {}
        self.control_address = ""
        self._tick_s = tick_s
        self.step()

    def step(self) -> None:
        """Move every device to the clock's present."""
        now_s = self.clock.now_s()
        for device in self.devices.values():
            device.step(now_s)

    def respond(self, request: dict[str, Any]) -> Answer:
        """Answer one control line."""
        self.step()
        if "fault" in request:
            return self._switch(request)
        if request.get("get") == "state":
            return {"state": self._device(request).state()}
        if request.get("get") == "faults":
            panel = self._device(request).faults
            return {"active": panel.listed(), "menu": {name: MENU[name].meaning for name in panel.supported}}
        if "set" in request:
            stimulus = request["set"]
            if not isinstance(stimulus, dict):
                raise ControlError('"set" wants an object of names and values')
            self._device(request).stimulate(stimulus)
            self.step()
            return {}
        action = self.actions.get(str(request.get("do", request.get("get", ""))))
        if action is None:
            known = sorted(self.actions)
            raise ControlError(f'expected one of "fault", "get": "state", "set" or "do"/"get" one of {known}')
        return action(request)

    def _switch(self, request: dict[str, Any]) -> Answer:
        spec, on = request["fault"], request.get("on", True)
        if not isinstance(spec, str) or not isinstance(on, bool):
            raise ControlError('"fault" wants a name and "on" wants true or false')
        device = self._device(request)
        device.faults.switch(spec, on)
        self.step()
        return {"active": device.faults.listed()}

    def _device(self, request: Mapping[str, Any]) -> Device:
        unit = request.get("unit", min(self.devices))
        device = self.devices.get(unit) if isinstance(unit, int) else None
        if device is None:
            raise ControlError(f"no unit {unit}; units here: {sorted(self.devices)}")
        return device

    async def _tick(self) -> None:
        # Runs as long as the simulator does; cancelled by the end of the block below.
        while True:
            await asyncio.sleep(self._tick_s)
            self.step()

    @asynccontextmanager
    async def run(self, control: str | None) -> AsyncIterator[None]:
        """Tick, and serve the control socket if an address is given, until the block ends."""
        async with alongside(self._tick()):
            if control is None:
                yield
                return
            async with ControlSocket(self.respond).serve(control) as control_socket:
                self.control_address = control_socket.address
                yield


def require_bool(name: str, value: object) -> bool:
    """Return a stimulus that must be true or false."""
    if not isinstance(value, bool):
        raise ControlError(f"{name} wants true or false, got {value!r}")
    return value


def require_number(name: str, value: object, low: float, high: float) -> float:
    """Return a stimulus that must be a number within a range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ControlError(f"{name} wants a number {low:g}..{high:g}, got {value!r}")
    return float(value)
