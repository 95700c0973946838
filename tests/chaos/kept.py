"""Real processes that are killed, frozen and started again, and watched for dying by themselves."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

STOP_S = 10.0
SAMPLE_S = 0.5


@dataclass(slots=True)
class Life:
    """One process of a program, from its start to its end; times are monotonic seconds.

    Args:
        frozen: intervals in which it was stopped. cpu: (monotonic seconds, CPU seconds used by then), each SAMPLE_S.
    """

    pid: int
    began_s: float
    ended_s: float = 0.0
    frozen: list[tuple[float, float]] = field(default_factory=list)
    fds_max: int = 0
    rss_mb: list[float] = field(default_factory=list)
    cpu: list[tuple[float, float]] = field(default_factory=list)


class Kept:
    """One program. It runs until it is told to stop; whatever ends it otherwise is a failure."""

    def __init__(self, name: str, arguments: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.lives: list[Life] = []
        self.deaths: list[str] = []
        program = (sys.executable, *arguments) if arguments[0] == "-m" else arguments
        self.arguments = ("setpriv", "--pdeathsig", "KILL", *program)  # Nothing outlives a storm that is killed.
        self._process: subprocess.Popen[bytes] | None = None
        self._freezes = 0

    @property
    def is_running(self) -> bool:
        """Started, and not known to have ended."""
        return self._process is not None

    @property
    def is_free(self) -> bool:
        """Running, and not stopped."""
        return self.is_running and not self._freezes

    @property
    def life(self) -> Life:
        """The newest process."""
        return self.lives[-1]

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._process is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.lives.append(Life(self._process.pid, time.monotonic()))
        self._freezes = 0

    def kill(self) -> bool:
        """SIGKILL, as a power cut would; False if it did not run."""
        self.look()
        if self._process is None:
            return False
        self._process.kill()
        self._process.wait(STOP_S)
        self._over()
        return True

    def freeze(self) -> Life | None:
        """SIGSTOP; give what ``thaw`` wants, None if it does not run or is frozen already."""
        self.look()
        if self._process is None or self._freezes:
            return None
        self._process.send_signal(signal.SIGSTOP)
        self._freezes += 1
        self.life.frozen.append((time.monotonic(), 0.0))
        return self.life

    def thaw(self, life: Life) -> None:
        """SIGCONT to the process that was frozen, if it is still that one."""
        if self._process is None or self.life is not life or not self._freezes:
            return
        self._process.send_signal(signal.SIGCONT)
        self._freezes = 0
        life.frozen[-1] = (life.frozen[-1][0], time.monotonic())

    async def stop(self) -> None:
        """SIGTERM, and wait; an exit code other than 0 is a failure."""
        self.look()
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            code = await asyncio.to_thread(process.wait, STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            code = await asyncio.to_thread(process.wait, STOP_S)
            self.deaths.append(f"{self.name} did not stop within {STOP_S:.0f} s of SIGTERM")
        else:
            if code != 0:
                self.deaths.append(f"{self.name} stopped with {code}")
        self._over()

    def look(self) -> None:
        """Notice an end nobody asked for; begin it anew, as a supervisor would."""
        if self._process is not None and (code := self._process.poll()) is not None:
            self.deaths.append(f"{self.name} (pid {self._process.pid}) ended by itself with {code}")
            self._over()
            self.start()

    def sample(self) -> None:
        """Take down how large it is."""
        self.look()
        if self._process is None:
            return
        folder = Path(f"/proc/{self._process.pid}")
        with contextlib.suppress(OSError):
            self.life.fds_max = max(self.life.fds_max, len(list((folder / "fd").iterdir())))
            pages = int((folder / "statm").read_text().split()[1])
            self.life.rss_mb.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
            used = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]  # utime and stime, proc(5)
            self.life.cpu.append((time.monotonic(), sum(map(int, used)) / os.sysconf("SC_CLK_TCK")))

    def _over(self) -> None:
        self._process = None
        self.life.ended_s = time.monotonic()
        if self._freezes:
            self.life.frozen[-1] = (self.life.frozen[-1][0], self.life.ended_s)
        self._freezes = 0


async def watch(programs: Sequence[Kept]) -> None:
    """Look at every program again and again, until cancelled."""
    while True:  # As long as the storm and what follows.
        for each in programs:
            each.sample()
        await asyncio.sleep(SAMPLE_S)
