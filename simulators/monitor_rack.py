"""A rack of conflict monitors in one process, for many junctions: each has its own card and its own memory.

A monitor on the wire goes by the clock and hears its controller's datagrams on a UDP port of its own. One whose time
is told hears the same datagrams, each with the moment from which on the lamps show it; between two of them it takes
its samples all the same, 50 ms of told time apart. Control lines (see ``control_socket``):

``{"do": "open", "card": PATH}`` gives ``{"monitor": 1}``; with ``"wire": true`` also ``"port"``, and its flash line
is sent back only with ``"line": true``.
``{"do": "tell", "monitor": 1, "lamps": HEX}`` tells any number of moments, ``lamp_wire.encode_moment`` each.
``{"do": "verdict", "monitor": 1}`` gives the monitor's state; ``{"do": "close", "monitor": 1}`` too, and it is gone.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from simulators.clock import RealClock
from simulators.conflict_monitor import SAMPLE_S, Card, ConflictMonitor, MonitorBox
from simulators.control_socket import Answer, ControlError, ControlSocket
from simulators.lamp_wire import LampWireError, Moment, decode_moments
from simulators.signal_controller.aspects import Lamps

SAMPLE_MS = round(1000 * SAMPLE_S)
MONITORS_MAX = 4096  # a test process that ends without a word leaves its own behind
LEAP_MS_MAX = 24 * 3_600_000  # bound of the samples one moment can cost


class ToldMonitor:
    """A conflict monitor whose time is told to it; nothing it is told may be missing.

    Args:
        monitor: judges.
    """

    def __init__(self, monitor: ConflictMonitor) -> None:
        self.monitor = monitor
        self.heard = 0
        self._lamps: Lamps | None = None
        self._now_ms = 0
        self._next_ms = 0

    def tell(self, moment: Moment) -> None:
        """Hear what is lit from a moment on; what was lit before is sampled up to it.

        Raises:
            ControlError: a moment is missing, lies in the past or a day ahead. Nothing of it was heard.
        """
        if moment.sequence != self.heard + 1:
            raise ControlError(f"moment {self.heard + 1} is missing, {moment.sequence} came")
        if self._lamps is None:
            self._now_ms = self._next_ms = moment.at_ms
        if not self._now_ms <= moment.at_ms <= self._now_ms + LEAP_MS_MAX:
            raise ControlError(f"{moment.at_ms} ms cannot come after {self._now_ms} ms")
        self._sample(moment.at_ms - 1)
        self.heard, self._lamps, self._now_ms = moment.sequence, moment.lamps, moment.at_ms

    def state(self) -> dict[str, Any]:
        """The monitor's verdict up to and with the last moment it was told."""
        self._sample(self._now_ms)
        return {**self.monitor.state(), "heard": self.heard}

    def close(self) -> None:
        """Nothing of its own runs."""

    def _sample(self, until_ms: int) -> None:
        if self._lamps is None:
            return
        while self._next_ms <= until_ms:  # At most LEAP_MS_MAX / SAMPLE_MS.
            self.monitor.sample(self._next_ms / 1000, self._lamps)
            self._next_ms += SAMPLE_MS


class WiredMonitor:
    """A conflict monitor at the end of its controller's lamp wires.

    Args:
        line: send the flash line back.
    """

    def __init__(self, monitor: ConflictMonitor, line: bool, tasks: asyncio.TaskGroup) -> None:
        self._box = MonitorBox(monitor, RealClock())
        self._box.fault("silent", not line)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._task = tasks.create_task(self._serve())
        self._task.add_done_callback(lambda _task: self._socket.close())  # Also when it never came to serve.

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self._box, sock=self._socket)
        try:
            await self._box.watch()
        finally:
            transport.close()

    def state(self) -> dict[str, Any]:
        """The monitor's verdict by now."""
        return {**self._box.monitor.state(), "heard": self._box.datagrams, "broken": self._box.datagrams_broken}

    def close(self) -> None:
        """Take it off the wire."""
        self._task.cancel()


class Housed(Protocol):
    """What stands in the rack."""

    def state(self) -> dict[str, Any]:
        """Its verdict."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class MonitorRack:
    """Opens monitors and asks them. Use ``async with MonitorRack.serve() as rack``."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self.port = 0
        self._tasks = tasks
        self._housed: dict[int, Housed] = {}
        self._opened = 0

    def respond(self, request: dict[str, Any]) -> Answer:
        """Answer one control line. Raises ControlError, or CardError for a card that cannot be read."""
        match request.get("do"):
            case "open":
                return self._open(request)
            case "tell":
                return self._tell(request)
            case "verdict":
                return {"state": self._called(request).state()}
            case "close":
                housed = self._called(request)
                state = housed.state()
                housed.close()
                del self._housed[request["monitor"]]
                return {"state": state}
        raise ControlError('expected "do" to be one of open, tell, verdict, close')

    def _open(self, request: Mapping[str, Any]) -> Answer:
        card, wire, line = request.get("card"), request.get("wire", False), request.get("line", False)
        if not isinstance(card, str) or not isinstance(wire, bool) or not isinstance(line, bool):
            raise ControlError('"card" wants a path, "wire" and "line" want true or false')
        if len(self._housed) >= MONITORS_MAX:
            raise ControlError(f"{MONITORS_MAX} monitors are open: close some")
        monitor = ConflictMonitor(Card.load(Path(card)))
        self._opened += 1
        answer: Answer = {"monitor": self._opened}
        if wire:
            wired = self._housed[self._opened] = WiredMonitor(monitor, line, self._tasks)
            answer["port"] = wired.port
        else:
            self._housed[self._opened] = ToldMonitor(monitor)
        return answer

    def _tell(self, request: Mapping[str, Any]) -> Answer:
        told, lamps = self._called(request), request.get("lamps")
        if not isinstance(told, ToldMonitor) or not isinstance(lamps, str):
            raise ControlError('"lamps" wants hexadecimal, and a monitor that is not on the wire')
        try:
            for moment in decode_moments(bytes.fromhex(lamps)):
                told.tell(moment)
        except LampWireError as error:
            raise ControlError(str(error)) from error
        return {}

    def _called(self, request: Mapping[str, Any]) -> Housed:
        number = request.get("monitor")
        housed = self._housed.get(number) if isinstance(number, int) else None
        if housed is None:
            raise ControlError(f"no monitor {str(number)[:20]} is open")
        return housed

    @classmethod
    @asynccontextmanager
    async def serve(cls, port: int = 0) -> AsyncIterator["MonitorRack"]:
        """Answer control lines on 127.0.0.1 until the block ends."""
        async with asyncio.TaskGroup() as tasks:
            rack = cls(tasks)
            async with ControlSocket(rack.respond).serve(f"127.0.0.1:{port}") as control:
                rack.port = int(control.address.rpartition(":")[2])
                yield rack
            for housed in rack._housed.values():
                housed.close()
