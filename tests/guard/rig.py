"""A guard in this process on simulated hardware over real wires.

Time is one clock moved by hand, for the guard and its hardware alike: a minute costs what its ticks cost.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from agent.guard.flashes import recall_flashes
from agent.guard.guarded import Guarded
from agent.guard.junction import JunctionGuard
from agent.guard.process import Guard
from agent.model.identity import EquipmentId
from agent.model.site_file import read_cabinet
from agent.process.client import LocalClient
from agent.process.clock import Clock, Sync
from agent.wire.demotrust import sign_demo_site
from agent.wire.keyfile import Signer
from agent.wire.local import (
    EquipmentIs,
    EquipmentView,
    GetEquipment,
    GetLog,
    GetStatus,
    LogEntry,
    LogIs,
    Noted,
    OutcomeIs,
    Status,
    Submit,
    TellFleetSeen,
)
from agent.wire.messages import Outcome, Value
from agent.wire.sealing import open_result
from agent.wire.topics import up
from simulators.bollard_plc import BollardPlc, Bollards
from simulators.cabinet import Cabinet
from simulators.clock import ManualClock
from simulators.signal_controller.agent import Communities
from simulators.signal_controller.signal_cabinet import SignalCabinet
from simulators.signal_controller.traffic import Traffic
from tests.guard.people import People
from tests.referee import Verdict, judged

SITES = Path(__file__).parents[2] / "configs" / "sites"
UNIX_MS = 1_800_000_000_000
START_S = 1_000.0
TICK_S = 0.1
REST_S = 0.5
PRESENCE_TICKS = 5
PATTERN_OID = "1.3.6.1.4.1.1206.4.2.1.4.14.0"
FLASH = 255
NOBODY_S = 0.3
WIRES = {"presence": "127.0.0.1:15021", "bollards": "127.0.0.1:15022", "signals": "127.0.0.1:16161"}
T = TypeVar("T")


@contextmanager
def home_folder() -> Iterator[Path]:
    """A short one, because a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="armoire-") as folder:
        yield Path(folder)


def furnish(home: Path, gateway: str, ports: dict[str, int], unix_ms: int = UNIX_MS) -> tuple[Path, People]:
    """Lay out a cabinet's folder as on site, with the simulators' addresses; return its site file and its people."""
    text = (SITES / f"{gateway}.toml").read_text()
    for wire, written in WIRES.items():
        if wire in ports:
            text = text.replace(written, f"127.0.0.1:{ports[wire]}")
    text = text.replace('"../profiles"', f'"{SITES.parent / "profiles"}"')
    site = home / "site.toml"
    site.write_text(text)
    people = People(home / "trust", read_cabinet(text, site.name).site.city, gateway, unix_ms)
    (home / "state").mkdir()
    people.keys.rename(home / "state" / "keys")
    sign_demo_site(home / "trust", site, unix_ms)
    return site, people


