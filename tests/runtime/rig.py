"""An agent in this process on a simulated lighting cabinet over real wires, with a real journal and a real socket.

Time is one clock moved by hand, for the agent and its hardware alike. The polls are turned by hand; what writes to the
disk runs by itself, as in service.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from unittest.mock import patch

from agent.model.identity import EquipmentId
from agent.model.observation import PointValue, Quality, Scalar
from agent.model.site_file import read_cabinet
from agent.process.client import LocalClient
from agent.process.clock import Clock, Sync
from agent.process.trustfiles import read_trust
from agent.runtime.journal import Journal
from agent.runtime.process import Agent
from agent.runtime.recorder import PACES, Pace
from agent.runtime.segment import SegmentControl
from agent.wire import envelope
from agent.wire.demotrust import sign_demo_site
from agent.wire.keyfile import Signer
from agent.wire.local import (
    EquipmentIs,
    EquipmentView,
    GetEquipment,
    GetStatus,
    LogEntry,
    OutcomeIs,
    PointView,
    Reply,
    Status,
    Submit,
)
from agent.wire.messages import Batch, Outcome, Value, decode
from agent.wire.sealing import open_result
from agent.wire.topics import up
from simulators.background import alongside
from simulators.bollard_plc import BollardPlc, Bollards
from simulators.cabinet import Cabinet
from simulators.clock import ManualClock
from tests.guard.people import People
from tests.guard.rig import UNIX_MS, BollardRig, furnish, home_folder

START_S = 1_000.0
POLL_S = 0.5
DUSK_LUX, NOON_LUX = 5, 50_000
SEGMENT, OTHER, METER, BOX = "seg-darcy-1", "seg-darcy-2", "meter-darcy", "cab-darcy"
AT_ONCE = {stream: Pace(0.0, 1) for stream in PACES}
_LIGHTING, _BROKER = "127.0.0.1:15020", "127.0.0.1:1883"
Sample = tuple[str, Scalar, Quality]


def lay_out(
    home: Path, gateway: str, ports: dict[str, int], broker: int | None = None, unix_ms: int = UNIX_MS
) -> tuple[Path, People]:
    """A cabinet's folder as on site.

    Args:
        ports: of the simulated hardware. broker: its port; None leaves an address where nobody listens.
    """
    site, people = furnish(home, gateway, ports, unix_ms)
    text = site.read_text()
    if "lighting" in ports:
        text = text.replace(_LIGHTING, f"127.0.0.1:{ports['lighting']}")
    text = text.replace(_BROKER, f"127.0.0.1:{broker or 1}")
    site.write_text(text)
    sign_demo_site(home / "trust", site, unix_ms)
    return site, people


class AgentRig:
    """One agent, its people, its clock."""

    agent: Agent
    client: LocalClient
    journal: Journal

    def __init__(self, site: Path, people: People, clock: ManualClock) -> None:
        self.site, self.people, self.clock = site, people, clock
        people.clock_ms = self.unix_ms
        self.state = site.parent / "state"
        self.wall_ms, self.is_kept = 0, True  # By how much the wall clock is set forward; whether the network keeps it.
        self._marks = 0

    def now_ms(self) -> int:
        """Monotonic, as the agent reads it."""
        return round(self.clock.now_s() * 1000)

    def unix_ms(self) -> int:
        """Wall time, as the agent reads it."""
        return UNIX_MS + self.wall_ms + self.now_ms()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Start the agent without its loops but the recorder's."""
        cabinet = read_cabinet(self.site.read_text(), self.site.name)
        clock = Clock(self.now_ms, self.unix_ms, lambda: Sync(self.is_kept))
        trust = read_trust(self.state / "keys", "agent", cabinet.site.city)
        site = cabinet.site
        async with Journal(self.state / "agent.db", trust.signer, site.city, site.gateway, clock) as self.journal:
            with patch.dict(PACES, AT_ONCE):
                self.agent = Agent(cabinet, self.site.parent, clock, trust, self.journal)
            self.client = LocalClient(self.state / "agent.sock")
            try:
                async with (
                    self.agent.gatekeeper.working(),
                    self.agent.server.serving(),
                    alongside(self.agent.recorder.run()),
                ):
                    yield
            finally:
                await self.client.close()
                await self.agent.close()

    def __getitem__(self, segment: str) -> SegmentControl:
        return self.agent.segments[EquipmentId(segment)]

    async def poll(self, times: int = 1, step_s: float = POLL_S) -> None:
        """Poll every unit; the simulated time moves on before each."""
        for _ in range(times):
            self.clock.advance(step_s)
            for unit in self.agent.units:
                await unit.poll()

    async def ask(
        self, issuer: Signer, equipment: str, verb: str, *others: Signer, args: Mapping[str, Value] | None = None
    ) -> Outcome:
        """A fresh command through the socket; its outcome is checked against the agent's key."""
        reply = await self.submit(self.sealed(issuer, equipment, verb, *others, args=args))
        assert isinstance(reply, OutcomeIs), reply
        topic = up(self.people.city, self.people.gateway, "result")
        assert open_result(self.people.ring, reply.sealed, topic, self.people.clock_ms()) == (reply.outcome, "agent")
        return reply.outcome

    def sealed(
        self,
        issuer: Signer,
        equipment: str,
        verb: str,
        *others: Signer,
        args: Mapping[str, Value] | None = None,
        expect: tuple[str, Value] | None = None,
    ) -> bytes:
        """A fresh command, sealed by its issuer and ``others``."""
        nonce = self.agent.gatekeeper.nonce(self.now_ms())
        return self.people.seal(
            self.people.message(issuer, equipment, verb, nonce, dict(args or {}), expect=expect), issuer, *others
        )

    async def set_level(
        self, issuer: Signer, level_percent: int, lease_s: int = 600, segment: str = SEGMENT
    ) -> Outcome:
        """An override of a segment."""
        return await self.ask(issuer, segment, "set-level", args={"level_percent": level_percent, "lease_s": lease_s})

    async def submit(self, sealed: bytes) -> Reply:
        """Hand over a sealed command."""
        return await self.client.ask(Submit(sealed))

    async def status(self) -> Status:
        """What the agent says of itself."""
        reply = await self.client.ask(GetStatus())
        assert isinstance(reply, Status)
        return reply

    async def view(self, equipment: str) -> EquipmentView:
        """What the agent shows of one piece of equipment."""
        reply = await self.client.ask(GetEquipment(equipment))
        assert isinstance(reply, EquipmentIs)
        return reply.equipment[0]

    async def points(self, equipment: str) -> dict[str, PointView]:
        """Its points by name."""
        return {point.name: point for point in (await self.view(equipment)).points}

    async def log(self, *kinds: str, equipment: str = "") -> list[LogEntry]:
        """The sealed events of these kinds, oldest first."""
        for stream in ("alarm", "audit"):  # In order: when the mark is durable, so is everything before it.
            await self.agent.recorder.durable_event(stream, "mark", "", "", "", {})
        return [entry for entry in await self.journal.log(equipment, 500) if entry.kind in kinds]

    async def texts(self, *kinds: str, equipment: str = "") -> list[str]:
        """What these events say."""
        return [entry.text for entry in await self.log(*kinds, equipment=equipment)]

    async def samples(self, *streams: str) -> list[Sample]:
        """Everything sealed into these streams so far, in order."""
        found: list[Sample] = []
        for stream in streams:
            self._marks += 1
            mark = PointValue("mark/n", self._marks, Quality.GOOD, self.unix_ms())
            self.agent.recorder.changes(stream, [mark])
            async with asyncio.timeout(10):
                while (sealed := await self._sealed(stream))[-1:] != [("mark/n", self._marks, Quality.GOOD)]:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            found += (each for each in sealed if each[0] != "mark/n")
        return found

    async def _sealed(self, stream: str) -> list[Sample]:
        head = self.journal.heads[stream]
        links = await self.journal.sealed_after(stream, head.epoch, 0, 10_000)
        return [each for link in links for each in samples_of(link.sealed)]


