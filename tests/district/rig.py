"""A district in real processes, as ``make run`` starts it, with hands on its processes and eyes on its databases."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from simulators.lamp_wire import LAMP_PERIOD_S
from tests.referee import SAMPLED_LEAST

T = TypeVar("T")
WAIT_S = 60.0
STEP_S = 0.05
BIN = Path(sys.executable).parent


def wait_until(what: str, probe: Callable[[], T | None], timeout_s: float = WAIT_S) -> T:
    """Ask again and again until the answer is true; fail with what was awaited."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if answer := probe():
            return answer
        time.sleep(STEP_S)
    raise AssertionError(f"waited {timeout_s:.0f} s in vain: {what}")


class District:
    """Use as a context manager. The folder is short because unix socket paths must be."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="arm-"))
        self.url = ""
        self.output = ""

    def __enter__(self) -> Self:
        command = (str(BIN / "armoire-sim"), "district", "--dir", str(self.folder / "d"), "--http", "0")
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
            if found := re.search(r"console +(http://\S+?)/?\s", line):
                self.url = found.group(1)
            if "Ctrl-C stops everything" in line:
                break
        self._ready_s = time.monotonic()
        assert self.url, f"the district did not start:\n{self.output}\n{self.log()[-3000:]}"
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.stop()
        finally:
            self._end()
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """Let its own conflict monitor judge what the junction has shown, then Ctrl-C."""
        if self._process.poll() is None:
            self._judge()
        self._end()

    def _judge(self) -> None:
        seen = json.loads(self.hardware("monitor", "state"))["state"]
        due = (time.monotonic() - self._ready_s) / LAMP_PERIOD_S
        assert seen["samples"] - seen["samples_blind"] >= SAMPLED_LEAST * due, f"of {due:.0f} samples: {seen}"
        assert (seen["latched"], seen["samples_conflicting"]) == (None, 0), seen

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def home(self) -> Path:
        """Where keys, states and the log lie."""
        return self.folder / "d"

    def log(self) -> str:
        """What the supervisors and programs said."""
        path = self.home / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def pid(self, name: str) -> int:
        """The newest pid of ``broker``, ``fleet``, ``gw-darcy: agent`` ..."""
        found = re.findall(rf"{re.escape(name)} runs as pid (\d+)", self.log())
        assert found, f"{name} never ran"
        return int(found[-1])

    def every_pid(self) -> set[int]:
        """Every process that was ever started."""
        return {int(pid) for pid in re.findall(r"runs as pid (\d+)", self.log())}

    def kill(self, name: str) -> None:
        """SIGKILL by pid, and wait until its supervisor has started it again."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        wait_until(f"{name} is started again", lambda: self.pid(name) != pid)

    def get(self, path: str) -> Any:
        """GET from the fleet's API."""
        with urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body: object) -> Any:
        """POST to the fleet's API; an error's body is an answer too."""
        request = Request(f"{self.url}{path}", json.dumps(body).encode(), {"content-type": "application/json"})
        try:
            with urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except HTTPError as error:
            with error:
                return json.load(error)

    def command(self, gateway: str, equipment: str, verb: str, operator: str = "alice", **args: Any) -> Any:
        """Send a command through the fleet and wait for its outcome."""
        body = {"gateway": gateway, "equipment": equipment, "verb": verb, "args": args, "operator": operator}
        return self.post("/api/commands", body)

    def equipment(self, id_: str) -> Any:
        """One piece of equipment as the fleet shows it."""
        return next(each for each in self.get("/api/district")["equipment"] if each["id"] == id_)

    def armoire(self, gateway: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The technician's command line at one cabinet."""
        command = (str(BIN / "armoire"), *arguments, "--state", str(self.home / gateway / "state"))
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def hardware(self, name: str, *arguments: str) -> str:
        """``armoire-sim`` on one simulator's control socket: verb first, then what follows the socket."""
        verb, *rest = arguments
        command = (str(BIN / "armoire-sim"), verb, str(self.home / "control" / f"{name}.sock"), *rest)
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """Read one of the district's databases, also while it is written."""
        path = self.home / database
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()
