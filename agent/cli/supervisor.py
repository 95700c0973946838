"""Keep programs running: restart whichever stops, stop all on Ctrl-C, leave no process behind.

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

BACKOFF_S = (0.2, 5.0)  # first and longest wait before a restart
STEADY_S = 30.0  # a process that ran this long starts again from the first wait
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
    """

    def __init__(self, programs: tuple[Program, ...], tell: Tell, output: IO[str] | None = None) -> None:
        self._programs = programs
        self._tell = tell
        self._output = output
        self._stop = asyncio.Event()
        self.pids: dict[str, int] = {}

    async def run(self) -> None:
        """Keep everything running; return when everything has stopped."""
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

    async def _keep(self, program: Program, stop: asyncio.Event) -> None:
        wait_s = BACKOFF_S[0]
        while not stop.is_set():
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
            wait_s = BACKOFF_S[0] if time.monotonic() - started_s > STEADY_S else min(wait_s * 2, BACKOFF_S[1])
            pause_s = wait_s * random.uniform(0.5, 1.0)
            if not self._stop.is_set():
                self._tell(f"{program.name} ended with {process.returncode}; again in {pause_s:.1f} s")
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
