"""What the guard's process has in its memory, and what it never loads."""

import asyncio
import re
import signal
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from agent.process.client import LocalClient, PeerDownError
from agent.wire.local import EquipmentIs, GetEquipment
from simulators.bollard_plc import BollardPlc, Bollards
from simulators.clock import RealClock
from tests.guard.living import PAUSE_S, START_TIMEOUT_S, launch, living_guard
from tests.guard.rig import furnish, home_folder

pytestmark = pytest.mark.slow

NEVER = {
    "aiomqtt", "argparse", "cyclopts", "http", "litestar", "paho", "psycopg", "prometheus_client", "rich", "sqlalchemy",
    "structlog", "textual", "urllib3", "uvicorn", "_ssl",
}  # fmt: skip
IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| *([\w.]+)$", re.MULTILINE)
TLS_LIBRARY = re.compile(r"libssl|libcrypto|/_ssl\.|/_hashlib\.")


def loaded(errors: str) -> set[str]:
    """Every module a Python started with ``-X importtime`` has loaded in its life."""
    modules = set(IMPORTED.findall(errors))
    assert len(modules) > 100
    return modules


def roots(modules: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def libraries(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


async def test_a_guard_at_a_junction_never_loads_broker_web_database_or_tls_code() -> None:
    async with living_guard("conflict") as guard:
        await guard.start("-X", "importtime")
        assert guard.process is not None
        assert (await guard.ask("select-plan", {"plan": 2, "lease_s": 300})).ended == "done"
        guard.signals.fault("stuck_green:4")
        guard.signals.fault("stuck_green:1")
        await guard.view_when("latch")
        maps = libraries(guard.process.pid)
        code, errors = await guard.end(signal.SIGTERM)
    assert code == 0
    assert TLS_LIBRARY.findall(maps) == []
    assert "libsqlite3" in maps  # So the names of libraries do stand there.
    modules = loaded(errors)
    assert roots(modules) & NEVER == set()
    assert {"pysnmp", "pymodbus", "cryptography", "sqlite3"} <= roots(modules)
    assert {name for name in modules if name.startswith(("agent.runtime", "agent.cli", "fleet", "simulators"))} == set()


async def test_a_guard_of_bollards_loads_no_snmp_either() -> None:
    async with AsyncExitStack() as stack:
        home = stack.enter_context(home_folder())
        bollards = Bollards([BollardPlc() for _ in range(3)], RealClock())
        await stack.enter_async_context(bollards.server.serve(0))
        await stack.enter_async_context(bollards.stand.run(None))
        site, _ = furnish(home, "gw-liberation", {"bollards": bollards.port}, time.time_ns() // 1_000_000)
        process = await launch(site, "-X", "importtime")
        client = LocalClient(home / "state" / "guard.sock")
        try:
            await _answers(client)
            maps = libraries(process.pid)
        finally:
            process.terminate()
            _, errors = await process.communicate()
            await client.close()
    assert TLS_LIBRARY.findall(maps) == []
    modules = loaded(errors.decode())
    assert roots(modules) & (NEVER | {"pysnmp", "pyasn1"}) == set()
    assert "cryptography.hazmat.primitives.serialization" not in modules  # 1.4 MB to read a key of 48 bytes.
    assert "pymodbus" in roots(modules)
    assert "pymodbus.datastore.context" not in modules


async def test_armoire_guard_becomes_that_lean_process_and_stays_under_its_own_number() -> None:
    async with living_guard() as guard:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent.cli", "guard", str(guard.site), stderr=asyncio.subprocess.PIPE
        )
        guard.process = process
        await _answers(guard.client)
        assert Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[1:3] == [b"-m", b"agent.guard"]
        assert TLS_LIBRARY.findall(libraries(process.pid)) == []
        assert await guard.end(signal.SIGTERM) == (0, "")


async def _answers(client: LocalClient) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                reply = await client.ask(GetEquipment(""))
            except PeerDownError:
                await asyncio.sleep(PAUSE_S)
                continue
            assert isinstance(reply, EquipmentIs)
            if all(each.link == "answers" for each in reply.equipment):
                return
            await asyncio.sleep(PAUSE_S)


async def test_where_those_libraries_are_loaded_already_nothing_is_taken_away() -> None:
    from agent.guard.lean import leave_out

    before = sys.modules["ssl"]
    assert not leave_out()
    assert sys.modules["ssl"] is before
