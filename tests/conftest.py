"""What every test may rely on: no failure goes unnoticed, and no program is silently missing."""

import asyncio
import gc
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Verbosity, settings

# Random tests find more while developing; the same commit must give the same answer in CI.
settings.register_profile("armoire", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("armoire"), derandomize=True)
settings.register_profile("debug", parent=settings.get_profile("armoire"), verbosity=Verbosity.verbose)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "armoire"))

# Program of somebody else's -> Debian package it comes in; scripts/system-packages installs these.
SYSTEM_PROGRAMS = {
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "snmpget": "snmp",
    "snmpset": "snmp",
    "snmpwalk": "snmp",
    "snmpbulkwalk": "snmp",
    "mbpoll": "mbpoll",
    "chromium": "chromium",
    "softhsm2-util": "softhsm2",
}
# Where this is set, every process the tests start would compile everything it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
PROGRAM_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))  # Debian keeps brokers there


def pytest_collection_finish() -> None:
    """Leave what is loaded by now out of every later garbage collection: each test does one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def task_failures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Fail a test when a task nobody waits for dies, or a callback of the event loop raises.

    Without this such a test stays green. A test that provokes one on purpose asks for this fixture and
    clears the list.
    """
    failures: list[dict[str, Any]] = []

    def record(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        failures.append(context)

    # On the class, because tests run on loops of several kinds and start some themselves.
    monkeypatch.setattr(asyncio.BaseEventLoop, "default_exception_handler", record)
    yield failures
    if request.node.get_closest_marker("asyncio"):
        gc.collect()  # A forgotten task tells of its exception only when it is collected.
    if failures:
        messages = "; ".join(f"{each.get('message')} {each.get('exception')!r}" for each in failures)
        cause = next((each["exception"] for each in failures if each.get("exception")), None)
        raise AssertionError(f"the event loop reported: {messages}") from cause


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], Path]:
    """Give the path of a foreign program; fail, never skip, when the machine lacks it."""

    def find(program: str) -> Path:
        found = shutil.which(program, path=PROGRAM_PATH)
        if found is None:
            package = SYSTEM_PROGRAMS.get(program, program)
            pytest.fail(f"this test needs the program {program}: apt-get install {package}", pytrace=False)
        return Path(found)

    return find
