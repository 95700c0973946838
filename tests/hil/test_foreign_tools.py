"""The simulators as net-snmp and mbpoll see them: programs that share no line with us."""

import asyncio
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path

import pytest

from simulators.bollard_plc import Bollards
from simulators.cabinet import Cabinet
from simulators.signal_controller.signal_cabinet import SignalCabinet
from tests.referee import wired

pytestmark = pytest.mark.hil
ASC = ".1.3.6.1.4.1.1206.4.2.1"
PROGRAM_TIMEOUT_S = 20.0
Require = Callable[[str], Path]


async def run(program: Path, *arguments: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(program, *arguments, stdout=PIPE, stderr=STDOUT)
    async with asyncio.timeout(PROGRAM_TIMEOUT_S):
        out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def snmp(cabinet: SignalCabinet, version: str, community: str) -> tuple[str, ...]:
    return (f"-v{version}", "-c", community, "-t", "2", "-r", "0", "-On", f"127.0.0.1:{cabinet.port}")


@pytest.mark.parametrize("version", ["1", "2c"])
async def test_net_snmp_reads_writes_and_is_refused(version: str, require_program: Require) -> None:
    get, put = require_program("snmpget"), require_program("snmpset")
    async with wired(lambda monitor: SignalCabinet.serve(started=True, monitor=monitor)) as (cabinet, _):
        reader, writer = snmp(cabinet, version, "dijon-read"), snmp(cabinet, version, "dijon-write")
        code, out = await run(get, *reader, f"{ASC}.3.6.0", f"{ASC}.8.4.1.4.1")
        assert code == 0
        assert f"{ASC}.3.6.0 = INTEGER: 2" in out
        assert f"{ASC}.8.4.1.4.1 = INTEGER: 34" in out
        code, out = await run(put, *writer, f"{ASC}.4.14.0", "i", "2")
        assert (code, cabinet.controller.control.pattern) == (0, 2)
        code, out = await run(put, *reader, f"{ASC}.4.14.0", "i", "3")
        assert code != 0
        assert ("noSuchName" if version == "1" else "noAccess") in out
        code, out = await run(put, *writer, f"{ASC}.4.14.0", "i", "3", f"{ASC}.3.10.0", "i", "1")
        assert code != 0
        assert ("badValue" if version == "1" else "wrongValue") in out
        assert f"{ASC}.3.10.0" in out, "error-index names the guilty one"
        assert cabinet.controller.control.pattern == 2
        code, out = await run(put, *writer, f"{ASC}.4.14.0", "s", "2")
        assert ("badValue" if version == "1" else "wrongType") in out


@pytest.mark.parametrize(("program", "version"), [("snmpwalk", "1"), ("snmpwalk", "2c"), ("snmpbulkwalk", "2c")])
async def test_net_snmp_walks_the_whole_controller(program: str, version: str, require_program: Require) -> None:
    async with wired(lambda monitor: SignalCabinet.serve(started=True, monitor=monitor)) as (cabinet, _):
        code, out = await run(require_program(program), *snmp(cabinet, version, "dijon-read"), ".1.3.6.1.4.1.1206")
        assert code == 0
        objects = [line.split(" = ")[0] for line in out.splitlines() if line.startswith(ASC)]
        assert len(objects) == len(set(objects)) > 250


def mbpoll(port: int, unit: int, *more: str) -> tuple[str, ...]:
    return ("-1", "-0", "-q", "-o", "0.5", "-p", str(port), "-a", str(unit), *more)


async def test_mbpoll_reads_the_meter_and_switches_a_segment(require_program: Require) -> None:
    program = require_program("mbpoll")
    async with Cabinet.serve() as cabinet:
        meter = mbpoll(cabinet.port, 2, "-t", "3:float", "-B", "-r", "70", "-c", "1", "127.0.0.1")
        code, out = await run(program, *meter)
        assert code == 0
        assert float(out.split("[70]:")[1]) == pytest.approx(50, abs=0.1)
        code, out = await run(program, *mbpoll(cabinet.port, 1, "-t", "0", "-r", "3", "127.0.0.1", "0"))
        assert (code, cabinet.model.coils[3]) == (0, False)
        code, out = await run(program, *mbpoll(cabinet.port, 1, "-t", "4", "-r", "0", "127.0.0.1", "0"))
        assert code != 0
        assert "Illegal data value" in out
        code, out = await run(program, *mbpoll(cabinet.port, 7, "-t", "0", "-r", "0", "-c", "1", "127.0.0.1"))
        assert code != 0
        assert "timed out" in out


async def test_mbpoll_raises_a_bollard_and_is_refused_on_an_occupied_loop(require_program: Require) -> None:
    program = require_program("mbpoll")
    async with Bollards.serve(count=2) as bollards:
        for unit in (1, 2):
            beat = mbpoll(bollards.port, unit, "-t", "4", "-r", "0", "127.0.0.1", "77")
            assert (await run(program, *beat))[0] == 0
        bollards.set(unit=2, loop_a=True)
        code, _ = await run(program, *mbpoll(bollards.port, 1, "-t", "0", "-r", "1", "127.0.0.1", "1"))
        assert (code, bollards.plcs[1].bollard.state.name) == (0, "PREWARN")
        code, out = await run(program, *mbpoll(bollards.port, 2, "-t", "0", "-r", "1", "127.0.0.1", "1"))
        assert code != 0
        assert "failure" in out.lower()
        assert bollards.plcs[2].bollard.state.name == "DOWN"
