"""``armoire-fleet`` as a process: start, stop, command line, brokers that come and go."""

import contextlib
import json
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from fleet.cli import main
from tests.fleet import broker
from tests.fleet.conftest import Running, until
from tests.fleet.process import process
from tests.fleet.standin import StandIn


def wait_for(condition: Callable[[], object], timeout_s: float = 20) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.02)


def wait_connected(url: str) -> None:
    """Until the manager has found its broker."""
    wait_for(lambda: httpx.get(f"{url}/api/health", timeout=10).json()["broker"] == "connected")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_within_two_seconds_with_a_browser_listening(
    tmp_path: Path, trust_folder: Path, broker_port: int, number: int
) -> None:
    with process(tmp_path, trust_folder, broker_port) as manager:
        wait_connected(manager.url)  # It listens before it has found its broker, and must not be stopped in between.
        with httpx.stream("GET", f"{manager.url}/api/stream", timeout=10) as response:
            next(response.iter_lines())
            started_s = time.monotonic()
            manager.popen.send_signal(number)
            assert manager.popen.wait(10) == 0
            assert time.monotonic() - started_s < 2
        lines = [json.loads(line) for line in (tmp_path / "fleet.log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["started", "broker.up", "stopped"]


def test_without_a_free_descriptor_it_says_so_once_and_serves_when_there_is_one(
    tmp_path: Path, trust_folder: Path, broker_port: int
) -> None:
    with process(tmp_path, trust_folder, broker_port) as manager:
        wait_connected(manager.url)
        with contextlib.ExitStack() as crowd, httpx.Client(base_url=manager.url, timeout=10) as before:
            assert before.get("/api/health").json()["status"] == "ok"
            pid = manager.popen.pid
            used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
            host, port = manager.url.removeprefix("http://").split(":")
            for _ in range(40):
                crowd.enter_context(socket.create_connection((host, int(port)), 5))
            log = tmp_path / "fleet.log"
            wait_for(lambda: "resources.exhausted" in log.read_text())
            assert before.get("/api/health").json()["broker"] == "connected"
            for path in ("/", "/api/events", "/app.js", "/api/gateways"):
                before.get(path)
            time.sleep(2.5)  # Two more rounds of asyncio's own.
        assert httpx.get(f"{manager.url}/api/health", timeout=10).json()["status"] == "ok"
        lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines][:3] == ["started", "broker.up", "resources.exhausted"]
    assert len(lines) == 3, lines


async def test_the_command_line_reads_and_commands_a_running_manager(
    tmp_path: Path, manager: Running, standin: Callable[..., StandIn]
) -> None:
    async with manager.live(standin()).connected() as gateway:
        gateway.tell(gateway.voice.samples({"segment-1/level_percent": 60}))
        gateway.tell(gateway.voice.event("fault", "segment-1", "", "lamp \x1b[31mout", "alarm"))
        await gateway.wait_acknowledged()

        async def run(*words: str) -> tuple[int, str, str]:
            import asyncio

            ended = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "fleet.cli", *words, "--url", manager.url,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
            out, err = await asyncio.wait_for(ended.communicate(), 30)
            return ended.returncode or 0, out.decode(), err.decode()

        code, out, _ = await run("gateways")
        assert (code, "gw-darcy" in out, " up " in out) == (0, True, True)
        code, out, _ = await run("equipment", "--json")
        assert json.loads(out)[0]["points"]["level_percent"]["value"] == 60
        code, out, _ = await run("events")
        assert "lamp" in out
        assert "\x1b[31m" not in out
        code, out, _ = await run(
            "send", "gw-darcy", "segment-1", "set-level", "level_percent=60", "--operator", "alice"
        )
        assert (code, out) == (0, "done: as asked. the level is 60 %.\n")
        assert gateway.commands[0].args == {"level_percent": 60}
        gateway.answer = lambda _command: ("refused", "SR-01", "no such verb")
        code, out, _ = await run("send", "gw-darcy", "segment-1", "set-green", "--operator", "alice", "--json")
        assert (code, json.loads(out)["rule"]) == (3, "SR-01")
        code, out, _ = await run("send", "gw-darcy", "junction-1", "flash", "lease_s=60", "--operator", "alice")
        assert (code, out.startswith("awaiting approval: ")) == (0, True)
        command_id = out.strip().rstrip(".").rpartition(" ")[2]
        gateway.answer = lambda _command: ("done", "", "flashing")
        code, out, _ = await run("approve", command_id, "--operator", "bruno")
        assert (code, out.startswith("done: flashing")) == (0, True)
        code, out, _ = await run("commands")
        assert "refused by SR-01: no such verb" in " ".join(out.split())
        code, _, err = await run("send", "gw-nowhere", "x", "y", "--operator", "alice")
        assert (code, err.startswith("armoire-fleet: no gateway 'gw-nowhere'")) == (2, True)


def test_the_command_line_says_in_one_line_what_is_wrong(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trust_folder: Path
) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    cases = {
        ("gateways", "--url", f"http://127.0.0.1:{broker.free_port()}"): (6, "no manager answers"),
        ("gateways", "--url", "ftp://x"): (6, "expected http://host:port"),
        ("no-such-command",): (2, "see armoire-fleet --help"),
        ("send", "a", "b", "c", "novalue", "--operator", "alice"): (2, "expected name=value"),
        ("send", "a", "b", "c", "name=\udcff", "--operator", "alice"): (2, "is not UTF-8 text; nothing was sent"),
        ("approve", "../x", "--operator", "alice"): (2, "is no command id"),
        ("approve", "é", "--operator", "alice"): (2, "is no command id"),
        ("serve", "--dir", str(tmp_path), "--http", "8080"): (2, "expected host:port"),
        ("serve", "--dir", str(tmp_path)): (4, "roots.toml: No such file or directory"),
        ("serve", "--dir", str(tmp_path), "--broker", "http://x"): (4, "expected mqtt://host:port"),
        ("serve", "--dir", str(tmp_path), "--trust", str(trust_folder), "--http", "0.0.0.0:0"): (4, "no login yet"),
        ("serve", "--dir", str(taken), "--trust", str(trust_folder), "--http", "127.0.0.1:0"): (4, "file: File exists"),
    }  # fmt: skip
    for words, (code, text) in cases.items():
        assert main(words) == code, words
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("armoire-fleet: "), words
        assert text in said, words


def test_a_port_somebody_else_has_is_said_in_words(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trust_folder: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("serve", "--dir", str(tmp_path), "--trust", str(trust_folder), "--http", f"127.0.0.1:{port}")
        assert main(words) == 4
    assert "cannot listen on 127.0.0.1" in capsys.readouterr().err


def test_every_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["serve"], ["gateways"], ["equipment"], ["events"], ["commands"], ["send"], ["approve"]):
        assert main([*words, "--help"]) == 0
        assert "Example: armoire-fleet" in capsys.readouterr().out


async def test_a_broker_that_was_away_is_found_again(
    tmp_path: Path, trust_folder: Path, standin: Callable[..., StandIn]
) -> None:
    from tests.fleet.conftest import running

    port, voice = broker.free_port(), standin()
    with broker.iotcore(tmp_path, port):
        started = running(tmp_path, trust_folder, port)
        manager = await started.__aenter__()
    await until(lambda: not manager.room.link.is_connected)
    health = (await manager.http.get("/api/health")).json()
    assert (health["status"], health["broker"]) == ("degraded", "disconnected")
    with broker.iotcore(tmp_path, port):
        await until(lambda: manager.room.link.is_connected, 40)
        async with manager.live(voice).connected() as gateway:
            gateway.tell(voice.samples({"segment-1/n": 1}))
            await gateway.wait_acknowledged()
        await started.__aexit__(None, None, None)


def test_a_second_manager_on_the_same_folder_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trust_folder: Path, broker_port: int
) -> None:
    with process(tmp_path, trust_folder, broker_port):
        words = ("serve", "--dir", str(tmp_path), "--trust", str(trust_folder), "--http", "127.0.0.1:0")
        assert main(words) == 4
    assert "a manager runs on this folder already" in capsys.readouterr().err