class Rig:
    """One guard, its people and its clock. Subclasses know the hardware."""

    guard: Guard
    client: LocalClient

    def __init__(self, site: Path, people: People, clock: ManualClock) -> None:
        self.site, self.people, self.clock = site, people, clock
        people.clock_ms = self.unix_ms
        self.wall_ms, self.is_kept = 0, True  # By how much the wall clock is set forward; whether the network keeps it.
        self._ticks = 0

    def now_ms(self) -> int:
        """Monotonic, as the guard reads it."""
        return round(self.clock.now_s() * 1000)

    def unix_ms(self) -> int:
        """Wall time, as the guard reads it."""
        return UNIX_MS + self.wall_ms + self.now_ms()

    @asynccontextmanager
    async def guarding(self) -> AsyncIterator[None]:
        """Start a guard without its scan loops, which the test turns by hand; ends like a killed process."""
        cabinet = read_cabinet(self.site.read_text(), self.site.name)
        clock = Clock(self.now_ms, self.unix_ms, lambda: Sync(self.is_kept))
        self.guard = Guard(cabinet, self.site.parent, clock)
        await self.guard.records.open()
        await recall_flashes(cabinet.site, self.guard.records, self.guard.surroundings, self.guard._clock)
        self.client = LocalClient(self.site.parent / "state" / "guard.sock")
        try:
            async with self.guard.gatekeeper.working(), self.guard.server.serving():
                yield
        finally:
            await self.vanish()

    async def vanish(self) -> None:
        """Let go of everything as a dead process does: nothing is released. The disk has what was begun."""
        await self.client.close()
        for guarded in self.guard.guarded.values():
            if isinstance(guarded, JunctionGuard):
                await guarded._controller.close()
        for line in self.guard.lines.values():
            await line.close()
        await self.guard.records.close()

    def __getitem__(self, equipment: str) -> Guarded:
        return self.guard.guarded[EquipmentId(equipment)]

    async def tick(self, step_s: float = TICK_S) -> None:
        """One scan of everything."""
        self.clock.advance(step_s)
        self._ticks += 1
        if self.guard.presence is not None and self._ticks % PRESENCE_TICKS == 0:
            await self.guard.presence.read()
        for guarded in self.guard.guarded.values():
            await guarded.tick()

    async def run(self, seconds: float) -> None:
        """Scan ten times a second."""
        for _ in range(round(seconds / TICK_S)):
            await self.tick()

    async def rest(self, seconds: float) -> None:
        """Scan twice a second, where time is to pass and nothing is to happen that takes two scans in a row."""
        for _ in range(round(seconds / REST_S)):
            await self.tick(REST_S)

    async def run_until(self, condition: Callable[[], bool], seconds_max: float = 120.0) -> None:
        """Scan until ``condition()`` holds."""
        for _ in range(round(seconds_max / TICK_S)):
            if condition():
                return
            await self.tick()
        raise AssertionError(f"it did not happen within {seconds_max:g} s")

    async def meanwhile(self, work: Awaitable[T]) -> T:
        """Scan while something is awaited."""

        async def finish() -> T:
            return await work

        async with asyncio.TaskGroup() as group:
            task = group.create_task(finish())
            while not task.done():  # Whatever is awaited has its own time-out.
                await self.tick()
        return task.result()

    async def status(self) -> Status:
        """What the guard says of itself."""
        reply = await self.client.ask(GetStatus())
        assert isinstance(reply, Status)
        return reply

    async def view(self, equipment: str) -> EquipmentView:
        """What the guard shows of one piece of equipment."""
        reply = await self.client.ask(GetEquipment(equipment))
        assert isinstance(reply, EquipmentIs)
        return reply.equipment[0]

    async def log(self, *kinds: str) -> list[LogEntry]:
        """The sealed events of these kinds, oldest first."""
        reply = await self.client.ask(GetLog("", 500))
        assert isinstance(reply, LogIs)
        return [entry for entry in reply.entries if entry.kind in kinds]

    async def sealed(
        self,
        issuer: Signer,
        equipment: str,
        verb: str,
        args: Mapping[str, Value] | None = None,
        *others: Signer,
        expect: tuple[str, Value] | None = None,
    ) -> bytes:
        """A fresh command, sealed by its issuer and ``others``."""
        nonce = (await self.status()).nonce
        message = self.people.message(issuer, equipment, verb, nonce, args, expect=expect)
        return self.people.seal(message, issuer, *others)

    async def submit(self, sealed: bytes) -> Outcome:
        """Hand over a sealed command; its outcome is checked against the guard's key."""
        reply = await self.client.ask(Submit(sealed))
        assert isinstance(reply, OutcomeIs), reply
        topic = up(self.people.city, self.people.gateway, "result")
        assert open_result(self.people.ring, reply.sealed, topic, self.people.clock_ms()) == (reply.outcome, "guard")
        return reply.outcome

    async def ask_at_once(
        self, issuer: Signer, equipment: str, verb: str, args: Mapping[str, Value] | None = None, *others: Signer
    ) -> Outcome:
        """Command, while the clock stands still."""
        return await self.submit(await self.sealed(issuer, equipment, verb, args, *others))

    async def ask(
        self, issuer: Signer, equipment: str, verb: str, args: Mapping[str, Value] | None = None, *others: Signer
    ) -> Outcome:
        """Command, while the guard goes on scanning."""
        return await self.meanwhile(self.submit(await self.sealed(issuer, equipment, verb, args, *others)))

    async def hear_fleet(self) -> None:
        """Let the fleet be heard once."""
        topic, sealed = self.people.state(self.unix_ms())
        assert isinstance(await self.client.ask(TellFleetSeen(topic, sealed)), Noted)


class JunctionRig(Rig):
    """A junction and the cabinet door."""

    signals: SignalCabinet
    cabinet: Cabinet

    @property
    def patterns(self) -> list[int]:
        """Every systemPatternControl that was SET, in order."""
        return [entry.value for entry in self.signals.controller.control.sets if entry.oid == PATTERN_OID]

    @property
    def other_sets(self) -> list[str]:
        """Objects other than that one that were SET: none, ever."""
        return [oid for oid in self.signals.controller.control.set_counts if oid != PATTERN_OID]

    def stand_at_the_cabinet(self, there: bool = True) -> None:
        """Open the door and turn the key, or the reverse."""
        self.cabinet.set(door_open=there, local_key=there)


@asynccontextmanager
async def junction_rig(
    traffic: Traffic | None = None,
    backup_s: int = 60,
    before: Callable[[Path], None] = lambda _site: None,
    communities: Communities | None = None,
    verdict: Verdict = "clear",
) -> AsyncIterator[JunctionRig]:
    """Place de la République, running and judged; ``before`` the guard starts something may happen to its site file."""
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        signals = await stack.enter_async_context(
            SignalCabinet.serve(clock=clock, started=True, traffic=traffic, backup_s=backup_s, communities=communities)
        )
        stack.enter_context(judged(signals, verdict))
        cabinet = await stack.enter_async_context(Cabinet.serve(clock=clock))
        site, people = furnish(home, "gw-republique", {"signals": signals.port, "presence": cabinet.port})
        before(site)
        rig = JunctionRig(site, people, clock)
        rig.signals, rig.cabinet = signals, cabinet
        await stack.enter_async_context(rig.guarding())
        yield rig


class BollardRig(Rig):
    """Three bollards."""

    bollards: Bollards


@asynccontextmanager
async def bollard_rig(
    plcs: Iterable[BollardPlc] | None = None, before: Callable[[Path], None] = lambda _site: None
) -> AsyncIterator[BollardRig]:
    """Place de la Libération, all down, the gateway heard; ``before`` as at the junction."""
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        bollards = Bollards(plcs or [BollardPlc() for _ in range(3)], clock)
        await stack.enter_async_context(bollards.server.serve(0))
        await stack.enter_async_context(bollards.stand.run(None))
        site, people = furnish(home, "gw-liberation", {"bollards": bollards.port})
        before(site)
        rig = BollardRig(site, people, clock)
        rig.bollards = bollards
        await stack.enter_async_context(rig.guarding())
        yield rig
