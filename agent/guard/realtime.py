"""Ask the kernel for what a guard needs to be in time: the processor before others, and memory that stays.

Neither makes the guard safer, only prompter: without them it watches and trips all the same, and says what is missing.
Measured: docs/benchmarks.md, "Reaction".
"""

import ctypes
import gc
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from agent.model.site import Realtime

_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4  # linux/mman.h
_CAP_IPC_LOCK = 14  # linux/capability.h


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing the kernel did not grant.

    Args:
        what: what the guard goes without. why: the kernel's word. give: how to permit it.
    """

    what: str
    why: str
    give: str

    def __str__(self) -> str:
        return f"{self.what} not permitted: {self.why}; the guard runs without; to permit it: {self.give}"


def claim(realtime: Realtime, priority: int) -> tuple[Lack, ...]:
    """Claim processor and memory for this process; return what was not granted.

    Called before any thread is started, because threads inherit the scheduling. The ledger's thread must: if it were
    interrupted by ordinary work while it holds Python's lock, the scan would wait for it, real time or not.

    Args:
        priority: of SCHED_FIFO, 1..49. Low: it need only stand before ordinary processes.
    """
    if realtime is Realtime.OFF:
        return ()
    return tuple(lack for lack in (_run_first(priority), _stay_in_memory()) if lack is not None)


def _run_first(priority: int) -> Lack | None:
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        what, give = f"real-time scheduling (SCHED_FIFO {priority})", f"LimitRTPRIO={priority} in its systemd unit"
        return Lack(what, error.strerror or str(error), f"{give}, or CAP_SYS_NICE")
    return None


def _stay_in_memory() -> Lack | None:
    """Lock what is in memory now and what will come, page by page as it is first used: whole libraries would triple it.

    Only without a limit: at a limit, it would be the guard's next allocation that fails.
    """
    lack = Lack("locking its memory (mlockall)", "the limit is finite", "LimitMEMLOCK=infinity, or CAP_IPC_LOCK")
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY and not _may_lock_anything():
        return lack
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return Lack(lack.what, os.strerror(ctypes.get_errno()), lack.give)
    return None


def _may_lock_anything() -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False


def settle() -> None:
    """Set aside what the start has made: the collector need not look through it again.

    It stays on. What a running guard makes is little, so that even a full collection is over in a fraction of a
    millisecond (status: ``longest collection``); switched off, a cycle made every tick would fill the memory.
    """
    gc.collect()
    gc.freeze()
