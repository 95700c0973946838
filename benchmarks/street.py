"""Simulated junctions with a guard in front of them, as a process of its own: ``python -m benchmarks.street``.

It prints one JSON line for each thing measured. It stands for machines that are not the gateway, so it runs before
everything else where the kernel permits that; the guard it starts does not inherit this.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from agent.model.equipment import Junction
from agent.model.site_file import read_cabinet
from agent.process.client import LocalClient, PeerDownError
from agent.wire.demotrust import sign_demo_site
from agent.wire.local import GetStatus, Status
from benchmarks.child import BenchError, Child, memory
from benchmarks.machine import ROOT
from benchmarks.town import PROFILES
from simulators.bollard_plc import BollardPlc, Bollards
from simulators.cabinet import Cabinet
from simulators.clock import RealClock
from simulators.signal_controller.oids import CHANNEL_STATUS, SYSTEM_PATTERN_CONTROL, dotted
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic
from simulators.snmp_message import GET, decode

SITES = ROOT / "configs" / "sites"
JUNCTION_GATEWAY, BOLLARD_GATEWAY = "gw-republique", "gw-liberation"
PRIORITY = 30  # above the guard's own
FLASH = 255
GREENS = (*CHANNEL_STATUS, 4)
"""channelStatusGroupGreens."""
SCANS_BEFORE = 5
SCAN_S = 0.1
WAIT_S = 60.0
STEP_S = 0.002
BOLLARDS = 3


class Listening:
    """A controller whose answers to questions for its greens are timed; reading back a SET is none."""

    def __init__(self, cabinet: SignalCabinet) -> None:
        self.cabinet = cabinet
        self.answered_s: list[float] = []
        self._answer = cabinet.responder.answer
        cabinet.responder.answer = self._listen  # type: ignore[method-assign]

    def _listen(self, datagram: bytes) -> bytes | None:
        request = decode(datagram)
        if request.kind == GET and any(oid[: len(GREENS)] == GREENS for oid, _ in request.varbinds):
            self.answered_s.append(self.cabinet.stand.clock.now_s())
        return self._answer(datagram)

    def flash_sets_s(self) -> list[float]:
        """When the pattern was set to flash."""
        name = dotted(SYSTEM_PATTERN_CONTROL)
        sets = self.cabinet.controller.control.sets
        return [each.time_s for each in sets if each.oid == name and each.value == FLASH]


class Street:
    """Where rounds are run.

    Args:
        folder: has ``trust``, the demonstration's keys; gets one folder for each guard.
        realtime: as in the site file's [guard].
    """

    def __init__(self, folder: Path, realtime: str, seed: int) -> None:
        self._folder = folder
        self._realtime = realtime
        self._dice = random.Random(seed)
        self._seed = seed

    async def conflicts(self, count: int, junctions: int) -> None:
        """Measure so many conflicts, a few junctions to a guard, one after the other."""
        done = 0
        while done < count:
            done += await self._round(min(junctions, count - done))

    async def _round(self, junctions: int) -> int:
        async with AsyncExitStack() as stack:
            wires = [await self._wire(stack) for _ in range(junctions)]
            presence = await stack.enter_async_context(Cabinet.serve())
            home, matrix = self._junctions(wires, presence.port)
            guard, _ = await stack.enter_async_context(_guard(home))
            await _until("the guard scans", lambda: all(len(wire.answered_s) >= SCANS_BEFORE for wire in wires), guard)
            measured = [await self._conflict(wire, matrix, guard) for wire in wires]
            await asyncio.sleep(3 * SCAN_S)  # Should it be requested again, it shows by now.
            for wire, times in zip(wires, measured, strict=True):
                _tell("conflict", **times, sets=len(wire.flash_sets_s()))
        shutil.rmtree(home)
        return junctions

    async def _wire(self, stack: AsyncExitStack) -> Listening:
        return Listening(
            await stack.enter_async_context(SignalCabinet.serve(traffic=Traffic(self._seed), started=True))
        )

    async def _conflict(self, wire: Listening, matrix: Junction, guard: Child) -> dict[str, float]:
        cabinet = wire.cabinet
        await asyncio.sleep(self._dice.uniform(0, SCAN_S))
        await _until("something is green", lambda: _victim(cabinet, matrix) > 0, guard)
        began_s = cabinet.stand.clock.now_s()
        cabinet.fault(f"stuck_green:{_victim(cabinet, matrix)}")
        await _until("flash is requested", wire.flash_sets_s, guard)
        flash_s = wire.flash_sets_s()[0]
        second_s = [at_s for at_s in wire.answered_s if at_s >= began_s][1]
        return {
            "whole": 1000 * (flash_s - began_s),
            "second": 1000 * (second_s - began_s),
            "after_second": 1000 * (flash_s - second_s),
        }

    async def beat(self, seconds: float) -> None:
        """Let a guard with one junction scan for so long; tell how well it kept its beat, and its memory."""
        async with AsyncExitStack() as stack:
            wire = await self._wire(stack)
            presence = await stack.enter_async_context(Cabinet.serve())
            home, _ = self._junctions([wire], presence.port)
            guard, client = await stack.enter_async_context(_guard(home))
            await self._scan("junction", guard, client, seconds)

    async def bollards(self, seconds: float) -> None:
        """The same with three Modbus bollards and no SNMP."""
        async with AsyncExitStack() as stack:
            bollards = Bollards([BollardPlc() for _ in range(BOLLARDS)], RealClock())
            await stack.enter_async_context(bollards.server.serve(0))
            await stack.enter_async_context(bollards.stand.run(None))
            text = (
                (SITES / f"{BOLLARD_GATEWAY}.toml").read_text().replace("127.0.0.1:15022", f"127.0.0.1:{bollards.port}")
            )
            home = self._furnish(BOLLARD_GATEWAY, text)
            guard, client = await stack.enter_async_context(_guard(home))
            await self._scan("bollards", guard, client, seconds)

    async def _scan(self, what: str, guard: Child, client: LocalClient, seconds: float) -> None:
        before = (await _status(client)).figures
        for _ in range(round(seconds)):
            await asyncio.sleep(1)
            _tell("second")
        status = await _status(client)
        held = memory(guard.pid)
        of_beat = {name.partition(",")[0]: status.figures[name] for name in status.figures if "late" in name}
        counted = {
            name: _number(status.figures[name]) - _number(before[name])
            for name in ("ticks", "late ticks", "skipped ticks")
        }
        _tell(what, **(of_beat | counted), rss_mb=held.rss_mb, pss_mb=held.pss_mb, warnings=status.warnings)

    def _junctions(self, wires: list[Listening], presence: int) -> tuple[Path, Junction]:
        """A cabinet with as many junctions as wires, each with the reference junction's matrix."""
        text = (SITES / f"{JUNCTION_GATEWAY}.toml").read_text().replace("127.0.0.1:15021", f"127.0.0.1:{presence}")
        head, mark, junction = text.partition("[[junction]]")
        parts = [head]
        for number, wire in enumerate(wires):
            address = f"127.0.0.1:{wire.cabinet.port}"
            parts.append(mark + junction.replace("127.0.0.1:16161", address).replace('"j-republique"', f'"j-{number}"'))
        home = self._furnish(JUNCTION_GATEWAY, "\n".join(parts))
        equipment = read_cabinet((home / "site.toml").read_text(), "site.toml").site.equipment.values()
        return home, next(each for each in equipment if isinstance(each, Junction))

    def _furnish(self, gateway: str, text: str) -> Path:
        home = Path(tempfile.mkdtemp(prefix="g", dir=self._folder))
        text = text.replace('"../profiles"', f'"{PROFILES}"').replace(
            "[guard]\n", f'[guard]\nrealtime = "{self._realtime}"\n', 1
        )
        (home / "site.toml").write_text(text)
        shutil.copytree(self._folder / "trust" / "gateways" / gateway, home / "state" / "keys")
        sign_demo_site(self._folder / "trust", home / "site.toml", time.time_ns() // 1_000_000)
        return home


def _victim(cabinet: SignalCabinet, junction: Junction) -> int:
    """A signal group that is red and may not be green now; 0 if there is none."""
    greens = cabinet.controller.lamps().greens
    lit = {group.number for group in junction.groups if greens & group.bit}
    for group in junction.groups:
        if group.number not in lit and any(frozenset((group.number, each)) in junction.conflicts for each in lit):
            return int(group.number)
    return 0


@asynccontextmanager
async def _guard(home: Path) -> AsyncIterator[tuple[Child, LocalClient]]:
    guard = Child(("-m", "agent.guard", str(home / "site.toml")), home / "log")
    client = LocalClient(home / "state" / "guard.sock")
    try:
        await _until("the guard answers", (home / "state" / "guard.sock").exists, guard)
        yield guard, client
    finally:
        await client.close()
        await asyncio.to_thread(guard.stop, signal.SIGKILL)


async def _status(client: LocalClient) -> Status:
    try:
        reply = await client.ask(GetStatus())
    except PeerDownError as error:
        raise BenchError(str(error)) from error
    assert isinstance(reply, Status)
    return reply


async def _until(what: str, is_so: Callable[[], object], guard: Child) -> None:
    end_s = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > end_s or guard.process.poll() is not None:
            raise BenchError(f"waited in vain: {what}\n{guard.said()[-2000:]}")
        await asyncio.sleep(STEP_S)


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _tell(kind: str, **told: object) -> None:
    print(json.dumps({"kind": kind, **told}), flush=True)


def main(arguments: list[str]) -> int:
    """Run one measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.street", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("what", choices=("conflicts", "beat", "bollards"))
    parser.add_argument("number", type=int, help="how many conflicts, or how many seconds")
    parser.add_argument("--realtime", default="if-permitted")
    parser.add_argument("--junctions", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    os.environ["MALLOC_ARENA_MAX"] = "1"  # As the guard's systemd unit has it.
    with suppress(PermissionError):  # Then it competes like everything else, and the table says so.
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(PRIORITY))
    street = Street(asked.folder, asked.realtime, asked.seed)
    work: Callable[[], Coroutine[object, object, None]] = {
        "conflicts": lambda: street.conflicts(asked.number, asked.junctions),
        "beat": lambda: street.beat(asked.number),
        "bollards": lambda: street.bollards(asked.number),
    }[asked.what]
    try:
        asyncio.run(work())
    except BenchError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