def samples_of(sealed: bytes) -> list[Sample]:
    """The samples of one link, in order."""
    batch = decode(envelope.parse(sealed).payload, Batch)
    quality = dict(batch.quality)
    return [
        (batch.names[place], value, Quality(quality.get(n, 0)))
        for n, (place, value) in enumerate(zip(batch.points, batch.values, strict=True))
    ]


class LampRig(AgentRig):
    """Place Darcy: three segments and a meter."""

    cabinet: Cabinet

    def coil(self, channel: int = 0) -> bool:
        """What the cabinet has been told."""
        return self.cabinet.model.coils[channel]

    def level(self, channel: int = 0) -> int:
        """The level the cabinet holds."""
        return self.cabinet.model.segments[channel].level

    def nightfall(self) -> None:
        """The photocell sees dusk."""
        self.cabinet.set(lux=DUSK_LUX)

    def daybreak(self) -> None:
        """The photocell sees the sun."""
        self.cabinet.set(lux=NOON_LUX)

    def hear_fleet(self) -> None:
        """Let the fleet be heard now, as a verified state does."""
        courier = self.agent.uplink._courier
        assert courier is not None
        courier.leadership.heard_at_ms = self.now_ms()


@asynccontextmanager
async def lamp_rig(
    *, night: bool = True, more: str = "", photocell: bool = False, wall_ms: int = 0
) -> AsyncIterator[LampRig]:
    """Place Darcy, polled twice, by night or by day.

    Args:
        more: added to the site file. photocell: read with a dwell and checked by the clock, at every segment.
        wall_ms: by how much the wall clock is set forward; without it, it is a January morning.
    """
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        cabinet = await stack.enter_async_context(Cabinet.serve(clock=clock))
        site, people = lay_out(home, "gw-darcy", {"lighting": cabinet.port})
        text = site.read_text() + more
        site.write_text(text.replace("lease_h_max", "photocell = {}\nlease_h_max") if photocell else text)
        rig = LampRig(site, people, clock)
        rig.wall_ms = wall_ms
        rig.cabinet = cabinet
        await stack.enter_async_context(rig.serving())
        rig.nightfall() if night else rig.daybreak()
        await rig.poll(2)
        yield rig


