"""What the guard asks of the kernel, and what it says when that is not given. In processes of their own."""

import ctypes
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from tests.guard.living import launch, living_guard

PR_CAPBSET_DROP, CAP_IPC_LOCK, CAP_SYS_NICE = 24, 14, 23  # linux/prctl.h, linux/capability.h
NOTHING = {resource.RLIMIT_RTPRIO: 0, resource.RLIMIT_MEMLOCK: 8 * 2**20}
LIBC = ctypes.CDLL(None)
CLAIM = """
import json, os
from agent.guard.realtime import claim
from agent.model.site import Realtime
lacks = claim(Realtime({mode!r}), 7)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, status["VmLck"].split()[0],
                  [[lack.what, str(lack)] for lack in lacks]]))
"""


def restrict(limits: Mapping[int, int]) -> None:
    """Before a program starts: leave it no right beyond these limits, be it root."""
    for limit, value in limits.items():
        resource.setrlimit(limit, (value, value))
    for capability in (CAP_IPC_LOCK, CAP_SYS_NICE):
        LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # Where that fails we had none to give.


def claimed(mode: str, limits: Mapping[int, int] | None = None) -> tuple[int, int, int, list[list[str]]]:
    """Claim in a process of its own, restricted if limits are given: policy, priority, locked kB, what was lacking."""
    done = subprocess.run(
        [sys.executable, "-c", CLAIM.format(mode=mode)],
        preexec_fn=None if limits is None else partial(restrict, limits),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    policy, priority, locked, lacks = json.loads(done.stdout)
    return policy, priority, int(locked), lacks


def may_be_real_time() -> bool:
    """Some kernels and containers refuse even root."""
    return subprocess.run(["chrt", "-f", "7", "true"], capture_output=True, check=False).returncode == 0


def test_with_permission_it_runs_before_others_and_keeps_its_memory() -> None:
    if not may_be_real_time():
        pytest.skip("nobody here may run a process in real time")
    policy, priority, locked_kb, lacks = claimed("if-permitted")
    assert (policy, priority, lacks) == (os.SCHED_FIFO, 7, [])
    assert 5_000 < locked_kb < 60_000  # What it uses, and not every library from end to end.


def test_what_is_switched_off_is_not_asked_for() -> None:
    policy, _, locked_kb, lacks = claimed("off")
    assert (policy, locked_kb, lacks) == (os.SCHED_OTHER, 0, [])


def test_without_permission_it_runs_on_and_names_each_missing_one_and_how_to_give_it() -> None:
    policy, _, locked_kb, lacks = claimed("if-permitted", NOTHING)
    assert (policy, locked_kb) == (os.SCHED_OTHER, 0)
    (first, says_first), (second, says_second) = lacks
    assert first == "real-time scheduling (SCHED_FIFO 7)"
    assert "LimitRTPRIO=7 in its systemd unit, or CAP_SYS_NICE" in says_first
    assert second == "locking its memory (mlockall)"
    assert "LimitMEMLOCK=infinity, or CAP_IPC_LOCK" in says_second


def may_raise_limits() -> bool:
    """Some containers keep that from root too (CAP_SYS_RESOURCE)."""
    raised = ("prlimit", "--rtprio=7:7", "--memlock=unlimited:unlimited", "true")
    return subprocess.run(raised, capture_output=True, check=False).returncode == 0


def test_the_limits_of_the_systemd_unit_are_permission_enough() -> None:
    if not may_be_real_time() or not may_raise_limits():
        pytest.skip("nobody here may give a process these limits")
    limits = {resource.RLIMIT_RTPRIO: 7, resource.RLIMIT_MEMLOCK: resource.RLIM_INFINITY}
    policy, _, locked_kb, lacks = claimed("if-permitted", limits)
    assert (policy, lacks) == (os.SCHED_FIFO, [])
    assert locked_kb > 5_000


@pytest.mark.slow
async def test_a_guard_without_permission_warns_and_seals_that_and_watches_all_the_same() -> None:
    async with living_guard() as guard:
        await guard.start(before=partial(restrict, NOTHING))
        warnings = (await guard.status()).warnings
        assert [warning.partition(" not permitted: ")[0] for warning in warnings] == [
            "real-time scheduling (SCHED_FIFO 10)",
            "locking its memory (mlockall)",
        ]
        assert all("the guard runs without; to permit it: Limit" in warning for warning in warnings)
        assert await guard.log("guard.health") == warnings
        assert (await guard.view()).link == "answers"


@pytest.mark.slow
async def test_a_guard_that_requires_it_does_not_start_without() -> None:
    async with living_guard() as guard:
        text = guard.site.read_text()
        guard.site.write_text(text.replace("[guard]\n", '[guard]\nrealtime = "required"\n', 1))
        process = await launch(guard.site, before=partial(restrict, NOTHING))
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert "guard.realtime is required: real-time scheduling (SCHED_FIFO 10) not permitted" in errors.decode()
        assert "The guard controls nothing" in errors.decode()
        assert "Traceback" not in errors.decode()


@pytest.mark.slow
async def test_every_thread_of_a_permitted_guard_runs_in_real_time_so_that_none_holds_up_another() -> None:
    if not may_be_real_time():
        pytest.skip("nobody here may run a process in real time")
    async with living_guard() as guard:
        await guard.start()
        assert guard.process is not None
        threads = [int(task.name) for task in Path(f"/proc/{guard.process.pid}/task").iterdir()]
        assert len(threads) > 1  # The ledger has one of its own.
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_FIFO}
        assert {os.sched_getparam(thread).sched_priority for thread in threads} == {10}
        assert (await guard.status()).warnings == []
