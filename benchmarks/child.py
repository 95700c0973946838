"""Processes under measurement: started here, looked at through /proc, and always ended."""

import ctypes
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

STOP_S = 10.0
WAIT_S = 60.0
STEP_S = 0.02
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)


class BenchError(Exception):
    """A measurement cannot be made; what is printed says why."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB (10^6 bytes); ``pss_mb`` counts a page shared by n processes as 1/n."""

    rss_mb: float
    pss_mb: float


class Child:
    """One process. Use as a context manager; SIGTERM at the end, SIGKILL if that does not help.

    Args:
        arguments: after ``python``. log: takes its output.
    """

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                (sys.executable, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the children in order.
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing here starts processes from a thread
            )
        self.pid = self.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(STOP_S)

    def said(self) -> str:
        """Its output so far."""
        return self._log.read_text(errors="replace")

    def wait_for(self, what: str, is_so: Callable[[], object], timeout_s: float = WAIT_S) -> None:
        """Wait until a condition holds while the process lives.

        Raises:
            BenchError: the process ended, or time did.
        """
        end_s = time.monotonic() + timeout_s
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > end_s:
                raise BenchError(f"waited in vain: {what}\n{self.said()[-2000:]}")
            time.sleep(STEP_S)


def memory(pid: int | str) -> Memory:
    """What a process takes now; ``self`` for our own."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) * 1024 / 1e6
    return Memory(fields["Rss"], fields["Pss"])


def cpu_s(pid: int) -> float:
    """CPU seconds of the threads that live now.

    From the scheduler's own nanoseconds: ``/proc/<pid>/stat`` counts clock ticks, and a process that wakes for half a
    millisecond on a timer falls between them.
    """
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def written_bytes() -> int:
    """Bytes this process has had written to disk since it began; memory file systems do not count."""
    for line in Path("/proc/self/io").read_text().splitlines():
        name, _, value = line.partition(": ")
        if name == "write_bytes":
            return int(value)
    raise BenchError("the kernel does not count what a process writes")


@contextmanager
def busy_cores(count: int, log: Path) -> Iterator[None]:
    """Keep so many cores busy, at ordinary priority."""
    children = [Child(("-c", "while True: pass"), log) for _ in range(count)]
    try:
        yield
    finally:
        for child in children:
            child.stop(signal.SIGKILL)


def _die_with_parent() -> None:
    """In the child, before its program: ask the kernel to end it should we be killed outright."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