class GuardedRig(AgentRig):
    """Place de la Libération: an agent that controls nothing itself, and a guard that can be taken away."""

    guard: BollardRig
    _guarding: AsyncExitStack

    async def start_guard(self) -> None:
        """Start the guard and look at it once."""
        await self._guarding.enter_async_context(self.guard.guarding())
        await self.guard.tick()
        await self.look()

    async def stop_guard(self) -> None:
        """Take the guard away, as SIGKILL does."""
        await self._guarding.aclose()

    async def look(self) -> bool:
        """Mirror the guard once."""
        assert self.agent.guard is not None
        return await self.agent.guard.look()


@asynccontextmanager
async def guarded_rig() -> AsyncIterator[GuardedRig]:
    """Place de la Libération, guard and agent running."""
    clock = ManualClock(START_S)
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        bollards = Bollards([BollardPlc() for _ in range(3)], clock)
        await stack.enter_async_context(bollards.server.serve(0))
        await stack.enter_async_context(bollards.stand.run(None))
        site, people = lay_out(home, "gw-liberation", {"bollards": bollards.port})
        rig = GuardedRig(site, people, clock)
        rig.guard = BollardRig(site, people, clock)
        rig.guard.bollards = bollards
        rig._guarding = await stack.enter_async_context(AsyncExitStack())
        await stack.enter_async_context(rig.serving())
        yield rig
