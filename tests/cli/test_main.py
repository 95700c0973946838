"""The command line itself: help, start, ends."""

import os
import shlex
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cyclopts import App

from agent.cli.ending import Exit
from agent.cli.main import application, main, options_last
from tests.cli.canned import Executor, serving
from tests.cli.conftest import Type
from tests.tree import ROOT

DOCUMENT = ROOT / "docs" / "technician.md"
ARMOIRE = (sys.executable, "-c", "import sys; from agent.cli.main import main; sys.exit(main())")
START_TIMEOUT_S = 30
HEAVY = {"asyncio", "cryptography", "aiomqtt", "pymodbus", "pysnmp", "sqlite3", "agent.cli.page", "rich.markdown"}


def commands(app: App, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name in app:
        if not name.startswith("-"):
            found.append((*path, name))
            found += commands(app[name], (*path, name))
    return found


COMMANDS = commands(application())


def examples() -> list[tuple[str, str]]:
    """Commands of the document with what it says they print: ``$ armoire ...`` lines of console blocks."""
    found: list[tuple[str, list[str]]] = []
    is_inside = False
    for line in DOCUMENT.read_text().splitlines():
        if line.startswith("```"):
            is_inside = line == "```console"
        elif is_inside and line.startswith("$ "):
            found.append((line[2:], []))
        elif is_inside:
            found[-1][1].append(line)
    return [(command, "\n".join(lines).strip()) for command, lines in found]


def test_every_command_has_help_with_an_example(type_: Type) -> None:
    assert {("lamp", "set"), ("submit",), ("why",), ("reset",), ("run",)} <= set(COMMANDS)
    for path in ((), *COMMANDS):
        said = type_("", *path, "--help")
        assert said.exit == 0
        assert said.out.startswith(" ".join(("Usage: armoire", *path)))
        assert "Example:\n  armoire" in said.out


def test_every_command_that_answers_takes_json(type_: Type) -> None:
    processes = {("run",), ("guard",), ("agent",)}
    groups = {path[:1] for path in COMMANDS if len(path) > 1}
    for path in set(COMMANDS) - processes - groups:
        assert "--json" in type_("", *path, "--help").out
    reads = {("guard", "log"), ("guard", "verify"), ("journal", "verify"), ("commission", "check")}
    writes = {path for path in COMMANDS if len(path) > 1} - reads | {("reset",), ("submit",)}
    for path in writes:
        assert "--dry-run" in type_("", *path, "--help").out


def test_the_document_names_every_command_and_only_real_ones(type_: Type) -> None:
    named = {tuple(shlex.split(line)[1:]) for line, _ in examples()}
    for words in named:
        path = tuple(word for word in options_last(words) if not word.startswith("-"))
        longest = max((known for known in COMMANDS if path[: len(known)] == known), key=len, default=None)
        assert longest is not None, words
        assert type_("", *longest, "--help").exit == 0
    text = DOCUMENT.read_text()
    assert [path for path in COMMANDS if f"armoire {' '.join(path)}" not in text] == []


@pytest.mark.parametrize(("command", "output"), examples(), ids=[command for command, _ in examples()])
def test_the_document_shows_what_is_printed(
    type_: Type, agent_up: Executor, guard_up: Executor, command: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = type_("", *shlex.split(command)[1:])
    shown = "\n".join(line.rstrip() for line in (said.out + said.err).splitlines()).strip()
    assert shown == output


def test_the_document_tells_the_exit_codes(type_: Type) -> None:
    text = DOCUMENT.read_text()
    for code in Exit:
        assert f"| {int(code)} |" in text


def test_shared_options_may_stand_before_the_command(type_: Type, state: Path, agent_up: Executor) -> None:
    assert options_last(["--state", "x", "--json", "submit", "a", "b", "--", "-c"]) == [
        "submit", "a", "b", "--state", "x", "--json", "--", "-c",
    ]  # fmt: skip
    assert options_last(["--state=x", "status"]) == ["status", "--state=x"]
    assert options_last(["--state"]) == ["--state"]
    assert options_last([]) == []
    assert type_("--json --state", str(state), "show", "seg-darcy-1").document["seen_by"] == "agent"


def test_a_wrong_word_is_answered_with_the_help_to_read(type_: Type) -> None:
    assert "see `armoire lamp set --help`" in type_("lamp set").err.lower()
    assert "see `armoire --help`" in type_("bogus").err.lower()


def test_check_prints_every_problem_or_what_is_there(type_: Type, tmp_path: Path) -> None:
    good = ROOT / "configs" / "sites" / "gw-darcy.toml"
    assert "gw-darcy.toml: good. gw-darcy" in type_("check", str(good)).out
    assert type_("check --json", str(good)).document["equipment"]["segment"] == 3

    site = tmp_path / "site.toml"
    site.write_text(good.read_text().replace("night_level_percent", "nigth_level_percent").replace('"dijon"', "7"))
    said = type_("check", str(site))
    assert (said.exit, said.out) == (2, "")
    assert "nigth_level_percent" in said.err
    assert "city" in said.err
    assert len(type_("check --json", str(site)).document["problems"]) > 1
    site.write_bytes(b"\xff\xfe")
    for path in (site, tmp_path, tmp_path / "none.toml", Path("/dev/zero")):
        assert type_("check", str(path)).exit == 2


def test_the_help_is_printed_without_loading_what_only_work_needs() -> None:
    script = "import sys; from agent.cli.main import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=START_TIMEOUT_S, check=True
    )
    assert not HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("line", ["log", "log --json", "bollard lower bollard-rameau"])
def test_a_reader_that_has_seen_enough_is_no_fault(
    state: Path, agent_up: Executor, guard_up: Executor, line: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*ARMOIRE, *line.split(), "--state", str(state)], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, text=True,
        timeout=START_TIMEOUT_S, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("line", ["log", "log --json"])
def test_a_full_disk_behind_the_output_is_told_in_a_sentence(state: Path, agent_up: Executor, line: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*ARMOIRE, *line.split(), "--state", str(state)], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True,
            timeout=START_TIMEOUT_S, check=False,
        )  # fmt: skip
    assert done.returncode == Exit.FAILED
    assert done.stderr.startswith("armoire: the system said: [Errno 28] No space left on device.")
    assert len(done.stderr.splitlines()) == 1


def test_a_closed_output_hinders_nothing(state: Path, agent_up: Executor) -> None:
    line = shlex.join([*ARMOIRE, "log", "--state", str(state)])
    done = subprocess.run(
        ["sh", "-c", f"{line} >&-"], cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=START_TIMEOUT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_waiting_command_without_a_traceback(state: Path, agent: Executor) -> None:
    asked, release = threading.Event(), threading.Event()

    def hang() -> None:
        asked.set()
        release.wait(START_TIMEOUT_S)

    agent.before_submit = hang
    with serving(state / "agent.sock", agent.answer):
        process = subprocess.Popen(
            # What a shell runs in its background is born deaf to Ctrl-C.
            ["env", "--default-signal=INT", *ARMOIRE, "lamp", "set", "seg-darcy-1", "50", "--state", str(state)], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            assert asked.wait(START_TIMEOUT_S)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=START_TIMEOUT_S)
        finally:
            release.set()
            process.kill()
            process.wait()
    assert (process.returncode, out, err) == (130, "", "")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2
