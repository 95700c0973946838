"""From a conflict on the lamps to the guard's flash request at the controller."""

import asyncio
import random
import shutil
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from agent.model.equipment import Junction
from agent.model.site_file import read_cabinet
from agent.wire.demotrust import make_demo_trust, sign_demo_site
from benchmarks.bench import Run
from benchmarks.child import BenchError, Child, busy_cores
from benchmarks.machine import ROOT
from benchmarks.table import Table
from benchmarks.town import CITY, PROFILES
from simulators.cabinet import Cabinet
from simulators.signal_controller.oids import CHANNEL_STATUS, SYSTEM_PATTERN_CONTROL, dotted
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic
from simulators.snmp_message import GET, decode

GATEWAY = "gw-republique"
SITE = ROOT / "configs" / "sites" / f"{GATEWAY}.toml"
FLASH = 255
GREENS = (*CHANNEL_STATUS, 4)
"""channelStatusGroupGreens."""
SCANS_BEFORE = 5
SCAN_S = 0.1
WAIT_S = 30.0
STEP_S = 0.002
SEED = 1
CORES = 2
METHOD = (
    "The guard as a process of its own polls the reference junction's simulated controller over real UDP every 100 ms. At "
    "a random moment of its beat an output sticks on green against a green that is lit (`stuck_green`); the lamps show "
    "the conflict at once. The simulator notes, by one clock, that moment, each question for the greens it answers and each SET it "
    "carries out; the end is the SET of systemPatternControl to 255 in its log. The second observation is the second "
    "answer after the conflict began: no request may go out before it. Every repetition has a fresh controller and a fresh "
    "guard (new state folder, same keys), because a latch is cleared only by hand on site, and a controller needs a whole "
    "start-up sequence to leave flash; nothing is carried over between repetitions that way. *Busy*: two processes spin on "
    "the two cores meanwhile, at ordinary priority, and guard and simulator compete with them."
)


@dataclass(slots=True)
class Times:
    """Milliseconds, one of each per repetition."""

    whole: list[float] = field(default_factory=list)
    second: list[float] = field(default_factory=list)
    after_second: list[float] = field(default_factory=list)
    sets: list[float] = field(default_factory=list)


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


def measure(run: Run) -> Table:
    """Nothing of ours beside it first, then both cores busy."""
    table = Table("Conflict on the lamps → flash request at the controller (100 ms scan)", METHOD)
    trust = run.folder / "trust"
    make_demo_trust(trust, CITY, [GATEWAY], now_ms=time.time_ns() // 1_000_000)
    count = run.count(40, 3)
    for which in ("alone", "busy"):
        load = nullcontext() if which == "alone" else busy_cores(CORES, run.folder / "busy.log")
        with load:
            times = asyncio.run(_measure(run, which, count))
        table.add(f"{which}: conflict → flash request", "ms", times.whole, "≤ 300")
        table.add(f"{which}: conflict → second observation", "ms", times.second)
        table.add(f"{which}: second observation → flash request", "ms", times.after_second, "≤ 50")
        table.add(f"{which}: flash requests per conflict", "", times.sets, "1")
    return table


async def _measure(run: Run, which: str, count: int) -> Times:
    dice = random.Random(SEED)
    times = Times()
    for number in range(count):
        run.advance(f"conflicts, {which}", number, count)
        await _one(run, dice, times)
    return times


async def _one(run: Run, dice: random.Random, times: Times) -> None:
    async with AsyncExitStack() as stack:
        cabinet = await stack.enter_async_context(SignalCabinet.serve(traffic=Traffic(SEED), started=True))
        presence = await stack.enter_async_context(Cabinet.serve())
        wire = Listening(cabinet)
        home = run.new_folder("g")
        junction = _furnish(home, run.folder / "trust", cabinet.port, presence.port)
        guard = await stack.enter_async_context(_guard(home))
        await _until("the guard scans", lambda: len(wire.answered_s) >= SCANS_BEFORE, guard)
        await _until("something is green", lambda: _victim(cabinet, junction) > 0, guard)
        await asyncio.sleep(SCAN_S + dice.uniform(0, SCAN_S))
        await _until("something is green", lambda: _victim(cabinet, junction) > 0, guard)
        began_s = cabinet.stand.clock.now_s()
        cabinet.fault(f"stuck_green:{_victim(cabinet, junction)}")
        await _until("flash is requested", wire.flash_sets_s, guard)
        await asyncio.sleep(3 * SCAN_S)  # Should it be requested again, it shows by now.
        flash_s = wire.flash_sets_s()
        observed_s = [at_s for at_s in wire.answered_s if at_s >= began_s]
        times.whole.append(1000 * (flash_s[0] - began_s))
        times.second.append(1000 * (observed_s[1] - began_s))
        times.after_second.append(1000 * (flash_s[0] - observed_s[1]))
        times.sets.append(len(flash_s))


def _furnish(home: Path, trust: Path, signals: int, presence: int) -> Junction:
    text = SITE.read_text()
    for written, port in (("127.0.0.1:16161", signals), ("127.0.0.1:15021", presence)):
        text = text.replace(written, f"127.0.0.1:{port}")
    text = text.replace('"../profiles"', f'"{PROFILES}"')
    (home / "site.toml").write_text(text)
    sign_demo_site(trust, home / "site.toml", time.time_ns() // 1_000_000)
    shutil.copytree(trust / "gateways" / GATEWAY, home / "state" / "keys")
    equipment = read_cabinet(text, "site.toml").site.equipment.values()
    return next(each for each in equipment if isinstance(each, Junction))


def _victim(cabinet: SignalCabinet, junction: Junction) -> int:
    """A signal group that is red and may not be green now; 0 if there is none."""
    greens = cabinet.controller.lamps().greens
    lit = {group.number for group in junction.groups if greens & group.bit}
    for group in junction.groups:
        if group.number not in lit and any(frozenset((group.number, each)) in junction.conflicts for each in lit):
            return int(group.number)
    return 0


@asynccontextmanager
async def _guard(home: Path) -> AsyncIterator[Child]:
    guard = Child(("-m", "agent.guard", str(home / "site.toml")), home / "log")
    try:
        yield guard
    finally:
        await asyncio.to_thread(guard.stop)


async def _until(what: str, is_so: Callable[[], object], guard: Child) -> None:
    end_s = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > end_s or guard.process.poll() is not None:
            raise BenchError(f"waited in vain: {what}\n{guard.said()[-2000:]}")
        await asyncio.sleep(STEP_S)
