"""The agent as a process of its own, on a simulated cabinet that runs by the wall clock."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agent.process.client import LocalClient, PeerDownError
from agent.wire.local import GetLog, GetStatus, LogEntry, LogIs, OutcomeIs, Status, Submit
from agent.wire.messages import Outcome, Value
from simulators.cabinet import Cabinet
from tests.guard.people import People
from tests.guard.rig import home_folder
from tests.runtime.rig import DUSK_LUX, SEGMENT, lay_out
from tests.waiting import wait_until

START_TIMEOUT_S = 30.0
PAUSE_S = 0.05


class LivingAgent:
    """Place Darcy's agent, started and killed at will."""

    def __init__(self, site: Path, people: People, cabinet: Cabinet) -> None:
        self.site, self.people, self.cabinet = site, people, cabinet
        self.client = LocalClient(site.parent / "state" / "agent.sock")
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it and wait until it answers and has polled."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent.runtime", str(self.site), stderr=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    if (await self.status()).figures["polls"]:
                        return
                except PeerDownError:
                    assert self.process.returncode is None, (await self.process.communicate())[1].decode()
                await asyncio.sleep(PAUSE_S)

    async def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal and wait for the end; return exit code and standard error."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(START_TIMEOUT_S):
            _, errors = await self.process.communicate()
        await self.client.close()
        code, self.process = self.process.returncode, None
        assert code is not None
        return code, errors.decode()

    async def status(self) -> Status:
        """What it says of itself."""
        reply = await self.client.ask(GetStatus())
        assert isinstance(reply, Status)
        return reply

    async def log(self, *kinds: str) -> list[LogEntry]:
        """Its sealed events of these kinds, oldest first."""
        reply = await self.client.ask(GetLog("", 500))
        assert isinstance(reply, LogIs)
        return [entry for entry in reply.entries if entry.kind in kinds]

    async def ask(self, verb: str, args: Mapping[str, Value], equipment: str = SEGMENT) -> Outcome:
        """A technician's command."""
        people = self.people
        message = people.message(people.technician, equipment, verb, (await self.status()).nonce, dict(args))
        reply = await self.client.ask(Submit(people.seal(message, people.technician)))
        assert isinstance(reply, OutcomeIs), reply
        return reply.outcome

    async def lamps(self, *, on: bool, level_percent: int) -> None:
        """Wait until the first segment is there."""
        model = self.cabinet.model
        await wait_until(lambda: (model.coils[0], model.segments[0].level) == (on, level_percent))


@asynccontextmanager
async def living_agent(broker: int | None = None, *, is_started: bool = True) -> AsyncIterator[LivingAgent]:
    """By night; killed at the end."""
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        cabinet = await stack.enter_async_context(Cabinet.serve())
        cabinet.set(lux=DUSK_LUX)
        now_ms = time.time_ns() // 1_000_000
        site, people = lay_out(home, "gw-darcy", {"lighting": cabinet.port}, broker, now_ms)
        agent = LivingAgent(site, people, cabinet)
        try:
            if is_started:
                await agent.start()
            yield agent
        finally:
            if agent.process is not None:
                await agent.end(signal.SIGKILL)
