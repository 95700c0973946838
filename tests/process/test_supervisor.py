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

from agent.cli.supervisor import Program, Supervisor
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


# A program that says it is not set up right (exit code 2).


def shell(name: str, script: str, folder: Path) -> Program:
    return Program(name, ("sh", "-c", f"cd {folder} && {script}"))


STEADY = "echo $$ > steady.pid; while :; do sleep 0.02; done"
READS_ITS_FILE = "echo try >> tries; test -f site.toml || exit 2; echo $$ > broken.pid; while :; do sleep 0.02; done"


@asynccontextmanager
async def keeping(supervisor: Supervisor) -> AsyncIterator[None]:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        run = group.create_task(supervisor.run())
        try:
            yield
        finally:
            supervisor._stop.set()
        assert await run


async def test_what_cannot_start_is_tried_seldom_and_said_while_the_other_runs_on(tmp_path: Path) -> None:
    told: list[str] = []
    programs = shell("guard", READS_ITS_FILE, tmp_path), shell("agent", STEADY, tmp_path)
    async with keeping(Supervisor(programs, told.append, setup_backoff_s=(0.05, 0.2))):
        await wait_until(lambda: sum("read again in" in text for text in told) >= 4)
        pauses = [text.rpartition(" in ")[2] for text in told if text.startswith("guard cannot start as it is set up")]
        assert pauses[:4] == ["0.05 s", "0.1 s", "0.2 s", "0.2 s"]
        assert sum(text.startswith("agent runs as") for text in told) == 1
        assert runs(pid_of(tmp_path, "steady"))


async def test_a_repaired_file_is_picked_up(tmp_path: Path) -> None:
    programs = shell("guard", READS_ITS_FILE, tmp_path), shell("agent", STEADY, tmp_path)
    async with keeping(Supervisor(programs, lambda _: None, setup_backoff_s=(0.05, 0.1))):
        await wait_until((tmp_path / "tries").exists)
        (tmp_path / "site.toml").touch()
        await wait_until(lambda: runs(pid_of(tmp_path, "broken")))
        assert runs(pid_of(tmp_path, "steady"))


async def test_when_nothing_can_start_the_supervisor_ends_at_once_and_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    programs = tuple(shell(name, "echo try >> tries; exit 2", tmp_path) for name in ("guard", "agent"))
    async with asyncio.timeout(20):
        assert await Supervisor(programs, told.append).run() is False
    assert (tmp_path / "tries").read_text().split() == ["try", "try"]
    assert "nothing else runs" in told[-1]


async def test_a_crash_is_no_setup_error(tmp_path: Path) -> None:
    told: list[str] = []
    async with keeping(Supervisor((shell("agent", "exit 1", tmp_path),), told.append)):
        await wait_until(lambda: sum("agent ended with 1; again in" in text for text in told) >= 2)


async def test_armoire_run_without_keys_ends_with_the_reason_and_exit_2(tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text((ROOT / "configs" / "sites" / "gw-republique.toml").read_text())
    armoire = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "agent.cli", "run", str(site), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        _, said = await armoire.communicate()
    words = said.decode()
    assert armoire.returncode == 2
    assert words.count("enrol the gateway first") == 2  # Once by each process.
    assert "nothing else runs" in words
    assert words.endswith("Repair what is said above and start again.\n")
    assert "Traceback" not in words
