"""A cabinet with two processes, and a way to type at it."""

import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.cli.main import main
from agent.wire.demotrust import KEYS_FILE, ROOTS_FILE, make_demo_trust
from agent.wire.roots import read_roots
from agent.wire.trust import load_key_list
from tests.cli.canned import CITY, GATEWAY, NOW_MS, Executor, equipment, serving
from tests.cli.journals import FOREIGN, fill, ledger, signer


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended: exit code, standard output, standard error."""

    exit: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Type = Callable[..., Said]


@pytest.fixture(scope="session")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trust")
    make_demo_trust(folder, CITY, [GATEWAY], now_ms=NOW_MS)
    return folder


@pytest.fixture
def state(trust: Path) -> Iterator[Path]:
    """A state folder with the technician's key; short, because a socket's path has 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="armoire-") as folder:
        (Path(folder) / "keys").mkdir()
        key = Path(folder) / "keys" / "technician.pem"
        key.touch(0o600)
        key.write_bytes((trust / "gateways" / GATEWAY / "technician.pem").read_bytes())
        yield Path(folder)


@pytest.fixture
def type_(state: Path, monkeypatch: pytest.MonkeyPatch) -> Type:
    """Type a command, words split at spaces, and see what it says."""
    monkeypatch.setenv("ARMOIRE_STATE", str(state))
    monkeypatch.delenv("ARMOIRE_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "100")

    def run(line: str, *more: str) -> Said:
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*line.split(), *more])
        assert "Traceback" not in out.getvalue() + err.getvalue()
        return Said(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def guard(trust: Path) -> Executor:
    return Executor("guard", _ring(trust), [view for view in equipment() if view.executor == "guard"])


@pytest.fixture
def agent(trust: Path, guard: Executor) -> Executor:
    executor = Executor("agent", _ring(trust), equipment())
    executor.forward = guard
    return executor


@pytest.fixture
def guard_up(state: Path, guard: Executor) -> Iterator[Executor]:
    with serving(state / "guard.sock", guard.answer):
        yield guard


@pytest.fixture
def agent_up(state: Path, agent: Executor) -> Iterator[Executor]:
    with serving(state / "agent.sock", agent.answer):
        yield agent


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A city with two gateways."""
    folder = tmp_path_factory.mktemp("city")
    make_demo_trust(folder, CITY, [GATEWAY, FOREIGN], now_ms=NOW_MS)
    return folder


@pytest.fixture(scope="session")
def written(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "agent.db"
    with ledger(path, signer(city)) as agent:
        fill(agent)
    return path


@pytest.fixture
def image(state: Path, city: Path, written: Path) -> Path:
    """What is left of a gateway: its state folder, no process."""
    for name in (KEYS_FILE, ROOTS_FILE):
        (state / "keys" / name).write_bytes((city / name).read_bytes())
    (state / "agent.db").write_bytes(written.read_bytes())
    return state


@pytest.fixture
def file(type_: Type, image: Path, tmp_path: Path) -> Path:
    path = tmp_path / "journal.bin"
    assert type_("journal export", str(path)).exit == 0
    return path


def _ring(trust: Path) -> Any:
    return load_key_list((trust / KEYS_FILE).read_bytes(), read_roots((trust / ROOTS_FILE).read_text()))
