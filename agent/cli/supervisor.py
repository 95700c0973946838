"""Keep programs running: restart whichever stops, stop all on Ctrl-C, leave no process behind.

A program that says it is not set up right is no crash: starting it again heals nothing until somebody has repaired a
file. It is tried again all the same, seldom, because whoever repairs the file expects it to come up.

In production systemd does this; ``armoire run`` does it for one cabinet, the simulated district for everything.
"""

import asyncio
import contextlib
import ctypes
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from agent.process.entry import EXIT_SETUP

BACKOFF_S = (0.2, 5.0)  # first and longest wait before a restart
STEADY_S = 30.0  # a process that ran this long starts again from the first wait
SETUP_BACKOFF_S = (5.0, 60.0)
"""The same after a set-up error: each try reads every file anew, so a repair is met within the longest."""
STOP_TIMEOUT_S = 8.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Program:
    """One process to keep running.

    Args:
        stage: programs of a lower stage start first and stop last.
    """

    name: str
    arguments: tuple[str, ...]
    stage: int = 0


Tell = Callable[[str], None]


class Supervisor:
    """Runs programs until SIGINT or SIGTERM; each restarts without the others.

    Args:
        tell: is told, a sentence at a time, what started and what ended.
        output: where the programs' own output goes; ours if None.
        setup_backoff_s: first and longest wait after a set-up error.
    """

    def __init__(
        self,
        programs: tuple[Program, ...],
        tell: Tell,
        output: IO[str] | None = None,
        setup_backoff_s: tuple[float, float] = SETUP_BACKOFF_S,
    ) -> None:
        self._programs = programs
        self._tell = tell
        self._output = output
        self._setup_backoff_s = setup_backoff_s
        self._stop = asyncio.Event()
        self._unusable: set[str] = set()  # Ended by a set-up error and not started again yet.
        self.pids: dict[str, int] = {}

    async def run(self) -> bool:
        """Keep everything running; return when everything has stopped.

        Returns:
            True if that was asked for, False if no program was left that could start as it is set up.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        stages = sorted({program.stage for program in self._programs})
        stops = {stage: asyncio.Event() for stage in stages}
        async with asyncio.TaskGroup() as group:
            kept: dict[int, list[asyncio.Task[None]]] = {stage: [] for stage in stages}
            for program in sorted(self._programs, key=lambda program: program.stage):
                task = group.create_task(self._keep(program, stops[program.stage]), name=program.name)
                kept[program.stage].append(task)
            await self._stop.wait()
            for stage in reversed(stages):
                stops[stage].set()
                await asyncio.wait(kept[stage])
        return len(self._unusable) < len(self._programs)

    async def _keep(self, program: Program, stop: asyncio.Event) -> None:
        wait_s = BACKOFF_S[0]
        setup_wait_s = self._setup_backoff_s[0]
        while not stop.is_set():
            self._unusable.discard(program.name)
            process = await asyncio.create_subprocess_exec(
                *program.arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the children in order.
                preexec_fn=_die_with_parent,
            )
            started_s = time.monotonic()
            self.pids[program.name] = process.pid
            self._tell(f"{program.name} runs as pid {process.pid}")
            if not await _ended_before(process, stop):
                await _stop(process)
                continue
            if process.returncode == EXIT_SETUP:
                await self._wait_repaired(program, stop, setup_wait_s)
                setup_wait_s = min(setup_wait_s * 2, self._setup_backoff_s[1])
                continue
            setup_wait_s = self._setup_backoff_s[0]
            wait_s = BACKOFF_S[0] if time.monotonic() - started_s > STEADY_S else min(wait_s * 2, BACKOFF_S[1])
            pause_s = wait_s * random.uniform(0.5, 1.0)
            if not self._stop.is_set():
                self._tell(f"{program.name} ended with {process.returncode}; again in {pause_s:.1f} s")
            await _wait(stop, pause_s)

    async def _wait_repaired(self, program: Program, stop: asyncio.Event, pause_s: float) -> None:
        if self._stop.is_set():
            await stop.wait()
            return
        self._unusable.add(program.name)
        if len(self._unusable) == len(self._programs):
            self._tell(f"{program.name} cannot start as it is set up, and nothing else runs: stopping")
            self._stop.set()
            await stop.wait()
            return
        self._tell(
            f"{program.name} cannot start as it is set up (its own words are above); "
            f"its files are read again in {pause_s:g} s"
        )
        await _wait(stop, pause_s)


def _die_with_parent() -> None:
    """In the child, before its program: ask the kernel for SIGTERM should the supervisor be killed outright."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _ended_before(process: asyncio.subprocess.Process, stop: asyncio.Event) -> bool:
    """Wait until the process ends (True) or a stop is asked (False)."""
    async with asyncio.TaskGroup() as group:
        ended = group.create_task(process.wait())
        asked = group.create_task(stop.wait())
        await asyncio.wait((ended, asked), return_when=asyncio.FIRST_COMPLETED)
        has_ended = ended.done()
        ended.cancel()
        asked.cancel()
    return has_ended


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):  # It may end by itself just now.
        process.terminate()
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
