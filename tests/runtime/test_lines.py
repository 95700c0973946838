"""Units on lines: who is silent costs nobody else a poll, and a loop that stands still is not called alive."""

import asyncio
import socket

import pytest

from agent.model.identity import EquipmentId
from agent.model.observation import Quality
from simulators.background import alongside
from simulators.cabinet import Cabinet
from tests.runtime.rig import SEGMENT, LampRig, lamp_rig
from tests.waiting import wait_until

FAR = range(10, 16)
PERIOD_MS = 20


def far_units(port: int) -> str:
    """Units that are only read, at another address, where nobody answers for them."""
    return "".join(
        f'\n[[points]]\nid = "far-{unit}"\nname = "Far {unit}"\nposition = [47.3, 5.0]\n'
        f'modbus = {{ address = "127.0.0.1:{port}", unit = {unit}, profile = "cabinet-ref" }}\n'
        for unit in FAR
    )


async def run_polls(rig: LampRig) -> None:
    """Every poll's own loop, fast."""
    async with asyncio.TaskGroup() as group:
        for poll in rig.agent.units:
            poll._period_ms = PERIOD_MS
            group.create_task(poll.run(lambda: rig.clock.advance(PERIOD_MS / 1000)))


async def test_a_line_of_silent_units_costs_another_line_no_poll() -> None:
    async with Cabinet.serve() as far, lamp_rig(night=False, more=far_units(far.port)) as rig:
        assert len(rig.agent.units) == 2 + len(FAR)
        near = rig.agent.polls[EquipmentId(SEGMENT)]
        before = near.polls
        async with alongside(run_polls(rig)):
            async with asyncio.timeout(5):
                await wait_until(lambda: near.polls > before + 50)
            rig.nightfall()
            await wait_until(lambda: (rig.coil(), rig.level()) == (True, 80), 5)
        assert {point.quality for point in (await rig.points("far-10")).values()} == {Quality.STALE}


async def test_the_dead_unit_beside_a_living_one_on_the_same_line_is_asked_ever_less() -> None:
    async with lamp_rig() as rig:
        line = next(iter(rig.agent.lines.values()))
        rig.cabinet.fault("silent", unit=2)
        await rig.poll()
        silences = line.counters.silences
        began_s = asyncio.get_running_loop().time()
        await rig.poll(20)
        assert line.counters.silences <= silences + 4
        assert asyncio.get_running_loop().time() - began_s < 20 * 0.5  # Each time-out would cost half a second.
        assert {point.quality for point in (await rig.points(SEGMENT)).values()} == {Quality.GOOD}


async def test_the_watchdog_is_fed_only_while_every_loop_comes_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.runtime.process.WATCHDOG_PERIOD_S", 0.01)
    async with lamp_rig() as rig:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            path = rig.state / "notify"
            systemd.bind(str(path))
            systemd.settimeout(5)
            monkeypatch.setenv("NOTIFY_SOCKET", str(path))

            async def heard(word: str) -> None:
                async with asyncio.timeout(5):
                    while not (await asyncio.to_thread(systemd.recv, 500)).decode().startswith(word):
                        pass

            came_round = rig.agent._expect("poll", 15_000)
            async with alongside(rig.agent._feed_watchdog()):
                await heard("READY=1")
                await heard("WATCHDOG=1")
                rig.clock.advance(15.1)
                await heard("STATUS=late: poll")
                came_round()
                await heard("WATCHDOG=1")
