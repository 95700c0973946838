"""The systemd units: understood by systemd, independent of each other, and what the guard asks for is in them."""

import ctypes
import re
import shutil
import signal
import subprocess
import sys
from collections import defaultdict
from importlib.util import find_spec
from pathlib import Path

import pytest

from agent.guard.process import SCAN_DEADLINE_MS, WATCHDOG_PERIOD_S
from agent.model.site_file import REALTIME_PRIORITY
from tests.guard.living import living_guard
from tests.tree import ROOT

FOLDER = ROOT / "configs" / "systemd"
UNITS = ("armoire-guard", "armoire-agent")
MODULES = {"armoire-guard": "agent.guard", "armoire-agent": "agent.runtime"}
PYTHON = "/opt/armoire/bin/python"
HARDENED = (
    "NoNewPrivileges", "ProtectHome", "PrivateTmp", "ProtectClock", "ProtectHostname", "ProtectKernelTunables",
    "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "RestrictNamespaces", "RestrictSUIDSGID",
    "LockPersonality", "MemoryDenyWriteExecute",
)  # fmt: skip
EXPOSURE_MAX = 20  # systemd's own scale times ten: up to here it says "OK"
ANALYZE = shutil.which("systemd-analyze")
PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 65, 1  # linux/prctl.h, from 6.3 on
Unit = dict[str, list[str]]


def unit(name: str) -> Unit:
    """Every key with all its values."""
    values: Unit = defaultdict(list)
    for line in (FOLDER / f"{name}.service").read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            key, _, value = line.partition("=")
            values[key].append(value)
    return values


def seconds(value: str) -> float:
    assert value.isdecimal()
    return float(value)


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (make system-packages)")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_understands_every_line_and_finds_little_exposed(name: str, tmp_path: Path) -> None:
    assert ANALYZE is not None
    text = (FOLDER / f"{name}.service").read_text()
    assert text.count(PYTHON) == 1
    here = tmp_path / f"{name}.service"
    here.write_text(text.replace(PYTHON, sys.executable))
    verified = subprocess.run([ANALYZE, "verify", str(here)], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    asked = [ANALYZE, "security", "--offline=yes", "--no-pager", f"--threshold={EXPOSURE_MAX}", str(here)]
    rated = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert rated.returncode == 0, rated.stdout


@pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed (make system-packages)")
def test_the_daily_renewal_is_understood_shut_in_and_starts_what_is_there(tmp_path: Path) -> None:
    assert ANALYZE is not None
    program = "/opt/armoire/bin/armoire"
    for name in ("armoire-renew.service", "armoire-renew.timer"):
        (tmp_path / name).write_text((FOLDER / name).read_text().replace(program, sys.executable))
    places = [str(tmp_path / name) for name in ("armoire-renew.timer", "armoire-renew.service")]
    verified = subprocess.run([ANALYZE, "verify", *places], capture_output=True, text=True, timeout=60, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    found = unit("armoire-renew")
    assert found["ExecStart"] == [f"{program} renew /etc/armoire/site.toml"]
    assert {key: found[key] for key in HARDENED} == {key: ["yes"] for key in HARDENED}
    asked = [ANALYZE, "security", "--offline=yes", "--no-pager", "--threshold=50", places[1]]
    rated = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
    assert rated.returncode == 0, rated.stdout  # It runs as root, so it is less shut in than the two.


@pytest.mark.parametrize("name", UNITS)
def test_no_unit_names_the_other_as_something_it_needs_or_waits_for(name: str) -> None:
    (other,) = set(UNITS) - {name}
    for key, values in unit(name).items():
        assert key in ("ExecStartPre", "Description") or not any(other in value for value in values), key
    assert unit(name)["After"] == ["network.target"]


@pytest.mark.parametrize("name", UNITS)
def test_each_is_started_again_for_ever_and_watched(name: str) -> None:
    found = unit(name)
    assert (found["Type"], found["Restart"], found["StartLimitIntervalSec"]) == (["notify"], ["always"], ["0"])
    assert seconds(found["WatchdogSec"][0]) >= 3 * WATCHDOG_PERIOD_S
    assert 1_000 * seconds(found["WatchdogSec"][0]) > SCAN_DEADLINE_MS
    assert found["WantedBy"] == ["multi-user.target"]


@pytest.mark.parametrize("name", UNITS)
def test_each_is_shut_in(name: str) -> None:
    found = unit(name)
    assert {key: found[key] for key in HARDENED} == {key: ["yes"] for key in HARDENED}
    assert (found["ProtectSystem"], found["CapabilityBoundingSet"], found["UMask"]) == (["strict"], [""], ["0077"])
    assert found["SystemCallFilter"] == ["@system-service"]
    assert found["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]


def test_each_has_its_own_user_and_folder_and_only_the_group_in_common() -> None:
    guard, agent = unit("armoire-guard"), unit("armoire-agent")
    assert guard["User"] != agent["User"]
    assert guard["StateDirectory"] != agent["StateDirectory"]
    assert guard["Group"] == agent["Group"] == ["armoire"]
    assert guard["StateDirectoryMode"] == agent["StateDirectoryMode"] == ["0750"]  # The group may look, not write.
    users = (FOLDER / "armoire.sysusers.conf").read_text()
    for name in (*guard["User"], *agent["User"]):
        assert re.search(rf"^u {name} ", users, re.MULTILINE)
        assert re.search(rf"^m {name} armoire$", users, re.MULTILINE)


def test_the_guard_may_run_in_real_time_and_keep_its_memory_and_the_agent_may_not_stand_in_its_way() -> None:
    guard, agent = unit("armoire-guard"), unit("armoire-agent")
    assert int(guard["LimitRTPRIO"][0]) >= REALTIME_PRIORITY
    assert guard["LimitMEMLOCK"] == ["infinity"]
    assert guard["RestrictRealtime"] == ["no"]
    assert agent["RestrictRealtime"] == ["yes"]
    assert int(guard["OOMScoreAdjust"][0]) < int(agent["OOMScoreAdjust"][0])


@pytest.mark.parametrize("name", UNITS)
def test_what_is_started_is_there(name: str) -> None:
    (command,) = unit(name)["ExecStart"]
    assert command == f"{PYTHON} -I -m {MODULES[name]} /etc/armoire/site.toml"
    assert find_spec(f"{MODULES[name]}.__main__") is not None


def no_new_code() -> None:
    """As MemoryDenyWriteExecute=yes has it."""
    ctypes.CDLL(None).prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0)


@pytest.mark.slow
async def test_the_guard_runs_isolated_and_where_no_memory_may_become_code() -> None:
    async with living_guard() as guard:
        await guard.start("-I", before=no_new_code)
        assert (await guard.ask("select-plan", {"plan": 2, "lease_s": 300})).ended == "done"
        assert await guard.end(signal.SIGTERM) == (0, "")
