"""The guard under systemd, which is played by a real datagram socket: fed, full, and gone."""

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guard.living import PAUSE_S, START_TIMEOUT_S, LivingGuard, living_guard
from tests.guard.rig import home_folder

pytestmark = pytest.mark.slow
FAST_USEC = 60_000  # fed every 20 ms: a queue that nobody reads is full at once


@contextmanager
def systemd(monkeypatch: pytest.MonkeyPatch, usec: int) -> Iterator[socket.socket]:
    """A socket as systemd has it, told to whatever is started from here."""
    with home_folder() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(folder / "notify"))
        bound.settimeout(START_TIMEOUT_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(usec))
        yield bound


async def ticks(guard: LivingGuard) -> int:
    return int(str((await guard.status()).figures["ticks"]))


async def goes_on_scanning(guard: LivingGuard) -> None:
    wanted = await ticks(guard) + 20
    async with asyncio.timeout(10):  # Two seconds' worth.
        while True:
            if await ticks(guard) >= wanted:
                return
            await asyncio.sleep(PAUSE_S)


async def test_systemd_hears_ready_once_then_is_fed_and_hears_of_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    with systemd(monkeypatch, FAST_USEC) as bound:
        async with living_guard() as guard:
            await guard.start()
            said = [await asyncio.to_thread(bound.recv, 100) for _ in range(5)]
            assert said == [b"READY=1", *[b"WATCHDOG=1"] * 4]
            ending = asyncio.create_task(guard.end(signal.SIGTERM))
            while said[-1] != b"STOPPING=1":  # Bounded by the socket's time-out.
                said.append(await asyncio.to_thread(bound.recv, 100))
            assert await ending == (0, "")
            assert set(said[5:-1]) <= {b"WATCHDOG=1"}


async def test_a_systemd_that_never_reads_costs_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    with systemd(monkeypatch, FAST_USEC):
        async with living_guard() as guard:
            await guard.start()
            await goes_on_scanning(guard)
            await goes_on_scanning(guard)
            assert int(str((await guard.status()).figures["skipped ticks"])) < 10


async def test_a_systemd_that_has_died_costs_no_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    with systemd(monkeypatch, FAST_USEC) as bound:
        async with living_guard() as guard:
            await guard.start()
            path = Path(bound.getsockname())
            bound.close()
            await goes_on_scanning(guard)
            path.unlink()
            await goes_on_scanning(guard)
