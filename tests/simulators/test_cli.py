"""``armoire-sim`` as a process: ready line, control lines, clean end."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from simulators.conflict_monitor import CARDS
from simulators.control_socket import ask
from simulators.district import owned

pytestmark = pytest.mark.hil
COMMAND = (sys.executable, "-m", "simulators.cli")
START_TIMEOUT_S = 20.0


@asynccontextmanager
async def simulator(*arguments: str) -> AsyncIterator[tuple[Process, int]]:
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=PIPE, stderr=PIPE)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            word, port = (await process.stdout.readline()).split()
        assert word == b"ready"
        yield process, int(port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def command(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(*COMMAND, *arguments, stdout=PIPE, stderr=PIPE)
    async with asyncio.timeout(START_TIMEOUT_S):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


@pytest.mark.parametrize("kind", ["cabinet", "bollards", "controller", "monitor", "replay"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_simulator_says_ready_answers_its_control_socket_and_stops_cleanly(
    kind: str, number: signal.Signals, tmp_path: Path
) -> None:
    control = str(tmp_path / "control")
    async with simulator(kind, "--control", control) as (process, port):
        assert port > 0
        assert (await ask(control, {"get": "state"}))["ok"]
        process.send_signal(number)
        async with asyncio.timeout(5):
            out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")
    assert not Path(control).exists()


async def test_a_rack_of_monitors_says_ready_and_stops_cleanly() -> None:
    async with simulator("monitors") as (process, port):
        assert (await ask(f"127.0.0.1:{port}", {"do": "open", "card": str(CARDS / "dual_ring.toml")}))["monitor"] == 1
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")


async def test_a_rack_of_monitors_ends_with_whoever_started_it() -> None:
    process = await asyncio.create_subprocess_exec(*COMMAND, "monitors", "--until-eof", stdin=PIPE, stdout=PIPE)
    async with asyncio.timeout(START_TIMEOUT_S):
        assert process.stdout is not None
        assert (await process.stdout.readline()).startswith(b"ready ")
        out, _ = await process.communicate(b"what is said does not matter")
    assert (process.returncode, out) == (0, b"")


async def test_faults_and_stimuli_are_switched_from_the_command_line(tmp_path: Path) -> None:
    control = str(tmp_path / "control")
    async with simulator("bollards", "--count", "2", "--control", control):
        assert (await command("set", control, "--unit", "2", "loop_a=true"))[0] == 0
        assert (await command("fault", control, "pressure", "--unit", "2"))[0] == 0
        code, out, _ = await command("state", control, "--unit", "2")
        state = json.loads(out)["state"]
        assert (code, state["loop_a"], state["faults"]) == (0, True, ["pressure"])
        code, _, err = await command("fault", control, "stuck_green:1")
        assert code == 1
        assert "not possible here" in err
        assert "Traceback" not in err


async def test_what_cannot_work_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    card = tmp_path / "card.toml"
    card.write_text("channels = 7")
    nobody = str(tmp_path / "nobody")
    for arguments in (
        ("state", nobody),
        ("set", nobody, "lux"),
        ("monitor", "--card", str(card)),
        ("controller", "--monitor", "somewhere"),
        ("replay", "--splice", "1:2"),
        ("bollards", "--count", "0"),
        ("cabinet", "--control", str(tmp_path / "no" / "such" / "folder")),
    ):
        code, _, err = await command(*arguments)
        assert code == 1, arguments
        assert len(err.strip().splitlines()) == 1, err


async def test_the_menu_of_faults_is_listed() -> None:
    code, out, _ = await command("faults")
    assert code == 0
    assert "stuck_green:CHANNEL" in out


async def test_a_district_is_never_laid_out_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    code, _, err = await command("district", "--dir", str(tmp_path), "--http", "0")
    assert code == 1
    assert "holds something else than a district" in err
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    code, _, err = await command("district", "--dir", str(tmp_path / "thesis.tex"), "--http", "0")
    assert (code, "Traceback" in err) == (1, False)


async def test_a_second_district_stays_off_the_folder_of_the_first(tmp_path: Path) -> None:
    with owned(tmp_path):
        code, _, err = await command("district", "--dir", str(tmp_path), "--http", "0")
    assert code == 1
    assert "a district runs in" in err


async def test_asking_where_nobody_listens_names_the_place(tmp_path: Path) -> None:
    code, _, err = await command("state", str(tmp_path / "none.sock"))
    assert code == 1
    assert err == f"armoire-sim: no simulator listens at {tmp_path}/none.sock: No such file or directory\n"


async def test_a_splice_out_of_shape_is_named() -> None:
    code, _, err = await command("replay", "--splice", "1:2:x")
    assert (code, err) == (1, "armoire-sim: --splice: expected SECONDS:PHASE:DURATION, got '1:2:x'\n")
