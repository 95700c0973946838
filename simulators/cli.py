"""``armoire-sim``: the hardware of a district, simulated on real wires."""

import asyncio
import importlib
import io
import json
import os
import signal
import sys
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import cyclopts

from simulators.bollard_plc import Bollards
from simulators.bollard_site import Build
from simulators.cabinet import Cabinet
from simulators.clock import Clock, RealClock, ScaledClock
from simulators.conflict_monitor import CARDS, CardError, MonitorBox
from simulators.control_socket import ControlError, ask
from simulators.faults import MENU
from simulators.monitor_rack import MonitorRack
from simulators.recording import Overlap, Recording
from simulators.replay import Replay
from simulators.signal_controller.agent import READ_COMMUNITY, WRITE_COMMUNITY, Communities
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
app = cyclopts.App(name="armoire-sim", help="Simulated street hardware on real wires.")
Port = Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=0, lte=65535))]
Speed = Annotated[float, cyclopts.Parameter(validator=cyclopts.validators.Number(gt=0, lte=10_000))]


class Listening(Protocol):
    """Anything that can tell on which port it listens."""

    @property
    def port(self) -> int:
        """The port."""
        ...


def _clock(speed: float) -> Clock:
    return RealClock() if speed == 1 else ScaledClock(speed)


async def _until_stopped(simulator: AbstractAsyncContextManager[Listening], until_eof: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, or the end of standard input; say ``ready <port>`` once listening."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def listen() -> None:
        if not os.read(0, 4096):
            stopped.set()

    if until_eof:
        loop.add_reader(0, listen)
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with simulator as listening:
        print("ready", listening.port, flush=True)
        await stopped.wait()  # as long as the operator wants


def _run(work: Coroutine[Any, Any, Any]) -> int:
    """Run to the end; a failure of the outside world becomes one line and an exit code."""
    try:
        asyncio.run(work)
    except (OSError, TimeoutError, ControlError, CardError) as error:
        print(f"armoire-sim: {str(error) or type(error).__name__}", file=sys.stderr)
        return EXIT_FAILED
    return 0


@app.command
def cabinet(*, port: Port = 0, control: str | None = None, speed: Speed = 1.0) -> int:
    """Serve a lighting cabinet (unit 1) and its meter (unit 2) on Modbus TCP.

    Args:
        port: TCP port on 127.0.0.1; 0 takes a free one.
        control: path, or 127.0.0.1:port, of the control socket.
        speed: simulated seconds per real second.
    """
    return _run(_until_stopped(Cabinet.serve(port, control, _clock(speed))))


@app.command
def bollards(
    *, port: Port = 0, control: str | None = None, count: int = 1, speed: Speed = 1.0, spring_down: bool = False
) -> int:
    """Serve bollards on Modbus TCP, units 1 to COUNT.

    Args:
        port: TCP port on 127.0.0.1; 0 takes a free one.
        control: path, or 127.0.0.1:port, of the control socket.
        count: how many, 1 to 247.
        speed: simulated seconds per real second.
        spring_down: bollards lower by themselves without mains.
    """
    if not 1 <= count <= 247:
        return _fail("--count must be 1..247")
    build = Build(spring_down=spring_down)
    return _run(_until_stopped(Bollards.serve(port, count, control, _clock(speed), build)))


def _fail(message: str) -> int:
    print(f"armoire-sim: {message}", file=sys.stderr)
    return EXIT_FAILED


async def _ask_and_print(address: str, request: dict[str, Any]) -> None:
    answer = await ask(address, request)
    answer.pop("ok", None)
    print(json.dumps(answer, indent=2))


@app.command
def controller(
    *,
    port: Port = 0,
    control: str | None = None,
    monitor: str | None = None,
    read_community: str = READ_COMMUNITY,
    write_community: str = WRITE_COMMUNITY,
    backup: Annotated[int, cyclopts.Parameter(validator=cyclopts.validators.Number(gte=0, lte=65535))] = 60,
    traffic_seed: int | None = 1,
    speed: Speed = 1.0,
) -> int:
    """Serve the reference signal controller, NTCIP 1202 over SNMP v1 and v2c.

    Args:
        port: UDP port on 127.0.0.1; 0 takes a free one.
        control: path, or 127.0.0.1:port, of the control socket.
        monitor: address of its conflict monitor, 127.0.0.1:port.
        read_community: who may read.
        write_community: who may read and write.
        backup: unitBackupTime at power-up, in seconds; 0 switches the watchdog off.
        traffic_seed: seed of the traffic.
        speed: simulated seconds per real second.
    """
    try:
        address = _address(monitor)
    except ValueError as error:
        return _fail(str(error))
    traffic = None if traffic_seed is None else Traffic(traffic_seed)
    communities = Communities(read_community, write_community)
    cabinet = SignalCabinet.serve(
        port, control, address, _clock(speed), communities=communities, traffic=traffic, backup_s=backup
    )
    return _run(_until_stopped(cabinet))


@app.command
def replay(
    *,
    port: Port = 0,
    control: str | None = None,
    monitor: str | None = None,
    read_community: str = READ_COMMUNITY,
    write_community: str = WRITE_COMMUNITY,
    speed: Speed = 1.0,
    splice: str | None = None,
) -> int:
    """Serve a recorded junction (device 1136 of the package atspm) as an NTCIP 1202 controller.

    Args:
        port: UDP port on 127.0.0.1; 0 takes a free one.
        control: path, or 127.0.0.1:port, of the control socket.
        monitor: address of its conflict monitor, 127.0.0.1:port.
        read_community: who may read.
        write_community: who may read and write.
        speed: recorded seconds per real second; above 10 a poll every 100 ms misses yellows.
        splice: inject an overlapping green, as SECONDS:PHASE:DURATION into the log.
    """
    try:
        address = _address(monitor)
        recording = Recording.load()
        if splice is not None:
            recording.splice(_overlap(splice))
    except ValueError as error:
        return _fail(str(error))
    communities = Communities(read_community, write_community)
    served = Replay.serve_recording(port, control, address, recording=recording, speed=speed, communities=communities)
    return _run(_until_stopped(served))


@app.command
def monitor(
    *, port: Port = 0, control: str | None = None, card: Path = CARDS / "dual_ring.toml", latch: Path | None = None
) -> int:
    """Serve an independent conflict monitor, fed with lamp states on UDP.

    Args:
        port: UDP port on 127.0.0.1; 0 takes a free one.
        control: path, or 127.0.0.1:port, of the control socket.
        card: its program card: what may be lit together.
        latch: file that keeps a latched fault over a restart.
    """
    return _run(_until_stopped(MonitorBox.serve(card, latch, port, control)))


@app.command
def monitors(*, port: Port = 0, until_eof: bool = False) -> int:
    """Serve any number of conflict monitors to a test: told the time, or each on a wire of its own.

    Args:
        port: TCP port of the control lines on 127.0.0.1; 0 takes a free one.
        until_eof: end with standard input too, so with whoever holds its other end.
    """
    return _run(_until_stopped(MonitorRack.serve(port), until_eof))


def _overlap(text: str) -> Overlap:
    try:
        at, phase, duration = text.split(":")
        return Overlap(float(at), int(phase), float(duration))
    except ValueError as error:
        raise ValueError(f"--splice: expected SECONDS:PHASE:DURATION, got {text!r}") from error


def _address(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise ValueError(f"expected host:port, got {text!r}")
    return host, int(port)


@app.command
def fault(control: str, name: str, state: Literal["on", "off"] = "on", *, unit: int | None = None) -> int:
    """Switch a fault of a running simulator. ``all off`` clears every fault.

    Args:
        control: the simulator's control socket.
        name: one of ``armoire-sim faults``, with ``:argument`` where it takes one.
        state: on or off.
        unit: which device, where one process simulates several.
    """
    return _run(_ask_and_print(control, _for_unit({"fault": name, "on": state == "on"}, unit)))


@app.command
def state(control: str, *, unit: int | None = None) -> int:
    """Show the inside of a running simulator."""
    return _run(_ask_and_print(control, _for_unit({"get": "state"}, unit)))


@app.command(name="set")
def set_stimulus(control: str, *pairs: str, unit: int | None = None) -> int:
    """Change the world around a running simulator, as in ``loop_a=true lux=12``."""
    stimulus = {}
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not separator:
            return _fail(f"expected name=value, got {pair!r}")
        try:
            stimulus[name] = json.loads(value)
        except ValueError:
            stimulus[name] = value
    return _run(_ask_and_print(control, _for_unit({"set": stimulus}, unit)))


@app.command
def do(control: str, action: str) -> int:
    """Ask a running simulator for an action or a log of its own: ``sets``, ``events``, ``press_reset``…"""
    return _run(_ask_and_print(control, {"do": action}))


@app.command
def district(
    *,
    directory: Annotated[Path, cyclopts.Parameter(name="--dir")] = Path("build/run"),
    http: Port = 8080,
) -> int:
    """Run a whole district on this machine: broker, hardware, cabinets, fleet manager. Ctrl-C stops it.

    Args:
        directory: where its keys, state and log are kept.
        http: port of the console on 127.0.0.1.
    """
    try:
        # The district pulls in the gateway and the fleet: only when it is asked for.
        whole = importlib.import_module("simulators.district")
    except ModuleNotFoundError as error:
        return _fail(f"the district needs the gateway and the fleet installed: {error}")
    return int(whole.district(directory, http))


@app.command
def faults() -> int:
    """List the menu of faults."""
    for kind in MENU.values():
        name = f"{kind.name}:{kind.argument.upper().replace(' ', '-')}" if kind.argument else kind.name
        print(f"{name:26} {kind.meaning}")
    return 0


def _for_unit(request: dict[str, Any], unit: int | None) -> dict[str, Any]:
    return request if unit is None else {**request, "unit": unit}


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # A sign the terminal cannot show is no reason to fail.
    try:
        sys.exit(app())
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main()
