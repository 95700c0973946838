"""Everything at once on a running junction, judged by somebody who shares nothing with the guard.

The conflict monitor is a process of its own with a matrix of its own: it sees the lamps, 50 ms apart, and latches after
300 ms of conflict. The guard is a process too. Between it and the controller stands a liar; on the network a rogue; on
its socket a flood. The junction runs by the wall clock.
"""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from simulators.cabinet import Cabinet
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.attack.cast import Cast
from tests.attack.liar import HARMLESS, LIES, Relay
from tests.attack.siege import PLAN, SEED, flood, forged_commands, forged_fleet
from tests.guard.living import LivingGuard
from tests.guard.rig import FLASH, furnish, home_folder
from tests.referee import Judge, Verdict, wired
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.hil]
STORM_S = 12.0
LIE_S = 0.4
Require = Callable[[str], Path]


class Stage:
    """A junction under guard and under judgement, with a liar in between."""

    guard: LivingGuard
    relay: Relay
    judge: Judge
    cast: Cast


@asynccontextmanager
async def stage(verdict: Verdict = "clear") -> AsyncIterator[Stage]:
    """With the monitor's flash line connected, as in a real cabinet."""
    async with AsyncExitStack() as stack:
        set_up = Stage()
        home = stack.enter_context(home_folder())
        judged_signals = wired(lambda monitor: SignalCabinet.serve(started=True, monitor=monitor), verdict, line=True)
        signals, set_up.judge = await stack.enter_async_context(judged_signals)
        cabinet = await stack.enter_async_context(Cabinet.serve())
        set_up.relay = await stack.enter_async_context(Relay.serve(signals.port))
        ports = {"signals": set_up.relay.port, "presence": cabinet.port}
        site, people = furnish(home, "gw-republique", ports, unix_ms=time.time_ns() // 1_000_000)
        guard = set_up.guard = LivingGuard(site, people, signals, cabinet)
        set_up.cast = Cast(home, people)
        try:
            await guard.start()
            yield set_up
        finally:
            if guard.process is not None:
                await guard.end(signal.SIGKILL)
            await guard.client.close()


async def rogue(program: Path, port: int, value: int) -> None:
    """Somebody with the write community."""
    address, oid = f"127.0.0.1:{port}", ".1.3.6.1.4.1.1206.4.2.1.4.14.0"
    process = await asyncio.create_subprocess_exec(
        program, "-v1", "-c", "dijon-write", "-t", "2", "-r", "0", "-Oq", address, oid, "i", str(value),
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert await process.wait() == 0


async def test_in_a_storm_of_lies_floods_and_rogues_the_monitor_sees_no_conflict(require_program: Require) -> None:
    snmpset, rng = require_program("snmpset"), random.Random(SEED)
    print(f"\nseed {SEED}")
    async with stage() as at:
        guard, relay = at.guard, at.relay
        assert (await guard.ask("select-plan", PLAN)).ended == "done"
        nonce = (await guard.status()).nonce
        lies, end_s = sorted(LIES), time.monotonic() + STORM_S

        async def lying() -> None:
            while time.monotonic() < end_s:
                name = rng.choice([*lies, *sorted(HARMLESS)])
                relay.lie = LIES.get(name) or HARMLESS[name]
                await asyncio.sleep(LIE_S)
                relay.lie = None
                await asyncio.sleep(LIE_S / 2)

        async def tampering() -> None:
            await asyncio.sleep(STORM_S / 2)
            await rogue(snmpset, guard.signals.port, 1)

        async with asyncio.TaskGroup() as group:
            group.create_task(lying())
            group.create_task(tampering())
            group.create_task(flood(guard, [*forged_commands(at.cast, nonce), *forged_fleet(at.cast)], 20_000, rng))
        seen = at.judge.state()
        assert (seen["latched"], seen["flash"]) == (None, False)
        assert seen["samples"] > STORM_S / 0.05 / 2, "it has judged all the while"
        view = await guard.view_when("holding", False)
        assert view.latch is None
        assert FLASH not in guard.patterns
        patterns = list(guard.patterns)
        patterns.remove(1)
        assert set(patterns) <= {2, 0}
        assert patterns[-1] == 0, "given back, not fought for"


async def test_the_monitor_that_judges_sees_a_conflict_when_there_is_one() -> None:
    """A referee that never whistles proves nothing."""
    async with stage("conflict") as at:
        for group in (1, 2, 3, 4):
            at.guard.signals.fault(f"stuck_green:{group}")
        latched = await at.guard.view_when("latch")
        assert latched.latch is not None
        assert latched.latch.rule == "SR-02"
        await wait_until(lambda: at.judge.state()["latched"] is not None)
        await wait_until(lambda: at.guard.patterns != [])
        assert at.guard.patterns[0] == 0
        assert at.guard.patterns.count(FLASH) <= 1
