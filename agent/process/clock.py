"""The one clock of a process. The core never reads it; it is handed ``now_ms``."""

import ctypes
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.model.observation import ClockQuality
from agent.process.timescale import Heard, HostClock, Reading, Timescale, hear, raised, read

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
BOOT_BYTES = 8
TIME_ERROR = 5
STA_UNSYNC = 0x40
"""Linux, include/uapi/linux/timex.h: set until a daemon keeps the clock, and again once it may be 16 s off."""
SYNC_LOOK_MS = 1_000


@dataclass(frozen=True, slots=True)
class Sync:
    """Whether the network keeps the host's clock; ``error_ms``: at most so far off then."""

    is_synchronised: bool
    error_ms: int = 0


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def _unix_ms() -> int:
    return time.time_ns() // 1_000_000


def _kept() -> Sync:
    return Sync(is_synchronised=True)


class Clock:
    """Monotonic time for decisions, Unix time for stamps. May be asked by several threads.

    Args:
        now_ms: monotonic milliseconds. wall_ms: the host's Unix milliseconds. sync: what keeps it.
        boot: names the boot ``now_ms`` counts from.
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = _monotonic_ms,
        wall_ms: Callable[[], int] = _unix_ms,
        sync: Callable[[], Sync] = _kept,
        boot: bytes = bytes(BOOT_BYTES),
    ) -> None:
        self.now_ms = now_ms
        self.boot = boot
        self._wall_ms = wall_ms
        self._sync = sync
        self._scale = Timescale()
        self._seen: tuple[int, int, Sync] | None = None
        self._reading: Reading
        self._turn = threading.Lock()

    def read(self) -> Reading:
        """Time and what is known of it, all of one moment."""
        with self._turn:
            return self._read()

    def _read(self) -> Reading:
        seen = self.now_ms(), self._wall_ms(), self._sync()
        if seen != self._seen:  # A record asks several times in one millisecond.
            now_ms, wall_ms, sync = self._seen = seen
            host = HostClock(wall_ms, sync.is_synchronised, sync.error_ms)
            self._reading, self._scale = read(self._scale, now_ms, host)
        return self._reading

    def unix_ms(self) -> int:
        """Unix milliseconds, to be believed as far as ``quality`` says; near 1970 while the time is not known."""
        return self.read().unix_ms

    def quality(self) -> ClockQuality:
        """How far ``unix_ms`` may be believed."""
        return self.read().quality

    def known_ms(self) -> int | None:
        """Unix milliseconds for whoever decides by them; None if the clock may be too far off."""
        return self.read().known_ms

    def earliest_ms(self) -> int:
        """It is not before this: the floor, counted on."""
        return self.read().earliest_ms

    def hear(self, time_ms: int, *, is_live: bool) -> None:
        """Take in a fleet manager's signed time; it raises the floor once a known clock confirms it.

        Args:
            is_live: it was sent just now, as far as a receiver can tell.
        """
        with self._turn:
            reading = self._read()
            self._scale = hear(self._scale, Heard(time_ms, reading.now_ms, is_live), reading)
            self._seen = None

    def raise_floor(self, time_ms: int) -> None:
        """Take in a time it surely is already: the officers signed it, or it was confirmed before a restart."""
        with self._turn:
            reading = self._read()
            self._scale = raised(self._scale, Heard(time_ms, reading.now_ms), reading)
            self._seen = None


class KernelSync:
    """What the kernel says of its clock, asked once a second."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._asked_ms = -SYNC_LOOK_MS
        self._sync = Sync(is_synchronised=False)

    def __call__(self) -> Sync:
        """Whether a daemon keeps it by the network."""
        now_ms = _monotonic_ms()
        if now_ms - self._asked_ms >= SYNC_LOOK_MS:
            self._asked_ms = now_ms
            self._sync = self._ask()
        return self._sync

    def _ask(self) -> Sync:
        timex = _Timex()
        state = self._libc.adjtimex(ctypes.byref(timex))  # ``modes`` 0 only reads; needs no permission.
        if state < 0 or state == TIME_ERROR or timex.status & STA_UNSYNC:
            return Sync(is_synchronised=False)
        return Sync(is_synchronised=True, error_ms=timex.maxerror_us // 1000 + 1)


class _Timex(ctypes.Structure):
    """``struct timex``, adjtimex(2), as far as we read it; the kernel writes more."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("maxerror_us", ctypes.c_long),
        ("esterror_us", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def boot_id() -> bytes:
    """Names this boot of the host; where the kernel does not tell it, this process."""
    try:
        return bytes.fromhex(BOOT_ID.read_text().strip().replace("-", ""))[:BOOT_BYTES]
    except (OSError, ValueError):
        return os.urandom(BOOT_BYTES)


def host_clock() -> Clock:
    """The clock of this host."""
    return Clock(sync=KernelSync(), boot=boot_id())
