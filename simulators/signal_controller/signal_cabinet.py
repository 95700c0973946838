"""The controller in its cabinet: SNMP on UDP, lamp wires to the conflict monitor, control socket."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any, cast

from simulators.background import alongside
from simulators.clock import Clock, RealClock
from simulators.control_socket import Answer
from simulators.device import Stand
from simulators.lamp_wire import LAMP_PERIOD_S, LampWireError, decode_line, encode_lamps
from simulators.signal_controller.agent import Communities, Responder, SnmpAgent
from simulators.signal_controller.controller import SignalController
from simulators.signal_controller.event_log import EventLog
from simulators.signal_controller.objects import ObjectTable
from simulators.signal_controller.program import Program, dual_ring_program
from simulators.signal_controller.rings import RingKernel
from simulators.signal_controller.traffic import Traffic

MONITOR_SILENCE_S_MAX = 2.0  # a real monitor drops out within 0.2 s; a busy test machine is no real monitor
EVENTS_ANSWERED_MAX = 20_000
SETS_ANSWERED_MAX = 10_000


class FlashRelay(asyncio.DatagramProtocol):
    """Sends the lamps to the monitor and obeys its flash line. The controller's program cannot reach it."""

    def __init__(self, controller: SignalController) -> None:
        self._controller = controller
        self._transport: asyncio.DatagramTransport | None = None
        self.datagrams = 0
        self._heard_s: float | None = None
        self._line = False
        self.datagrams_broken = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.DatagramTransport, transport)  # asyncio's own class derives from neither

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Take the monitor's line."""
        try:
            self._line = decode_line(data)
        except LampWireError:
            self.datagrams_broken += 1
            return
        self._heard_s = time.monotonic()
        self._obey()

    def error_received(self, exc: Exception) -> None:
        """Nobody listens on the monitor's port: the same as its silence."""

    def _obey(self) -> None:
        silent = self._heard_s is not None and time.monotonic() - self._heard_s > MONITOR_SILENCE_S_MAX
        self._controller.mmu_flash = self._line or silent

    async def feed(self) -> None:
        """Send what is lit every LAMP_PERIOD_S, for as long as the cabinet runs."""
        while True:
            self._obey()
            if self._transport is not None and not self._transport.is_closing():
                self.datagrams += 1
                self._transport.sendto(encode_lamps(self.datagrams, self._controller.lamps()))
            await asyncio.sleep(LAMP_PERIOD_S)


class SignalCabinet:
    """A signal controller on SNMP. Use ``async with SignalCabinet.serve() as cabinet``."""

    def __init__(self, controller: SignalController, clock: Clock, communities: Communities, epoch_s: float) -> None:
        self.controller = controller
        self.stand = Stand({1: controller}, clock)
        table = ObjectTable(controller, lambda: epoch_s + clock.now_s())
        self.responder = Responder(table, communities, controller.faults)
        self.agent = SnmpAgent(self.responder, controller.faults, self.stand.step)
        self.relay = FlashRelay(controller)
        self.stand.actions |= {"sets": self._sets, "events": self._events}

    @property
    def port(self) -> int:
        """The UDP port."""
        return self.agent.port

    def fault(self, spec: str, on: bool = True) -> None:
        """Switch a fault."""
        self.controller.faults.switch(spec, on)
        self.stand.step()

    def set(self, **stimulus: object) -> None:
        """Change the world around the controller."""
        self.controller.stimulate(stimulus)
        self.stand.step()

    def set_count(self, oid: str) -> int:
        """Tell how many SETs of an OID were carried out."""
        return self.controller.control.set_counts[oid]

    def _sets(self, _request: Mapping[str, Any]) -> Answer:
        control = self.controller.control
        listed = [asdict(entry) for entry in control.sets][-SETS_ANSWERED_MAX:]
        return {"sets": listed, "counts": dict(control.set_counts)}

    def _events(self, request: Mapping[str, Any]) -> Answer:
        since = request.get("since", 0)
        since_s = float(since) if isinstance(since, int | float) and not isinstance(since, bool) else 0.0
        return {"events": [asdict(event) for event in self.controller.log.since(since_s)][-EVENTS_ANSWERED_MAX:]}

    @asynccontextmanager
    async def running(
        self, port: int, control: str | None, monitor: tuple[str, int] | None
    ) -> AsyncIterator["SignalCabinet"]:
        """Serve until the block ends; ``monitor`` is the conflict monitor's address."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.agent.serve(port))
            if monitor is not None:
                loop = asyncio.get_running_loop()
                transport, _ = await loop.create_datagram_endpoint(lambda: self.relay, remote_addr=monitor)
                stack.callback(transport.close)
                await stack.enter_async_context(alongside(self.relay.feed()))
            await stack.enter_async_context(self.stand.run(control))
            yield self

    @classmethod
    @asynccontextmanager
    async def serve(
        cls,
        port: int = 0,
        control: str | None = None,
        monitor: tuple[str, int] | None = None,
        clock: Clock | None = None,
        program: Program | None = None,
        communities: Communities | None = None,
        traffic: Traffic | None = None,
        backup_s: int = 60,
        started: bool = False,
    ) -> AsyncIterator["SignalCabinet"]:
        """Serve the reference junction, or another program, on 127.0.0.1 until the block ends."""
        clock = clock or RealClock()
        program = program or dual_ring_program()
        log = EventLog()
        controller = SignalController(program, RingKernel(program, log), log, traffic, backup_s, started)
        cabinet = cls(controller, clock, communities or Communities(), time.time() - clock.now_s())
        async with cabinet.running(port, control, monitor):
            yield cabinet
