"""The guard as a process of its own, on simulated hardware that runs by the wall clock."""

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from agent.process.client import LocalClient, PeerDownError
from agent.process.clock import Clock
from agent.wire.local import (
    EquipmentIs,
    EquipmentView,
    GetEquipment,
    GetLog,
    GetStatus,
    LogIs,
    OutcomeIs,
    Status,
    Submit,
)
from agent.wire.messages import Outcome, Value
from simulators.cabinet import Cabinet
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.guard.people import People
from tests.guard.rig import PATTERN_OID, furnish, home_folder
from tests.referee import Verdict, wired

START_TIMEOUT_S = 30.0
PAUSE_S = 0.05
J = "j-republique"


class LivingGuard:
    """One cabinet's guard, started and killed at will."""

    def __init__(self, site: Path, people: People, signals: SignalCabinet, cabinet: Cabinet) -> None:
        self.site, self.people, self.signals, self.cabinet = site, people, signals, cabinet
        self.client = LocalClient(site.parent / "state" / "guard.sock")
        self.process: asyncio.subprocess.Process | None = None

    @property
    def socket(self) -> Path:
        """Where it answers."""
        return self.site.parent / "state" / "guard.sock"

    @property
    def patterns(self) -> list[int]:
        """Every systemPatternControl that was SET, in order."""
        return [entry.value for entry in self.signals.controller.control.sets if entry.oid == PATTERN_OID]

    async def start(self, *options: str, before: Callable[[], object] | None = None) -> None:
        """Start it and wait until it has seen the junction; see ``launch``."""
        self.process = await launch(self.site, *options, before=before)
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                try:
                    if (await self.view()).link == "answers":
                        return
                except PeerDownError:
                    assert self.process.returncode is None
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

    async def log(self, kind: str) -> list[str]:
        """The texts of its sealed events of one kind, oldest first."""
        reply = await self.client.ask(GetLog("", 500))
        assert isinstance(reply, LogIs)
        return [entry.text for entry in reply.entries if entry.kind == kind]

    async def view(self) -> EquipmentView:
        """What it shows of the junction."""
        reply = await self.client.ask(GetEquipment(J))
        assert isinstance(reply, EquipmentIs)
        return reply.equipment[0]

    async def view_when(self, word: str, is_so: bool = True) -> EquipmentView:
        """Wait until the junction is latched (or holds something) and return its view."""
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                view = await self.view()
                if bool(getattr(view, word)) is is_so:
                    return view
                await asyncio.sleep(PAUSE_S)

    async def ask(self, verb: str, args: Mapping[str, Value] | None = None) -> Outcome:
        """A technician's command."""
        people = self.people
        message = people.message(people.technician, J, verb, (await self.status()).nonce, args)
        reply = await self.client.ask(Submit(people.seal(message, people.technician)))
        assert isinstance(reply, OutcomeIs), reply
        return reply.outcome


async def launch(site: Path, *options: str, before: Callable[[], object] | None = None) -> asyncio.subprocess.Process:
    """Start a guard on a site file.

    Args:
        options: Python's own. before: called in the new process before its program.
    """
    arguments = (*options, "-m", "agent.guard", str(site))
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stderr=asyncio.subprocess.PIPE, preexec_fn=before
    )


@asynccontextmanager
async def living_guard(verdict: Verdict = "clear") -> AsyncIterator[LivingGuard]:
    """Place de la République, judged, with a guard that is not started yet; whatever is left of it is killed."""
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        judged_signals = wired(lambda monitor: SignalCabinet.serve(started=True, monitor=monitor), verdict)
        signals, _ = await stack.enter_async_context(judged_signals)
        cabinet = await stack.enter_async_context(Cabinet.serve())
        ports = {"signals": signals.port, "presence": cabinet.port}
        site, people = furnish(home, "gw-republique", ports, unix_ms=time.time_ns() // 1_000_000)
        people.clock_ms = Clock().unix_ms
        guard = LivingGuard(site, people, signals, cabinet)
        try:
            yield guard
        finally:
            if guard.process is not None:
                await guard.end(signal.SIGKILL)
            await guard.client.close()
