"""The supervisor over real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from tests.process.keeping import STAGES
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


def pid_of(folder: Path, name: str) -> int:
    """The pid a program last wrote, 0 if none."""
    try:
        return int((folder / f"{name}.pid").read_text())
    except (OSError, ValueError):
        return 0


def runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def supervised(folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    supervisor = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.process.keeping", str(folder), cwd=ROOT, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await wait_until(lambda: all(pid_of(folder, name) for name in STAGES))
        yield supervisor
    finally:
        if supervisor.returncode is None:
            supervisor.kill()
        await supervisor.wait()
        for name in STAGES:
            if runs(pid_of(folder, name)):
                os.kill(pid_of(folder, name), signal.SIGKILL)


async def test_a_killed_program_is_started_again_and_the_others_do_not_notice(tmp_path: Path) -> None:
    async with supervised(tmp_path):
        before = {name: pid_of(tmp_path, name) for name in STAGES}
        for _ in range(2):
            victim = pid_of(tmp_path, "hardware")
            os.kill(victim, signal.SIGKILL)
            await wait_until(lambda victim=victim: pid_of(tmp_path, "hardware") != victim)  # type: ignore[misc]
        after = {name: pid_of(tmp_path, name) for name in STAGES}
        assert after["broker"] == before["broker"]
        assert after["cabinet"] == before["cabinet"]
        assert runs(after["hardware"])
        assert not (tmp_path / "stopped").exists()


async def test_programs_do_not_outlive_a_supervisor_that_is_killed_outright(tmp_path: Path) -> None:
    async with supervised(tmp_path) as supervisor:
        pids = [pid_of(tmp_path, name) for name in STAGES]
        assert all(map(runs, pids))
        supervisor.kill()
        await wait_until(lambda: not any(map(runs, pids)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_stop_ends_the_stages_in_reverse_and_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    async with supervised(tmp_path) as supervisor:
        pids = [pid_of(tmp_path, name) for name in STAGES]
        supervisor.send_signal(number)
        async with asyncio.timeout(20):
            assert await supervisor.wait() == 0
        assert (tmp_path / "stopped").read_text().split() == ["cabinet", "hardware", "broker"]
        assert not any(map(runs, pids))


async def test_a_stop_while_a_program_waits_to_be_started_again_is_not_delayed(tmp_path: Path) -> None:
    async with supervised(tmp_path) as supervisor:
        os.kill(pid_of(tmp_path, "cabinet"), signal.SIGKILL)
        supervisor.send_signal(signal.SIGINT)  # At any moment between its end and its next start.
        async with asyncio.timeout(20):
            assert await supervisor.wait() == 0
        assert not runs(pid_of(tmp_path, "cabinet"))
