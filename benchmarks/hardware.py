"""The project's simulated hardware as processes of their own, with their control sockets."""

import json
import re
import socket
from pathlib import Path
from typing import Any

from benchmarks.child import BenchError, Child
from benchmarks.town import free_port, listens

ASK_S = 5.0


class Hardware(Child):
    """One ``armoire-sim`` process on a TCP port."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.port = free_port()
        self.control = folder / f"{name}.sock"
        place = ("--port", str(self.port), "--control", str(self.control))
        super().__init__(("-m", "simulators.cli", *arguments, *place), folder / f"{name}.log")
        self.wait_for(f"{name} listens", lambda: listens(self.port) and self.control.exists())

    def ask(self, **request: Any) -> Any:
        """One line to the control socket."""
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(ASK_S)
            wire.connect(str(self.control))
            wire.sendall(json.dumps(request).encode() + b"\n")
            line = wire.makefile().readline()
        answer = json.loads(line)
        if not answer.get("ok"):
            raise BenchError(f"the simulator refused {request}: {answer.get('error')}")
        return answer


def pids_in(log: str) -> dict[str, int]:
    """The newest pid of every program a supervisor's log names, such as ``gw-darcy: agent``."""
    return {name: int(pid) for name, pid in re.findall(r"^(?:\d\d:\d\d:\d\d )?(.+?) runs as pid (\d+)$", log, re.M)}
